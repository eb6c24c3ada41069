"""A private OpenSSH server: the real program, with keys, users and a network of its own."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.network import account, namespace, owner, processes
from tests.network.host import Host
from tests.network.relay import LOOPBACK

#: Debian's path: sshd insists on an absolute one, as it executes itself for every connection.
PROGRAM = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or "/usr/sbin/sshd"
#: Without it the server does not start; a system's own start script makes it.
_PRIVILEGE_SEPARATION = Path("/run/sshd")
#: On a loaded machine too, a server listens after this time.
_START_PATIENCE_S = 20.0
_PAUSE_S = 0.002
_PORT_ATTEMPTS = 5
#: In a namespace every port is free.
_SSH_PORT = 22


class Sshd:
    """A server that listens when the constructor returns. It is left with :meth:`stop`, or as a context.

    As root it has a user of its own, and a network of its own where the kernel lets us; else it runs as we do, on
    loopback. What it is to a client is :attr:`host`; its fields are here too.

    :param options: sshd_config(5): name -> value or values; they win over the ones that are set here.
    :param shell: the user's login shell.
    :param password: one that lets the user in, beside the key. Needs a user of its own.
    :param other_user: whether to make a user; ``None``: where we can.
    :param own_network: whether to make a network; ``None``: where we can.
    :param inside: another server, behind which it listens: on loopback of that one's network, out of our reach.
    :param files: what its sessions see in place of files of this machine: path -> content, for instance of the
        machine's id. Needs root, as other mounts do.
    :param host_key_types: as ``ssh-keygen -t`` has them; the first is the one that ``host_key`` is.
    """

    def __init__(
        self,
        options: Mapping[str, str | Iterable[str]] | None = None,
        *,
        shell: str = "/bin/bash",
        password: str | None = None,
        other_user: bool | None = None,
        own_network: bool | None = None,
        inside: Sshd | None = None,
        files: Mapping[str, str] | None = None,
        host_key_types: tuple[str, ...] = ("ed25519",),
        key_type: str = "ed25519",
    ) -> None:
        _sweep_once()
        self.options, self.files = dict(options or {}), dict(files or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._is_guest = inside is not None
        self._namespace: namespace.Namespace | None = None
        is_other = account.why_impossible() is None if other_user is None else other_user
        self._account: account.Account = account.TemporaryAccount(shell, password) if is_other else account.OwnAccount()
        try:
            if inside is not None:
                self._namespace = inside._namespace
            elif (namespace.why_impossible() is None) if own_network is None else own_network:
                self._namespace = namespace.Namespace()
            self.log_path = self._account.folder / "sshd.log"
            self.log_path.touch(mode=0o600)
            self._host_keys = [self._key(f"host_{kind}", kind) for kind in host_key_types]
            key = self._key("key", key_type)
            self.authorize(_public(key))
            self.host = self._listen(key)
        except BaseException:
            self.stop()
            raise

    # What it is to a client

    @property
    def address(self) -> str:
        return self.host.address

    @property
    def port(self) -> int:
        return self.host.port

    @property
    def user(self) -> str:
        return self.host.user

    @property
    def key_path(self) -> str:
        return self.host.key_path

    @property
    def host_key(self) -> str:
        return self.host.host_key

    @property
    def known_hosts(self) -> str:
        return self.host.known_hosts

    def connection(self, conn_type: str = "scriptrun_ssh", **fields: Any) -> dict[str, Any]:
        """See :meth:`Host.connection`."""
        return self.host.connection(conn_type, **fields)

    def run(self, *argv: str, check: bool = True) -> bytes:
        """See :meth:`Host.run`."""
        return self.host.run(*argv, check=check)

    def log(self) -> str:
        """Return what the server wrote so far."""
        return self.log_path.read_text(errors="replace")

    def running(self) -> list[processes.Process]:
        """Return what the user runs, without the server's own processes."""
        return [process for process in self._account.processes() if not process.name.startswith("sshd")]

    def authorize(self, public_key: str) -> None:
        """Let the user in with one more key."""
        file = self._account.home / ".ssh" / "authorized_keys"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with file.open("a") as stream:
            stream.write(f"{public_key}\n")
        for path in (file.parent, file):
            os.chown(path, self._account.user_id, self._account.group_id)

    # What can happen to a host

    def kill_connections(self) -> None:
        """Kill the server's end of every connection. What runs behind it goes on, with nobody at its pipes."""
        listener = self._listener()
        own = [process for process in processes.below(listener.pid) if process.name.startswith("sshd")]
        pids = {process.pid for process in own}
        processes.kill(lambda: [process for process in processes.processes() if process.pid in pids])

    def freeze(self) -> None:
        """Stop the server and every process of the user where they are. The kernel still lets connections in."""
        processes.freeze(self._everything)

    def thaw(self) -> None:
        """Let go on what :meth:`freeze` stopped."""
        processes.thaw(self._everything)

    def halt(self) -> None:
        """End the server and its connections. What the user runs goes on; whoever connects is refused."""
        if self._process is None:
            return
        processes.freeze(lambda: [p for p in processes.processes() if p.pid == self._listener().pid])  # no new children
        self.kill_connections()
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(
        self, options: Mapping[str, str | Iterable[str]] | None = None, *, files: Mapping[str, str] | None = None
    ) -> None:
        """End the server and its connections; start it at the same address, with other options if some are given."""
        self.halt()
        self.options = self.options if options is None else dict(options)
        self.files = self.files if files is None else dict(files)
        self._launch(self.host.address, self.host.port)

    def crash(self) -> None:
        """End the server and every process of the user at once, as a power cut does; ``restart`` brings it back."""
        self.freeze()
        self.halt()
        processes.kill(self._account.processes)

    def stop(self) -> None:
        """End the server and every process of the user; remove the user, the network and all files."""
        if self._process is not None:
            self.thaw()
            self.halt()
        self._account.remove()
        if self._namespace is not None and not self._is_guest:
            self._namespace.remove()
            self._namespace = None

    def __enter__(self) -> Sshd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # How it starts

    def _listen(self, key: Path) -> Host:
        if self._namespace is not None:
            address, port = LOOPBACK if self._is_guest else self._namespace.address, _SSH_PORT
            self._launch(address, port)
        else:
            address, port = self._launch_on_loopback()
        name = address if port == _SSH_PORT else f"[{address}]:{port}"
        public = [_public(path) for path in self._host_keys]
        known_hosts = self._account.folder / "known_hosts"
        known_hosts.write_text("".join(f"{name} {line}\n" for line in public))
        own = self._account
        return Host(
            address=address,
            port=port,
            user=own.user,
            user_id=own.user_id,
            group_id=own.group_id,
            shell=own.shell,
            home=str(own.home),
            key_path=str(key),
            host_key=public[0],
            known_hosts=str(known_hosts),
            namespace=self._namespace.name if self._namespace else None,
        )

    def _launch_on_loopback(self) -> tuple[str, int]:
        for attempt in range(_PORT_ATTEMPTS):
            with socket.socket() as probe:
                probe.bind((LOOPBACK, 0))
                port = probe.getsockname()[1]
            try:
                self._launch(LOOPBACK, port)
            except AssertionError:  # somebody else took the port meanwhile
                if attempt == _PORT_ATTEMPTS - 1:
                    raise
            else:
                return LOOPBACK, port
        raise AssertionError

    def _launch(self, address: str, port: int) -> None:
        config = self._account.folder / "sshd_config"
        config.write_text(self._config(address, port))
        if os.geteuid() == 0:
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        prefix = namespace.enter(self._namespace.name) if self._namespace else []
        prefix += self._seeing_files()
        written = self.log_path.stat().st_size
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, PROGRAM, "-D", "-e", "-f", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
        deadline = time.monotonic() + _START_PATIENCE_S
        while b"Server listening" not in (said := self.log_path.read_bytes()[written:]):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"sshd does not start: {said.decode(errors='replace')}")
            time.sleep(_PAUSE_S)

    def _seeing_files(self) -> list[str]:
        """Return the words before a command that run it with :attr:`files` in place."""
        if not self.files:
            return []
        words = []
        for number, (path, content) in enumerate(self.files.items()):
            file = self._account.folder / f"file{number}"
            file.write_text(content)
            file.chmod(0o644)
            words += [str(file), path]
        script = 'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'
        return ["unshare", "--mount", "sh", "-ec", script, "sh", *words, "--"]

    def _config(self, address: str, port: int) -> str:
        own = self._account
        ours: dict[str, str | Iterable[str]] = {
            "ListenAddress": address,
            "Port": str(port),
            "HostKey": [str(path) for path in self._host_keys],
            "PidFile": "none",
            "UsePAM": "no",
            "UseDNS": "no",
            "LogLevel": "VERBOSE",
            "AllowUsers": own.user,
            "PermitRootLogin": "yes" if own.user_id == 0 else "no",
            "PasswordAuthentication": "yes",
            "KbdInteractiveAuthentication": "no",
            # the folders above are anybody's (/tmp): with StrictModes, a key file outside the home folder is refused
            "StrictModes": "yes" if isinstance(own, account.TemporaryAccount) else "no",
            "AuthorizedKeysFile": str(own.home / ".ssh" / "authorized_keys"),
            **({} if isinstance(own, account.TemporaryAccount) else {"SetEnv": f"HOME={own.home}"}),
            "AcceptEnv": "LANG LC_*",
            "PrintMotd": "no",
            "Subsystem": "sftp internal-sftp",
        }
        given = {name.lower() for name in self.options}
        options = {**self.options, **{name: value for name, value in ours.items() if name.lower() not in given}}
        lines = []
        for name, value in options.items():
            lines += [f"{name} {one}" for one in ([value] if isinstance(value, str) else value)]
        return "\n".join(lines) + "\n"

    def _key(self, name: str, kind: str) -> Path:
        path = self._account.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path], check=True)
        return path

    def _listener(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def _everything(self) -> list[processes.Process]:
        listener = self._listener().pid
        first = [process for process in processes.processes() if process.pid == listener]
        return [*first, *processes.below(listener), *self._account.processes()]


def why_missing() -> str | None:
    """Return why no server can be started here, or ``None``."""
    programs = {"sshd": PROGRAM, "ssh-keygen": "ssh-keygen"}
    lacking = [name for name, path in programs.items() if shutil.which(path) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None


def _public(key: Path) -> str:
    kind, data, *_comment = Path(f"{key}.pub").read_text().split()
    return f"{kind} {data}"


def sweep() -> None:
    """Remove all that test runs left that were killed."""
    with owner.one_at_a_time("sweep"):
        account.sweep()
        namespace.sweep()


@functools.cache
def _sweep_once() -> None:
    sweep()  # before the first server of this process
