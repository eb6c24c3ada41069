"""An engine of a user who is not root: dockerd in a user namespace, where root is that user, and others are numbers."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from scripts import docker_engine
from scripts.service import Service
from tests.docker import images
from tests.network import account, owner

#: Where the numbers of other users begin that a user's namespace may have, and how many each has.
_FIRST_ID, _IDS = 10_000_000, 65_536
_PATIENCE_S, _PAUSE_S = 60.0, 0.05
_SHOWN_LOG_CHARACTERS = 3000
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
#: What Docker's own dockerd-rootless.sh does, in the namespace and in front of it.
_IN_NAMESPACE = 'rm -f /run/docker /run/containerd /run/xtables.lock; exec dockerd "$@"'


class RootlessEngine:
    """An engine that answers when the constructor returns, with a network of its own that leads out. A context.

    :param load: references of images that it gets from the machine's engine.
    """

    def __init__(self, *, load: Sequence[str] = ()) -> None:
        _sweep_once()
        self._account = account.TemporaryAccount()
        home = self._account.home
        self.url = f"unix://{home}/docker.sock"
        self.data = home / ".local/share/docker"
        self._log = self._account.folder / "dockerd.log"
        self._service = Service(
            "rootlesskit", self._command(), environment=self._variables(), folder=home, log=self._log,
            options={"user": self._account.user_id, "group": self._account.group_id, "extra_groups": []},
        )  # fmt: skip
        try:
            self._start()
            for name in load:
                images.copy(name, self.url)
        except BaseException:
            self.remove()
            raise

    @property
    def user_id(self) -> int:
        """Who its root is on the machine."""
        return self._account.user_id

    def limits(self) -> bool:
        """Whether it can hold a limit of memory."""
        return docker_engine.ask("info", "--format", "{{.MemoryLimit}}", at=self.url).strip() == "true"

    def remove(self) -> None:
        """End it and all that it runs; remove the user and all files."""
        self._service.kill()
        self._account.remove()

    def __enter__(self) -> RootlessEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def _command(self) -> list[str]:
        command = ["rootlesskit", "--net=slirp4netns", "--mtu=65520", "--disable-host-loopback"]
        command += ["--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=auto"]
        command += ["--copy-up=/etc", "--copy-up=/run", "--propagation=rslave"]
        command += ["sh", "-c", _IN_NAMESPACE, "sh", "--host", self.url]
        return [*command, "--bridge=none", "--iptables=false", "--ip6tables=false"]

    def _variables(self) -> dict[str, str]:
        home = str(self._account.home)
        return {"HOME": home, "XDG_RUNTIME_DIR": f"{home}/run", "PATH": _PATH}

    def _start(self) -> None:
        own = self._account
        Path(self._variables()["XDG_RUNTIME_DIR"]).mkdir(mode=0o700)
        os.chown(self._variables()["XDG_RUNTIME_DIR"], own.user_id, own.group_id)
        first = _FIRST_ID + own.user_id * _IDS
        ids = f"{first}-{first + _IDS - 1}"
        with owner.one_at_a_time("users"):
            subprocess.run(["usermod", "--add-subuids", ids, "--add-subgids", ids, own.user], check=True)
        self._service.start()
        deadline = time.monotonic() + _PATIENCE_S
        while docker_engine.why_missing(self.url) is not None:
            said = self._log.read_text(errors="replace")[-_SHOWN_LOG_CHARACTERS:]
            assert self._service.is_running, f"the engine does not start:\n{said}"
            assert time.monotonic() < deadline, f"the engine does not answer:\n{said}"
            time.sleep(_PAUSE_S)


@functools.cache
def why_impossible() -> str | None:
    """Return why no such engine can be started here, or ``None``."""
    if reason := account.why_impossible():
        return reason
    lacking = {"rootlesskit": "rootlesskit", "newuidmap": "uidmap", "slirp4netns": "slirp4netns", "usermod": "passwd"}
    missing = [package for program, package in lacking.items() if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    made = subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False)
    return None if made.returncode == 0 else "the kernel makes no user namespaces"


@functools.cache
def _sweep_once() -> None:
    account.sweep()
