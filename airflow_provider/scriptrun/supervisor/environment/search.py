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
    at_hand = known(layout, wish)
    if at_hand is not None:
        return at_hand
    own = own_base()
    seen = {own.version: own.executable}
    for candidate in _candidates(wish, uv):
        facts = _probe_or_none(layout, candidate)
        if facts is None:
            continue  # a shim that leads nowhere is no candidate
        base = base_executable(facts.executable)
        if satisfies(facts.version, wish):
            make_folder(layout.locks)
            write_atomic(_kept(layout, wish), base)
            return probe(layout, base)
        seen.setdefault(facts.version, base)
    raise EnvironmentFailed(
        "The environment asks for Python %s, and the target has only %s."
        % (wish, ", ".join("%s (%s)" % pair for pair in sorted(seen.items()))),
        "Install that Python on the target so that it is on PATH, use an image with it, or ask for one that is there.",
    )


def known(layout: Layout, wish: str) -> Optional[Interpreter]:
    """Return our own interpreter or one that was found before, if it satisfies ``wish``; nothing is looked for."""
    own = own_base()
    if satisfies(own.version, wish):
        return own
    try:
        with open(_kept(layout, wish), encoding="utf-8") as stream:
            found = probe(layout, stream.read())
    except (OSError, EnvironmentFailed):
        return None
    return found if satisfies(found.version, wish) else None


def _kept(layout: Layout, wish: str) -> str:
    return layout.interpreter_facts("wish " + wish)


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
    uv = uv or which("uv")
    return likely + (_known_to(uv, wish) if uv else []) + others


def _known_to(uv: str, wish: str) -> List[str]:
    import subprocess

    try:
        answer = subprocess.run(
            [uv, "python", "find", "--no-project", "--no-config", wish],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, UV_PYTHON_DOWNLOADS="never"),
            cwd="/",
            check=False,
        )
    except OSError:  # it does not run here
        return []
    return [line for line in answer.stdout.decode("utf-8", "replace").splitlines() if line.startswith("/")]


def _may_satisfy(path: str, wish: str) -> bool:
    minor = int(path.rpartition(".")[2])
    return any(satisfies("3.%d.%d" % (minor, micro), wish) for micro in range(40))
