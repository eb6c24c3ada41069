"""Real components that a developer's machine may lack: how each is looked for, and why it counts as missing."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

#: An index that does not answer in this time is no help to a test.
NETWORK_TIMEOUT_S = 30.0


def why_missing(component: str) -> str | None:
    """Return why a component cannot be used here; ``None`` when it can. Raises ``KeyError`` for an unknown one."""
    return PROBES[component]()


def is_required(component: str) -> bool:
    """Whether ``SCRIPTRUN_REQUIRE`` (names separated by commas, or ``all``) says that it must be there."""
    required = {name.strip() for name in os.environ.get("SCRIPTRUN_REQUIRE", "").split(",")}
    return bool(required & {component, "all"})


def require(component: str) -> None:
    """Skip the test that runs when a component is missing, and say why; fail it where the component is required."""
    if component not in PROBES:
        pytest.fail(f"needs({component!r}): there is no such component in tests/components.py", pytrace=False)
    reason = why_missing(component)
    if reason is None:
        return
    if is_required(component):
        pytest.fail(f"{component} is required by SCRIPTRUN_REQUIRE: {reason}", pytrace=False)
    pytest.skip(f"{component}: {reason}")


@functools.cache
def find_python(version: str) -> str | None:
    """Return an interpreter of this version (``3.8``) from PATH or from pyenv; none is downloaded."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True),
        shutil.which(f"python{version}"),
    ]
    question = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        answer = subprocess.run([str(candidate), "-c", question], capture_output=True, text=True, check=False)
        if answer.stdout == version:
            return str(candidate)
    return None


@functools.cache
def find_uv() -> str | None:
    """Return the program ``uv`` that the package of that name brings."""
    if importlib.util.find_spec("uv") is None:
        return None
    from uv import find_uv_bin

    return find_uv_bin()


@functools.cache
def _network() -> str | None:
    uv = find_uv()
    if uv is None:
        return "the package uv is not installed"
    command = [uv, "pip", "compile", "--no-cache", "--no-deps", "--quiet", "--python", sys.executable, "-"]
    try:
        answer = subprocess.run(
            command, input=b"packaging\n", capture_output=True, cwd="/", timeout=NETWORK_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the package index did not answer for {NETWORK_TIMEOUT_S:.0f} s"
    return None if answer.returncode == 0 else "the package index that uv is configured for does not answer"


def _s3() -> str | None:
    lacking = [name for name in ("moto", "s3fs", "flask") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None


def _python38() -> str | None:
    return None if find_python("3.8") else "no Python 3.8 was found"


@functools.cache
def _tmpfs() -> str | None:
    if os.geteuid() != 0:
        return "only root can mount a tmpfs"
    script = "mount -t tmpfs -o size=64k none /mnt"
    answer = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, check=False)
    return None if answer.returncode == 0 else "a tmpfs cannot be mounted here"


#: Where control groups of version 1 with a limit for memory are made.
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")


def _memory_groups() -> str | None:
    if not (MEMORY_GROUPS / "memory.limit_in_bytes").exists():
        return f"no control groups for memory are mounted at {MEMORY_GROUPS}"
    return None if os.access(MEMORY_GROUPS, os.W_OK) else "this user may make no control groups"


def _sshd() -> str | None:
    from tests.network import sshd

    return sshd.why_missing()


def _another_user() -> str | None:
    from tests.network import account

    return account.why_impossible()


def _namespace() -> str | None:
    from tests.network import namespace

    return namespace.why_impossible()


@functools.cache
def _docker() -> str | None:
    from scripts import base_image, docker_engine

    if reason := docker_engine.why_missing():
        return f"no engine answers: {reason}"
    if importlib.util.find_spec("docker") is None:
        return "the package docker is not installed"
    if base_image.is_there() or (reason := base_image.why_impossible()) is None:
        return None
    return f"the engine has no image {base_image.reference()}, and it cannot be made: {reason}"


def _private_engine() -> str | None:
    from tests.docker import engine

    return _docker() or engine.why_impossible()


def _image_registry() -> str | None:
    if shutil.which("docker-registry") is None:
        return "there is no docker-registry: on Debian and Ubuntu, install docker-registry"
    return _docker()


def _rootless_engine() -> str | None:
    from tests.docker import rootless

    return _private_engine() or rootless.why_impossible()


def _compose() -> str | None:
    from scripts import compose

    try:
        compose.find_program()
    except compose.ComposeError as error:
        return str(error)
    return _docker()


def _postgresql() -> str | None:
    from scripts.private_postgresql import PostgresqlError, find_programs

    try:
        find_programs()
    except PostgresqlError as error:
        return str(error)
    return None


@functools.cache
def find_chromium() -> str | None:
    """Return the browser as Debian installs it, or another one of that name."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def system_python() -> str:
    """Return a Python that has no virtual environment, the system's own where there is one."""
    return shutil.which("python3", path="/usr/bin:/usr/local/bin") or str(Path(sys.executable).resolve())


def _chromium() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed"
    return None if find_chromium() else "not installed"


def _program(name: str) -> str | None:
    return None if shutil.which(name) else "not installed"


#: Component -> what looks for it.
PROBES: dict[str, Callable[[], str | None]] = {
    "network": _network,
    "s3": _s3,
    "python3.8": _python38,
    "tmpfs": _tmpfs,
    "memory cgroup": _memory_groups,
    "sshd": _sshd,
    "another user": _another_user,
    "network namespace": _namespace,
    "docker": _docker,
    "private engine": _private_engine,
    "rootless engine": _rootless_engine,
    "image registry": _image_registry,
    "compose": _compose,
    "postgresql": _postgresql,
    "chromium": _chromium,
    "fish": lambda: _program("fish"),
    "tcsh": lambda: _program("tcsh"),
}
