"""A host with an SSH server, as a client knows it, and a way to it that does not go through SSH."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.network import namespace

#: What sshd gives a session; Debian's default.
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games"


class Way(Protocol):
    """Where a client connects to."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...


@dataclass(frozen=True)
class Host:
    """All of it can be written down, and be found again in another process.

    :param user: who logs in there.
    :param home: the user's home folder.
    :param key_path: the private key that opens it.
    :param host_key: the public key that it has, as ``ssh-ed25519 AAAA...``.
    :param known_hosts: a file that says so.
    :param namespace: the network namespace that it is in; ``None``: this machine's own.
    """

    address: str
    port: int
    user: str
    user_id: int
    group_id: int
    shell: str
    home: str
    key_path: str
    host_key: str
    known_hosts: str
    namespace: str | None = None

    def document(self) -> str:
        """Return what :meth:`find` needs."""
        return json.dumps(asdict(self))

    @classmethod
    def find(cls, document: str) -> Host:
        """Return the host of a :meth:`document`; it belongs to whoever made it."""
        return cls(**json.loads(document))

    @property
    def root(self) -> str:
        """A folder in the home folder, for the root of a target."""
        return f"{self.home}/.scriptrun"

    def connection(
        self, conn_type: str = "scriptrun_ssh", *, via: Way | None = None, password: str | None = None, **extra: Any
    ) -> dict[str, Any]:
        """Return the Airflow connection to it: as JSON, it is a value of ``AIRFLOW_CONN_<ID>``.

        :param via: what to connect to instead, which leads there.
        :param extra: fields beside, or instead of, ``private_key``, ``host_key`` and ``root``; ``None`` leaves one out.
        """
        way = via or self
        fields = {
            "private_key": Path(self.key_path).read_text() if password is None else None,
            "host_key": self.host_key,
            "root": self.root,
            **extra,
        }
        document: dict[str, Any] = {
            "conn_type": conn_type,
            "host": way.address,
            "port": way.port,
            "login": self.user,
            "extra": {name: value for name, value in fields.items() if value is not None},
        }
        return document if password is None else {**document, "password": password}

    def ssh(self, *words: str) -> list[str]:
        """Return the command of the ``ssh`` client that runs one there, with no configuration but this."""
        options = ["BatchMode=yes", f"UserKnownHostsFile={self.known_hosts}", "GlobalKnownHostsFile=/dev/null"]
        given = [word for option in ("IdentitiesOnly=yes", *options) for word in ("-o", option)]
        where = ["-i", self.key_path, "-p", str(self.port), f"{self.user}@{self.address}"]
        return ["ssh", "-F", "none", *given, *where, *words]

    @property
    def environment(self) -> Mapping[str, str]:
        """What a session of the user has."""
        who = {"HOME": self.home, "USER": self.user, "LOGNAME": self.user, "SHELL": self.shell}
        return {**who, "PATH": PATH, "LANG": "C.UTF-8"}

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command there as the user, in the home folder, with :class:`subprocess.Popen`'s options."""
        prefix: list[str] = []
        if self.namespace is not None:
            prefix = namespace.enter(self.namespace, self.user_id, self.group_id)
        elif self.user_id != os.geteuid():
            options = {"user": self.user_id, "group": self.group_id, "extra_groups": [], **options}
        return subprocess.Popen([*prefix, *argv], cwd=self.home, env=dict(self.environment), **options)

    def run(self, *argv: str, check: bool = True) -> bytes:
        """Run a command there as the user, in the home folder; return what it printed."""
        with self.start(*argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            output, _ = process.communicate()
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, argv, output)
        return output
