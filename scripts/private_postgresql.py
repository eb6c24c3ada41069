"""A PostgreSQL cluster of one's own on loopback: made in a temporary folder, started, stopped, removed.

Standard library only. The programs are Debian's (package ``postgresql``), or those of PATH.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.airflow_home import free_port
from scripts.service import Service

#: Where Debian keeps the servers: each release has a folder, none is in PATH.
DEBIAN_PLACES = Path("/usr/lib/postgresql")
#: PostgreSQL refuses to run as root; Debian's package brings this user.
UNPRIVILEGED_USER = "postgres"
#: The role that owns everything in the cluster, and the database that initdb makes.
ROLE, DATABASE = "airflow", "postgres"
_START_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
#: Somebody else may take the free port before the server does.
_ATTEMPTS = 5
_SHOWN_LOG_CHARACTERS = 2000
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    # the data go with the cluster: nothing has to outlive a loss of power
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


class PostgresqlError(RuntimeError):
    """No server can be started here; the message says why, or what to install."""


class PrivatePostgresql:
    """A cluster that is made when it is first started, and removed by :meth:`remove`."""

    def __init__(self) -> None:
        self.port = 0
        self._password = secrets.token_urlsafe(12)
        self._folder: Path | None = None
        self._service: Service | None = None

    @property
    def url(self) -> str:
        """Of the database, as SQLAlchemy has it."""
        return f"postgresql+psycopg2://{ROLE}:{self._password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        path = None if self._service is None else self._service.log
        return path.read_text(errors="replace")[-_SHOWN_LOG_CHARACTERS:] if path and path.exists() else ""

    @property
    def service(self) -> Service:
        """Its processes, to be killed or frozen. Raises :class:`PostgresqlError` where it was not started."""
        if self._service is None:
            raise PostgresqlError("this server was not started")
        return self._service

    @contextlib.contextmanager
    def running(self) -> Iterator[PrivatePostgresql]:
        """Start, hand over, stop and remove whatever happens."""
        try:
            self.start()
            yield self
        finally:
            self.remove()

    def start(self) -> None:
        """Start it, on the same port each time; return when it answers. Raises :class:`PostgresqlError`."""
        programs = find_programs()
        if self._folder is None:
            self._make(programs)
        for left in reversed(range(1 if self.port else _ATTEMPTS)):
            port = self.port or free_port()
            self._service = self._serve(programs, port)
            self._service.start()
            if self._answers(programs, port):
                self.port = port
                return
            self._service.kill()
            if not left:
                raise PostgresqlError(f"PostgreSQL does not start:\n{self.log}")

    def stop(self) -> None:
        """End the server and every connection to it; its data stay. This is its "fast shutdown"."""
        if self._service is not None:
            self._service.stop()

    def remove(self) -> None:
        """End the server and remove its files."""
        self.stop()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder)

    def _make(self, programs: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix="scriptrun-postgresql-")).resolve()  # mode 0700
        self._folder = folder
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        if os.geteuid() == 0:
            for path in (folder, password):
                shutil.chown(path, UNPRIVILEGED_USER)
        options = ["--username", ROLE, "--pwfile", str(password), "--auth", "scram-sha-256"]
        options += ["--encoding", "UTF8", "--locale", "C", "--no-sync"]
        done = subprocess.run(
            [programs / "initdb", "--pgdata", folder / "data", *options],
            cwd=folder, capture_output=True, text=True, check=False, **_as_whom(),
        )  # fmt: skip
        password.unlink()
        if done.returncode:
            raise PostgresqlError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _serve(self, programs: Path, port: int) -> Service:
        if self._folder is None:
            raise PostgresqlError("this cluster was not made")
        settings = {**_SETTINGS, "port": str(port)}
        command = [str(programs / "postgres"), "-D", str(self._folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return Service(
            "postgresql", command,
            environment=os.environ, folder=self._folder, log=self._folder / "postgresql.log",
            # SIGTERM would wait for every client to go by itself
            stop_signal=signal.SIGINT, options=_as_whom(),
        )  # fmt: skip

    def _answers(self, programs: Path, port: int) -> bool:
        """Wait until it does, or has ended."""
        question = [
            programs / "pg_isready",
            "--quiet",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--dbname",
            DATABASE,
        ]
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while self.service.is_running and time.monotonic() < deadline:
            if subprocess.run(question, cwd="/", check=False).returncode == 0:
                # another server may listen there, which is why ours is about to end
                return self.service.is_running and "ready to accept connections" in self.log
            time.sleep(_PAUSE_SECONDS)
        return False


def find_programs() -> Path:
    """Return the folder of the newest server here. Raises :class:`PostgresqlError` that says what to install."""
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(UNPRIVILEGED_USER)
        except KeyError:
            raise PostgresqlError(
                f"PostgreSQL does not run as root, and there is no user {UNPRIVILEGED_USER}: on Debian and Ubuntu, "
                "install postgresql"
            ) from None
    found = [path.parent for path in DEBIAN_PLACES.glob("*/bin/postgres") if path.parent.parent.name.isdigit()]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    program = shutil.which("postgres")
    if program is None:
        raise PostgresqlError("There is no PostgreSQL server: on Debian and Ubuntu, install postgresql")
    return Path(program).resolve().parent


def _as_whom() -> dict[str, Any]:
    """Return what a process is started with, so that it is not root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
