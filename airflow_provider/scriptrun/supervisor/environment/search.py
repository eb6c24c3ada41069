"""Which of a target's interpreters satisfies a wish: our own, or one that is found. None is ever downloaded."""

import os
import re
from typing import List, Optional

from ..hello import which
from ..layout import Layout, make_folder
from ..protocol.atomic import write_atomic
from .errors import EnvironmentFailed
from .python import Interpreter, base_executable, own_base, probe
from .version import satisfies


def find(layout: Layout, wish: str, uv: Optional[str]) -> Interpreter:
    """Return an interpreter whose version satisfies ``wish`` (``==3.10.*``, ``>=3.9,<3.12``): our own, or one found.

    Found ones are kept, so that looking costs a process once. None is ever downloaded. Raises ``EnvironmentFailed``
    that says which there are.
    """
    own = own_base()
    if satisfies(own.version, wish):
        return own
    kept = layout.interpreter_facts("wish " + wish)
    try:
        with open(kept, encoding="utf-8") as stream:
            known = probe(layout, stream.read())
        if satisfies(known.version, wish):
            return known
    except (OSError, EnvironmentFailed):
        pass
    seen = {own.version: own.executable}
    for candidate in _candidates(wish, uv):
        facts = _probe_or_none(layout, candidate)
        if facts is None:
            continue  # a shim that leads nowhere is no candidate
        base = base_executable(facts.executable)
        if satisfies(facts.version, wish):
            make_folder(layout.locks)
            write_atomic(kept, base)
            return probe(layout, base)
        seen.setdefault(facts.version, base)
    raise EnvironmentFailed(
        "The environment asks for Python %s, and the target has only %s."
        % (wish, ", ".join("%s (%s)" % pair for pair in sorted(seen.items()))),
        "Install that Python on the target so that it is on PATH, or ask for one that is there.",
    )


def _probe_or_none(layout: Layout, executable: str) -> Optional[Interpreter]:
    try:
        return probe(layout, executable)
    except EnvironmentFailed:
        return None


def _candidates(wish: str, uv: Optional[str]) -> List[str]:
    """Return interpreters worth a look: those on PATH by their versioned names, then what uv knows of."""
    found = []
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        found += [os.path.join(os.path.abspath(folder or "."), n) for n in names if re.match(r"python3\.\d+$", n)]
    likely = [path for path in found if _may_satisfy(path, wish)]
    others = [path for path in found if path not in likely]
    known = []
    uv = uv or which("uv")
    if uv:
        import subprocess

        answer = subprocess.run(
            [uv, "python", "find", "--no-project", "--no-config", wish],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, UV_PYTHON_DOWNLOADS="never"),
            cwd="/",
            check=False,
        )
        known = [line for line in answer.stdout.decode("utf-8", "replace").splitlines() if line.startswith("/")]
    return likely + known + others


def _may_satisfy(path: str, wish: str) -> bool:
    minor = int(path.rpartition(".")[2])
    return any(satisfies("3.%d.%d" % (minor, micro), wish) for micro in range(40))
