"""An SSH server of one's own on loopback, for this user alone: fresh keys, started, asked for, stopped.

It stands in for a remote machine. Standard library only.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

#: sshd starts itself anew for each connection, so it insists on an absolute path; few users have sbin in theirs.
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])
#: Where sshd locks itself up while it knows nobody yet, as root only. A system's start script makes it.
_EMPTY_FOLDER = Path("/run/sshd")
_START_TIMEOUT_SECONDS = 20
_STOP_TIMEOUT_SECONDS = 5
_PAUSE_SECONDS = 0.01
#: Somebody else may take the free port before sshd does.
_ATTEMPTS = 5
_SHOWN_LOG_CHARACTERS = 2000


class SshdError(RuntimeError):
    """No server can be started here; the message says why, or what to install."""


class PrivateSshd:
    """A server that listens on ``port`` of 127.0.0.1 and lets in the user who runs it, with ``client_key``.

    :param folder: where its folder with keys, configuration and log is made, which goes when it stops.
    """

    def __init__(self, folder: Path) -> None:
        self._parent = folder
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.user = getpass.getuser()
        self.port = 0

    @property
    def client_key(self) -> str:
        """The private key that opens it, as text."""
        return self._file("client_key").read_text()

    @property
    def host_key(self) -> str:
        """Its public key, as it stands in a ``.pub`` file, without the comment."""
        return " ".join(self._file("host_key.pub").read_text().split()[:2])

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        return self._file("sshd.log").read_text(errors="replace")[-_SHOWN_LOG_CHARACTERS:]

    @contextlib.contextmanager
    def running(self) -> Iterator[PrivateSshd]:
        """Start, hand over, stop whatever happens. Raises :class:`SshdError`, with nothing left behind."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Start it; return when it listens. Raises :class:`SshdError`."""
        program, key_maker = (shutil.which(name, path=PLACES) for name in ("sshd", "ssh-keygen"))
        if program is None or key_maker is None:
            raise SshdError("There is no sshd, or no ssh-keygen: on Debian and Ubuntu, install openssh-server")
        self._parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="sshd-", dir=self._parent)).resolve()  # mode 0700
        for name in ("host_key", "client_key"):
            path = str(self._file(name))
            subprocess.run([key_maker, "-q", "-t", "ed25519", "-N", "", "-C", "scriptrun", "-f", path], check=True)
        if os.geteuid() == 0:
            _EMPTY_FOLDER.mkdir(mode=0o755, exist_ok=True)
        for left in reversed(range(_ATTEMPTS)):
            self.port = _free_port()
            self._launch(program)
            if self._listens():
                return
            if not left:
                raise SshdError(f"sshd does not start:\n{self.log}")

    def stop(self) -> None:
        """End the server and remove its files. Connections end with their clients."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder)

    def _file(self, name: str) -> Path:
        if self._folder is None:
            raise SshdError("this server was not started")
        return self._folder / name

    def _launch(self, program: str) -> None:
        configuration = self._file("sshd_config")
        configuration.write_text("".join(f"{name} {value}\n" for name, value in self._options().items()))
        with self._file("sshd.log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(configuration)],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _listens(self) -> bool:
        """Wait until it does, or has ended."""
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            if "Server listening" in self.log:
                return True
            time.sleep(_PAUSE_SECONDS)
        return False

    def _options(self) -> dict[str, str]:
        return {
            "ListenAddress": "127.0.0.1",
            "Port": str(self.port),
            "HostKey": _quoted(self._file("host_key")),
            "AuthorizedKeysFile": _quoted(self._file("client_key.pub")).replace("%", "%%"),
            "PidFile": "none",
            "AllowUsers": self.user,
            "AuthenticationMethods": "publickey",
            "PermitRootLogin": "prohibit-password",
            # the keys lie in a folder of this checkout, whoever may write above it
            "StrictModes": "no",
            # a server that is not root can ask nobody else about a user
            "UsePAM": "no",
            "DisableForwarding": "yes",
            "PrintMotd": "no",
        }


def _quoted(path: Path) -> str:
    if '"' in str(path):
        raise SshdError(f"sshd takes no path with a quotation mark in it: {path}")
    return f'"{path}"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
