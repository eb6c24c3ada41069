"""The interpreters of a target: what one is, asked once and kept."""

import json
import os
import sys
from typing import Any, Dict, List, NamedTuple, Optional

from ..layout import Layout, make_folder
from ..protocol.atomic import write_atomic
from ..protocol.canonical import canonical_json
from .errors import EnvironmentFailed
from .version import satisfies

#: An interpreter that has not answered after this hangs: a shim on a dead network drive, for instance.
PROBE_TIMEOUT_S = 60.0
#: Of what a program says that is no Python, so many characters are quoted.
LONGEST_COMPLAINT = 300
#: Printed as the last line: what ``.pth`` files print comes before it.
_PROBE = """
import json, os, sys
print()
print(json.dumps({
    "executable": sys.executable,
    "version": sys.version.split()[0].rstrip("+"),
    "implementation": sys.implementation.name,
    "bits": 64 if sys.maxsize > 2 ** 32 else 32,
    "prefix": sys.prefix,
    "path": [p for p in sys.path if p and os.path.isdir(p)],
}))
"""


class Interpreter(NamedTuple):
    """A Python on the target."""

    executable: str  #: absolute path
    version: str  #: for instance ``3.11.7`` or ``3.14.0rc1``
    implementation: str  #: ``cpython``, ``pypy``
    bits: int  #: 64 or 32
    prefix: str
    path: List[str]  #: the folders from which it imports; empty where nobody asked

    def identity(self) -> Dict[str, Any]:
        """Return what makes a compiled package fit it: version, implementation, system, machine, C library."""
        return {
            "python": self.version,
            "implementation": self.implementation,
            "bits": self.bits,
            "platform": platform_facts(),
        }


def platform_facts() -> Dict[str, str]:
    """Return system, machine and C library with its version (empty where it does not say, as musl)."""
    name = os.uname()
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        libc = ""
    return {"system": name.sysname, "machine": name.machine, "libc": libc}


def own_base() -> Interpreter:
    """Return the interpreter that runs this code, without the virtual environment that it may stand in."""
    return Interpreter(
        executable=base_executable(sys.executable),
        version=sys.version.split()[0].rstrip("+"),
        implementation=sys.implementation.name,
        bits=64 if sys.maxsize > 2**32 else 32,
        prefix=sys.base_prefix,
        path=[],
    )


def base_executable(executable: str) -> str:
    """Return the real path of the interpreter behind ``executable``.

    PEP 405: ``pyvenv.cfg`` beside an executable, or one folder up, marks a virtual environment and holds ``home``.
    Before Python 3.11 ``sys._base_executable`` does not know this under ``-S``.
    """
    real = os.path.realpath(executable)
    folder = os.path.dirname(os.path.abspath(executable))
    for place in (folder, os.path.dirname(folder)):
        home = _home(os.path.join(place, "pyvenv.cfg"))
        if home is None:
            continue
        if not real.startswith(os.path.join(os.path.realpath(place), "")):
            return real  # the usual case: a link out of the environment
        for name in (os.path.basename(real), "python3", "python"):
            candidate = os.path.join(home, name)
            if os.path.exists(candidate):
                return base_executable(candidate)
    return real


