"""``make up-compose``, ``make down-compose``: the deployment of docker-compose.yml. Standard library only.

``up`` makes the secrets, once, in a file that nobody else may read; builds, starts, and waits until all is healthy.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
SETTINGS = CHECKOUT / ".env"
USER = "admin"
PROJECT = "scriptrun"
#: Starting on two cores takes one minute; a busy machine may take several.
HEALTHY_TIMEOUT_SECONDS = 600
_PAUSE_SECONDS = 1.0
_SHOWN_LOG_LINES = "40"
#: By which the engine knows what is Compose's, and what the Docker target has made there.
_PROJECT_LABEL, _SERVICE_LABEL = "com.docker.compose.project", "com.docker.compose.service"
_VOLUME_LABEL = "scriptrun.volume"
_IMAGE_KINDS = ("environment", "image")


class ComposeError(RuntimeError):
    """It does not work; the message says why, or what to install."""


class Compose:
    """The deployment whose secrets and settings are in one file.

    :param settings: made by :meth:`make_settings` where it is not there.
    :param files: more Compose files, which override the first.
    """

    def __init__(self, settings: Path = SETTINGS, files: Sequence[Path] = ()) -> None:
        self.settings, self.files = settings, [CHECKOUT / "docker-compose.yml", *files]

    @property
    def values(self) -> dict[str, str]:
        """What the file of settings says."""
        lines = (line.partition("=") for line in self.settings.read_text().splitlines() if "=" in line)
        return {name: value.strip("'") for name, _, value in lines if not name.startswith("#")}

    @property
    def url(self) -> str:
        """Where Airflow's web interface is."""
        return f"http://localhost:{self.values.get('AIRFLOW_PORT', '8080')}"

    @property
    def login(self) -> tuple[str, str]:
        """User and password of the web interface."""
        return USER, self.values["ADMIN_PASSWORD"]

    def make_settings(self, more: Mapping[str, str] | None = None) -> bool:
        """Make the file with secrets at random, for its owner alone; ``False``: it is there, and stays as it is."""
        if self.settings.exists():
            return False
        values = {"COMPOSE_PROJECT_NAME": PROJECT, **new_secrets(), "DOCKER_GROUP": _group_of_socket(), **(more or {})}
        lines = "".join(f"{name}='{value}'\n" for name, value in values.items())
        with os.fdopen(os.open(self.settings, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("# Made by make up-compose. What docker-compose.yml reads as ${NAME} can be set here.\n" + lines)
        return True

    def run(self, *words: str) -> str:
        """Run Compose and return what it prints. Raises :class:`ComposeError`."""
        files = [word for file in self.files for word in ("--file", str(file))]
        # what is in the environment would win over the file
        environment = {name: value for name, value in os.environ.items() if name not in self.values}
        options = ["--env-file", str(self.settings), "--project-directory", str(CHECKOUT)]
        command = [*find_program(), *files, *options, *words]
        return _output(command, f"docker-compose {words[0]}", environment)

    def up(self) -> None:
        """Build and start it; return when it is healthy. Raises :class:`ComposeError`."""
        self.run("build")
        try:
            self.run("up", "--detach")
        except ComposeError as error:
            self._complain(str(error))
        deadline = time.monotonic() + HEALTHY_TIMEOUT_SECONDS
        while missing := self.unhealthy():
            if time.monotonic() > deadline:
                self._complain(f"not healthy after {HEALTHY_TIMEOUT_SECONDS} s", list(missing))
            time.sleep(_PAUSE_SECONDS)

    def unhealthy(self) -> dict[str, str]:
        """Return what is not as it should be: service -> its state. Raises :class:`ComposeError`: it never will be."""
        found: dict[str, str] = {}
        for container in self._containers():
            service, state = container["Config"]["Labels"][_SERVICE_LABEL], container["State"]
            if state["Status"] == "exited" and state["ExitCode"]:
                self._complain(f"ended with {state['ExitCode']}", [service])
            is_well = state["Health"]["Status"] == "healthy" if "Health" in state else state["Status"] == "exited"
            if not is_well:
                found[service] = state.get("Health", state)["Status"]
        return found

    def down(self, *, volumes: bool = False, images: bool = False) -> None:
        """Stop and remove it; with what it has kept, where asked for. Raises :class:`ComposeError`."""
        options = ["--volumes"] * volumes + ["--rmi", "all"] * images
        self.run("down", "--remove-orphans", *options)
        if volumes:
            self.remove_runs()

    def remove_runs(self) -> None:
        """Remove what the Docker target has made in the engine: containers, then images and the volume."""
        volume = self.values.get("RUN_VOLUME", "scriptrun")
        mark = f"label={_VOLUME_LABEL}={volume}"
        # an image of a Dockerfile has no label, and the same one may have the name of another volume's, too
        named = [word for kind in _IMAGE_KINDS for word in ("--filter", f"reference={volume.lower()}/{kind}:*")]
        for find, remove in (
            (["ps", "--all", "--quiet", "--filter", mark], ["rm", "--force", "--volumes"]),
            (["images", "--quiet", "--filter", mark], ["rmi", "--force"]),
            (["images", *named, "--format", "{{.Repository}}:{{.Tag}}"], ["rmi", "--force"]),
            (["volume", "ls", "--quiet", "--filter", mark], ["volume", "rm", "--force"]),
        ):
            if names := _docker(*find).split():
                _docker(*remove, *dict.fromkeys(names))

    def _containers(self) -> list[dict[str, Any]]:
        mark = f"label={_PROJECT_LABEL}={self.values['COMPOSE_PROJECT_NAME']}"
        names = _docker("ps", "--all", "--quiet", "--filter", mark).split()
        found: list[dict[str, Any]] = json.loads(_docker("inspect", *names)) if names else []
        if not found:
            raise ComposeError("There is no container of this deployment")
        return found

    def _complain(self, what: str, services: Sequence[str] = ()) -> None:
        """Raise :class:`ComposeError` with the last lines of these services, or of all."""
        log = self.run("logs", "--no-color", f"--tail={_SHOWN_LOG_LINES}", *services)
        raise ComposeError(f"{', '.join(services) or 'the deployment'}: {what}\n{log}")


def new_secrets() -> dict[str, str]:
    """Return passwords and keys that nobody had before, by the names that docker-compose.yml has for them."""
    host_key, host_public = _key_pair()
    client_key, client_public = _key_pair()
    connection = {
        "conn_type": "scriptrun_ssh",
        "host": "vm",
        "login": "scriptrun",
        "extra": {"private_key": client_key, "host_key": host_public},
    }
    return {
        **{name: secrets.token_urlsafe(24) for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD")},
        "ADMIN_PASSWORD": secrets.token_urlsafe(12),
        "FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        **{name: secrets.token_urlsafe(48) for name in ("JWT_SECRET", "API_SECRET_KEY")},
        "VM_HOST_KEY": base64.b64encode(host_key.encode()).decode(),
        "VM_AUTHORIZED_KEY": client_public,
        "VM_CONNECTION": json.dumps(connection),
    }


def _key_pair() -> tuple[str, str]:
    """Return a private key and its public one."""
    if shutil.which("ssh-keygen") is None:
        raise ComposeError("There is no ssh-keygen: on Debian and Ubuntu, install openssh-client")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
        return path.read_text(), " ".join(path.with_suffix(".pub").read_text().split()[:2])


def _group_of_socket() -> str:
    """Return the id of the group that may use the engine's socket."""
    socket = Path("/var/run/docker.sock")
    return str(socket.stat().st_gid) if socket.exists() else "0"


def find_program() -> list[str]:
    """Return the command that is Compose here: version 2, a plugin of ``docker``, or version 1 from 1.29 on.

    Raises :class:`ComposeError`.
    """
    if shutil.which("docker") is None:
        raise ComposeError("There is no docker command: on Debian and Ubuntu, install docker.io and docker-compose")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        raise ComposeError("There is no Compose: on Debian and Ubuntu, install docker-compose")
    return ["docker-compose"]


def _docker(*words: str) -> str:
    return _output(["docker", *words], f"docker {words[0]}")


def _output(command: Sequence[str], name: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ComposeError(f"{name} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main(*arguments: str) -> None:
    """Do what is asked for on the command line."""
    parser = argparse.ArgumentParser(prog="compose", description=__doc__)
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--volumes", action="store_true", help="down: remove what was kept, too")
    asked = parser.parse_args(arguments)
    compose = Compose()
    if asked.action == "down":
        compose.down(volumes=asked.volumes)
        return
    if compose.make_settings():
        print(f"Secrets are in {compose.settings}, which only you can read")
    print("Building and starting; the first time takes minutes ...", flush=True)
    compose.up()
    user, password = compose.login
    print(f"Airflow: {compose.url}  user: {user}  password: {password}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ComposeError as error:
        sys.exit(str(error))
