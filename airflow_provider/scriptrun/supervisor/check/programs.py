"""The versions of programs, asked all at once and for a short time: one that is broken, or hangs, has none."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    import subprocess
    from typing import Any, Dict, List, Mapping, Optional

#: conda takes more than a second; what takes longer than this hangs, as docker does on a dead socket.
PATIENCE_S = 5.0
#: Of what a program says, its version stands in the first line.
_MAX_ANSWER_BYTES = 4096
_LONGEST_VERSION = 40
#: These are looked for beside those that ``hello`` knows.
_MORE = ("git", "nvidia-smi")
#: Would take too long, or hang with the driver: only where it is.
_UNASKED = ("nvidia-smi",)


def versions(tools: Mapping[str, Optional[str]]) -> Dict[str, Any]:
    """Return ``{"versions": name -> version or null, "more": name -> path, "venv", "ensurepip"}``.

    :param tools: name -> absolute path, where it was found.
    """
    import importlib.util

    from ..environment.python import own_base
    from ..hello import which

    more = {name: path for name, path in ((name, which(name)) for name in _MORE) if path}
    commands = {name: [path, "--version"] for name, path in {**tools, **more}.items() if path and name not in _UNASKED}
    commands["pip"] = [own_base().executable, "-I", "-m", "pip", "--version"]  # what builds environments
    return {
        "versions": {name: version_in(answer) for name, answer in ask(commands, PATIENCE_S).items()},
        "more": more,
        "venv": importlib.util.find_spec("venv") is not None,
        "ensurepip": importlib.util.find_spec("ensurepip") is not None,
    }


def version_in(answer: Optional[bytes]) -> Optional[str]:
    """Return the first word of an answer's first line that begins with a digit, without what may follow it."""
    line = (answer or b"").decode("utf-8", "replace").strip().partition("\n")[0]
    for word in line.split():
        if word[0].isdigit():
            return word.rstrip(",;")[:_LONGEST_VERSION]
    return None


def ask(commands: Mapping[str, List[str]], patience_s: float) -> Dict[str, Optional[bytes]]:
    """Run all commands at once; return what each printed, ``None`` for one that failed or took too long.

    Nothing of them is left running.
    """
    started = {name: _start(command) for name, command in commands.items()}
    running = {process.stdout.fileno(): name for name, process in started.items() if process and process.stdout}
    said = dict.fromkeys(running.values(), b"")
    end = time.monotonic() + patience_s
    while running:
        ready, _, _ = select.select(list(running), [], [], max(0.0, end - time.monotonic()))
        if not ready:
            break
        for descriptor in ready:
            name = running[descriptor]
            block = os.read(descriptor, _MAX_ANSWER_BYTES)
            said[name] += block
            if not block or b"\n" in said[name] or len(said[name]) > _MAX_ANSWER_BYTES:
                del running[descriptor]
    late = set(running.values())
    return {
        name: said[name] if _end(process) and name not in late and said[name] else None
        for name, process in started.items()
    }


def _start(command: List[str]) -> Optional[subprocess.Popen[bytes]]:
    import subprocess

    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # so that what it starts can be ended with it
        )
    except OSError:
        return None


def _end(process: Optional[subprocess.Popen[bytes]]) -> bool:
    """End whatever is left of a command; whether there was one. One stuck in the kernel is not waited for."""
    if process is None:
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()  # type: ignore[union-attr]  # it has a pipe
    process.poll()
    return True