def _home(configuration: str) -> Optional[str]:
    try:
        with open(configuration, encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                name, _, value = line.partition("=")
                if name.strip().lower() == "home":
                    return value.strip()
    except OSError:
        pass
    return None


def probe(layout: Layout, executable: str) -> Interpreter:
    """Return what the interpreter at the absolute path ``executable`` says of itself; a process only the first time.

    Kept for as long as the file behind it and its ``pyvenv.cfg`` stay the same. Raises ``EnvironmentFailed``.
    """
    kept = layout.interpreter_facts(executable)
    signature = _signature(executable)
    if signature is not None:
        try:
            with open(kept, "rb") as stream:
                known = json.loads(stream.read())
            if known["signature"] == signature:
                return Interpreter(**known["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
    facts = _ask(executable)
    if signature is not None:
        make_folder(layout.locks)
        write_atomic(kept, canonical_json({"signature": signature, "facts": facts._asdict()}))
    return facts


def _signature(executable: str) -> Optional[List[Any]]:
    """Return what changes when the interpreter does; ``None`` for a script in front of it (a shim decides anew)."""
    try:
        real = os.path.realpath(executable)
        with open(real, "rb") as stream:
            if stream.read(2) == b"#!":
                return None
        facts = os.stat(real)
    except OSError:
        return None
    marks = [real, facts.st_ino, facts.st_size, facts.st_mtime_ns]
    folder = os.path.dirname(os.path.abspath(executable))
    configurations = [os.path.join(place, "pyvenv.cfg") for place in (folder, os.path.dirname(folder))]
    return marks + [os.stat(path).st_mtime_ns for path in configurations if os.path.exists(path)]


def _ask(executable: str) -> Interpreter:
    import subprocess  # a dozen milliseconds, and a reuse starts no process

    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AIRFLOW"))}
    try:
        answer = subprocess.run(
            [executable, "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd="/",
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailed(
            "The interpreter %s does not run: %s." % (executable, error),
            "Name another interpreter, or repair this one on the target.",
        ) from error
    text = answer.stdout.decode("utf-8", "replace").strip().rpartition("\n")[2]
    try:
        said = json.loads(text)
        facts = Interpreter(**said)
    except (ValueError, TypeError):
        complaint = _complaint(answer.stderr)
        raise EnvironmentFailed(
            "%s does not behave as a Python 3 interpreter (exit code %d)%s."
            % (executable, answer.returncode, ": " + complaint if complaint else ""),
            "Name a Python 3.8 or later.",
        ) from None
    return facts


def _complaint(stderr: bytes) -> str:
    """Return the last line of what a program had to say, unless it is our own question, which explains nothing."""
    line = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2].rstrip(".")
    return "" if "json.dumps" in line else line[-LONGEST_COMPLAINT:]


def locate(name: str) -> str:
    """Return the absolute path of an interpreter named by a path or by a name on PATH; checked to be a program.

    ``python`` (Azure ML's default) is the target's own where PATH has none, as on Debian. Raises ``EnvironmentFailed``.
    """
    path = os.path.expanduser(name)
    if os.sep in path:
        if not os.path.isabs(path):
            raise EnvironmentFailed(
                "The interpreter %r is a relative path, and a target has no folder that it could be relative to."
                % name,
                "Write an absolute path, or a name that is on the target's PATH.",
            )
        if os.path.isdir(path):
            raise EnvironmentFailed("The interpreter %s is a folder." % path, "Name the program in it: bin/python.")
        if not os.path.exists(path):
            raise EnvironmentFailed(
                "There is no interpreter %s on the target." % path, "Correct the path, or install it there."
            )
        if not os.access(path, os.X_OK):
            raise EnvironmentFailed("The interpreter %s may not be executed." % path, "Give it execute permission.")
        return path
    found = program(name)
    if found is None and name == "python":
        return sys.executable
    if found is None:
        raise EnvironmentFailed(
            "There is no interpreter named %s on the target's PATH (%s)." % (name, os.environ.get("PATH", "")),
            "Name it by its absolute path, or install it there.",
        )
    return found


def program(name: str) -> Optional[str]:
    """Return the absolute path of the program ``name`` on PATH, or ``None``."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        candidate = os.path.join(os.path.abspath(folder or "."), name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None


def check_version(interpreter: Interpreter, wish: Optional[str]) -> None:
    """Raise ``EnvironmentFailed`` unless ``interpreter`` satisfies ``wish`` (``None``: whatever it is)."""
    if wish and not satisfies(interpreter.version, wish):
        raise EnvironmentFailed(
            "%s is Python %s, and the environment asks for %s." % (interpreter.executable, interpreter.version, wish),
            "Name another interpreter, or change the version that is asked for.",
        )
