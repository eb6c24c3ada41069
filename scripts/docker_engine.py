"""A Docker engine that answers: the one that is there, or one that is started by hand. Standard library only.

``python -m scripts.docker_engine`` prints the process id of the engine that it started, and nothing where one answered;
``python -m scripts.docker_engine stop PID`` ends that one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

#: Where an engine listens unless ``DOCKER_HOST`` names another one.
DEFAULT_URL = "unix:///var/run/docker.sock"
#: An engine that does not answer in this time is no help.
ANSWER_TIMEOUT_SECONDS = 30.0
_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
_SHOWN_LOG_CHARACTERS = 2000
#: What to start it with, in turn: a machine may not let anybody have rules for packets.
_WAYS: Sequence[Sequence[str]] = ((), ("--iptables=false", "--ip6tables=false"), ("--iptables=false", "--bridge=none"))


class DockerEngineError(RuntimeError):
    """There is no engine, or it refuses; the message says why, or what to install."""


def url() -> str:
    """Where the engine of this machine's user is."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_URL


def ask(*words: str, at: str | None = None, data: bytes | None = None, timeout: float | None = None) -> str:
    """Run the ``docker`` command against an engine and return what it prints. Raises :class:`DockerEngineError`."""
    program = shutil.which("docker")
    if program is None:
        raise DockerEngineError("There is no docker command: on Debian and Ubuntu, install docker.io")
    command = [program, "--host", at or url(), *words]
    given = {"input": data} if data is not None else {"stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(command, capture_output=True, cwd="/", timeout=timeout, check=False, **given)  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        raise DockerEngineError(f"{at or url()} did not answer for {timeout:.0f} s") from None
    if done.returncode:
        raise DockerEngineError(f"docker {words[0]}: {done.stderr.decode(errors='replace').strip()}")
    return str(done.stdout.decode())


def hand_over(image: str, source: str, to: str) -> None:
    """Bring an image from one engine to another. Raises :class:`DockerEngineError`."""
    with subprocess.Popen(["docker", "--host", source, "save", image], cwd="/", stdout=subprocess.PIPE) as save:
        load = subprocess.run(
            ["docker", "--host", to, "load", "--quiet"], cwd="/", stdin=save.stdout, capture_output=True, check=False
        )
    if save.returncode or load.returncode:
        said = load.stderr.decode(errors="replace").strip()
        raise DockerEngineError(f"{image} could not be brought from {source} to {to}: {said}")


def why_missing(at: str | None = None) -> str | None:
    """Return why no engine answers, or ``None``."""
    try:
        ask("version", "--format", "{{.Server.APIVersion}}", at=at, timeout=ANSWER_TIMEOUT_SECONDS)
    except DockerEngineError as error:
        return str(error)
    return None


def ensure() -> int | None:
    """Return the process id of an engine that was started, or ``None`` where one answers already.

    Raises :class:`DockerEngineError`: only root can start one, and none is started in place of one elsewhere.
    """
    reason = why_missing()
    if reason is None:
        return None
    if url() != DEFAULT_URL:
        raise DockerEngineError(f"DOCKER_HOST names an engine that does not answer: {reason}")
    program = shutil.which("dockerd", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if program is None:
        raise DockerEngineError(f"{reason}. There is no dockerd: on Debian and Ubuntu, install docker.io")
    if os.geteuid() != 0:
        raise DockerEngineError(f"{reason}. Only root can start one")
    said = ""
    for way in _WAYS:
        process, said = _launch([program, *way])
        if process is not None:
            return process
    raise DockerEngineError(f"dockerd does not start:\n{said}")


def stop(process: int) -> None:
    """End an engine that :func:`ensure` started, with its containers; return when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while _lives(process) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    if _lives(process):
        os.kill(process, signal.SIGKILL)


def _lives(process: int) -> bool:
    """Whether it is there; one that nobody has buried is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _launch(command: Sequence[str]) -> tuple[int | None, str]:
    """Return the process id of an engine that answers, or ``None``; and the end of what it wrote."""
    log = Path(tempfile.gettempdir(), "scriptrun-dockerd.log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if why_missing() is None:
            return process.pid, ""
        time.sleep(_PAUSE_SECONDS)
    process.terminate()
    process.wait()
    return None, log.read_text(errors="replace")[-_SHOWN_LOG_CHARACTERS:]


def main(*arguments: str) -> None:
    """Start one where none answers, or ``stop PID``."""
    if arguments:
        stop(int(arguments[1]))
    elif (started := ensure()) is not None:
        print(started)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except DockerEngineError as error:
        sys.exit(str(error))
