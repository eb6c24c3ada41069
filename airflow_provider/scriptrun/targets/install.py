"""How a supervisor comes to a host: one archive, once per version, unpacked there by the host's own Python."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets.session import PATIENCE_S, SHELL_ADVICE

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.archive import Archive
    from airflow_provider.scriptrun.targets.transports.base import Process, Transport

#: Isolated, without site-packages and PYTHON* variables: nothing on the target can get in our way; and it is faster.
PYTHON_OPTIONS = ("-I", "-S", "-E")
MINIMUM_PYTHON = "3.8"
#: A program of many lines is no argument that every login shell takes: it travels as data.
_READ_AND_RUN = "import sys; exec(sys.stdin.buffer.read(int(sys.argv.pop(1))))"
#: The line that the bootstrap answers with, and how much may stand around it.
_ANSWER = b"\nscriptrun-install "
_MAX_ANSWER_BYTES = 512 * 1024
#: Works in every Python there ever was.
_VERSION = "import sys; sys.stdout.write('\\nscriptrun-python %d.%d.%d\\n' % sys.version_info[:3])"
_VERSION_ANSWER = b"\nscriptrun-python "
#: POSIX sh: the command cannot be executed, or is not there. Another code may be that of a shell that ended before.
_SHELL_FOUND_NONE = (126, 127)
_QUOTED_CHARACTERS = 2000


def install(transport: Transport, interpreter: str, root: str, archive: Archive, *, replace: bool = False) -> None:
    """Put the supervisor into ``<root>/supervisor/<version>`` on the host, unless it is there. Safe to race.

    :param replace: even if it is there: it does not start, so something is wrong with its files.
    :raises TargetRefusedError: there is no Python, too old a one, no space, or a root that cannot be written.
    :raises TargetUnreachableError: the connection broke.
    """
    text = Path(__file__).with_name("bootstrap.py").read_bytes()
    arguments = (root, archive.version, "replace" if replace else "keep")
    process = transport.open([interpreter, *PYTHON_OPTIONS, "-c", _READ_AND_RUN, str(len(text)), *arguments])
    try:
        with contextlib.suppress(BrokenPipeError):  # it ended early; what it printed says why
            process.write(text + struct.pack(">Q", len(archive.data)) + archive.data, PATIENCE_S)
        output = _read_to_end(process)
        if _ANSWER not in output:
            code = process.wait(PATIENCE_S)
            if code is None and not output.strip():
                raise TargetUnreachableError(
                    f"The connection to {transport.name} ended while the supervisor was installed"
                )
            raise _no_python(transport, interpreter, code, output + process.diagnosis())
    except TimeoutError:
        raise TargetUnreachableError(f"{transport.name} did not answer while the supervisor was installed") from None
    except OSError as error:
        raise TargetUnreachableError(f"The connection to {transport.name} broke", why=str(error)) from None
    finally:
        process.close()
    _judge(_parse(output), transport, interpreter, root)


def _read_to_end(process: Process) -> bytes:
    output = b""
    while chunk := process.read(64 * 1024, PATIENCE_S):
        output = (output + chunk)[-_MAX_ANSWER_BYTES:]
    return b"\n" + output


def _parse(output: bytes) -> dict[str, Any]:
    line = output.rsplit(_ANSWER, 1)[1].split(b"\n", 1)[0]
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {"error": f"it answered {line[:200]!r}"}


def _judge(answer: dict[str, Any], transport: Transport, interpreter: str, root: str) -> None:
    if "error" not in answer:
        raise _too_old(transport, interpreter, str(answer.get("python"))[:100])
    if answer["error"] is not None:
        raise TargetRefusedError(
            f"The supervisor cannot be installed under {root} on {transport.name}",
            why=str(answer["error"])[:_QUOTED_CHARACTERS],
            advice="Free some space there."
            if answer.get("errno") in ("ENOSPC", "EDQUOT")
            else "Name a root that this user can write to.",
        )


def _no_python(transport: Transport, interpreter: str, code: int | None, output: bytes) -> TargetRefusedError:
    """Say why the bootstrap did not even begin; a Python without ``-I`` (2.x) is asked for its version alone."""
    process = transport.open([interpreter, "-c", _VERSION])
    try:
        answer = _read_to_end(process)
    except OSError:
        answer = b""
    finally:
        process.close()
    if _VERSION_ANSWER in answer:
        version = answer.rsplit(_VERSION_ANSWER, 1)[1].split(b"\n", 1)[0].decode("ascii", "replace")[:100]
        if tuple(int(part) for part in version.split(".") if part.isdigit()) < (3, 8):
            return _too_old(transport, interpreter, version)
    text = output.decode("utf-8", "replace").strip()[-_QUOTED_CHARACTERS:]
    return TargetRefusedError(
        f"{interpreter} on {transport.name} is no working Python"
        + ("" if code is None else f" (it ended with {code})"),
        why=f"It said: {text}" if text else None,
        advice=f"Name a Python {MINIMUM_PYTHON} or later as the interpreter of this target."
        + ("" if code in _SHELL_FOUND_NONE else f" {SHELL_ADVICE}"),
    )


def _too_old(transport: Transport, interpreter: str, version: str) -> TargetRefusedError:
    return TargetRefusedError(
        f"{interpreter} on {transport.name} is Python {version}, and {MINIMUM_PYTHON} or later is needed",
        advice="Name another Python as the interpreter of this target.",
    )
