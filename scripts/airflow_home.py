"""The folder of an Airflow of one's own: its settings, its login, its commands. Standard library only."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.airflow_api import AirflowApi, AirflowInstanceError

CHECKOUT = Path(__file__).resolve().parent.parent


class AirflowHome(AirflowApi):
    """An Airflow with its home under ``home`` and its DAGs from ``dags_folder``, listening on loopback.

    :param port: 0 takes a free one.
    :param options: more Airflow settings, as environment variables (``AIRFLOW__SECTION__NAME``).
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        *,
        port: int = 0,
        python: Path = Path(sys.executable),
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.home, self.dags_folder, self.python = home, dags_folder, python
        self.port = port or free_port()
        self.options = dict(options or {})
        super().__init__(f"http://localhost:{self.port}")

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every process of this Airflow, and every ``airflow`` command for it, runs with."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        return {
            **inherited,
            # its children call `airflow` by name
            "PATH": f"{self.python.parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__SCRIPTRUN__LOCAL_ROOT": str(self.home / "target"),
            **self.options,
        }

    @property
    def login(self) -> tuple[str, str]:
        """User and password of the web interface."""
        passwords: dict[str, str] = json.loads(self._passwords.read_text())
        return "admin", passwords["admin"]

    @property
    def _passwords(self) -> Path:
        return self.home / "simple_auth_manager_passwords.json.generated"

    def choose_password(self) -> None:
        """Make a password at random, once per home, where Airflow looks for it."""
        self.home.mkdir(parents=True, exist_ok=True)
        if not self._passwords.exists():
            self._passwords.touch(mode=0o600)
            self._passwords.write_text(json.dumps({"admin": secrets.token_urlsafe(12)}))

    def command(self, *arguments: str) -> str:
        """Run one ``airflow`` command and return what it prints. Raises ``AirflowInstanceError`` when it fails."""
        done = subprocess.run(
            [str(self.python), "-m", "airflow", *arguments],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise AirflowInstanceError(f"airflow {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def is_healthy(self, *parts: str) -> bool:
        """Whether the API server answers and says so of these parts of Airflow (``scheduler``, ...)."""
        try:
            found = self.request("GET", "/api/v2/monitor/health")
        except (OSError, ValueError):
            return False
        return all(found[name]["status"] == "healthy" for name in parts)

    def serves_tasks(self) -> bool:
        """The first request to the part that tasks talk to makes it, which takes longer than a task waits."""
        try:
            self.request("GET", "/execution/health")
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
