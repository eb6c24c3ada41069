"""The deployment of docker-compose.yml on a machine that reaches no image registry: its own images stand in."""

from __future__ import annotations

import secrets
from pathlib import Path

from scripts import docker_engine
from scripts.airflow_api import AirflowApi
from scripts.airflow_home import free_port
from scripts.compose import Compose
from tests.docker import index

HERE = Path(__file__).parent
OVERRIDE = HERE / "docker-compose.ci.yml"
#: In place of apache/airflow, and of postgres and redis.
AIRFLOW_IMAGE, SERVICES_IMAGE = "scriptrun/test-airflow:latest", "scriptrun/test-services:latest"


def make_images(base: str) -> None:
    """Make the images that stand in for official ones, on the base image of the tests; the engine knows its layers."""
    settings = {**index.variables(), "BASE_IMAGE": base}
    for name, file in ((AIRFLOW_IMAGE, "airflow.Dockerfile"), (SERVICES_IMAGE, "services.Dockerfile")):
        arguments = [word for setting in settings.items() for word in ("--build-arg", "=".join(setting))]
        options = ["--network", index.NETWORK, *arguments, "--tag", name, "--file", str(HERE / file)]
        docker_engine.ask("build", "--quiet", *options, str(HERE))


class Deployment(AirflowApi):
    """The deployment and its Airflow.

    :param folder: where its secrets are kept.
    :param project: begins the names of all that it has in the engine.
    """

    def __init__(self, folder: Path, project: str, run_image: str) -> None:
        self.compose = Compose(folder / "env", [OVERRIDE])
        self.images = [f"{project}-airflow", f"{project}-vm"]
        self.compose.make_settings(
            {
                "COMPOSE_PROJECT_NAME": project,
                "ADMIN_PASSWORD": f"-{secrets.token_urlsafe(12)}",  # one in 64 begins like an option
                "AIRFLOW_PORT": str(free_port()),
                "AIRFLOW_BASE_IMAGE": AIRFLOW_IMAGE,
                "POSTGRES_IMAGE": SERVICES_IMAGE,
                "REDIS_IMAGE": SERVICES_IMAGE,
                "VM_BASE_IMAGE": run_image,
                "AIRFLOW_IMAGE": self.images[0],
                "VM_IMAGE": self.images[1],
                "RUN_IMAGE": run_image,
                "RUN_VOLUME": project,
            }
        )
        super().__init__(self.compose.url)

    @property
    def login(self) -> tuple[str, str]:
        """User and password of the web interface."""
        return self.compose.login

    @property
    def where_to_look(self) -> str:
        """What an error names as the place to read on."""
        return self.compose.run("logs", "--no-color", "--tail=20")

    def remove(self) -> None:
        """End it, and remove what it has kept and the images that were built for it."""
        self.compose.down(volumes=True)
        docker_engine.ask("image", "rm", "--force", *self.images)
