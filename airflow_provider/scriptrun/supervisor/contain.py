"""The first process of a run's container: it takes the start request on standard input, and is the guard of the run.

``python -I -S -E <folder> contain --root <root>``. The root is another container's to write; here only the run's own
folder and its lineage's checkpoints can be written to. What a run needs beside them is in the image.

One line on standard output answers: ``0`` (the run has a supervisor, which nobody's death ends any more), another
number (``errno`` of what kept it from taking over), ``canceled``, ``begun`` (it has run before: nothing happens here),
or ``failed`` with a sentence behind it.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from . import control, crash, flock, guard, journal, script, state
from .ask import StartRequest
from .layout import Layout
from .protocol import frames

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import List, NoReturn, Optional

    from .layout import RunLayout

USAGE = "usage: contain --root FOLDER"
INPUT, OUTPUT = 0, 1
CANCELED, BEGUN, FAILED = "canceled", "begun", "failed"
#: Where an image holds what was installed in it.
IMAGE_ROOT = "/opt/scriptrun"
#: Whoever starts the container hands over the request at once; the engine may have died in between, and says nothing.
REQUEST_S = 60
#: The container that had the run before may still be about to end.
BUSY_S, BUSY_PAUSE_S = 10.0, 0.02


def main(arguments: List[str]) -> NoReturn:
    """Take the run and see it through; leave with 0, or with another code when no request came."""
    if len(arguments) != 2 or arguments[0] != "--root":
        sys.stderr.write(USAGE + "\n")
        sys.exit(2)
    answer = os.dup(OUTPUT)
    try:
        ask = _request()
        layout = contained(arguments[1], ask.run_id)
        if not ask.command:
            _furnish(layout, ask)
        alive = _take(layout.run(ask.run_id))
        refusal = _refusal(layout, layout.run(ask.run_id), alive)
    except Exception as error:  # noqa: BLE001  # whoever started us is told, and the container ends
        _say(answer, "%s %s: %s" % (FAILED, type(error).__name__, error))
        script.end(guard.FAULT_EXIT_CODE)
    if refusal is not None or alive is None:
        _say(answer, refusal or "")
        script.end(0)
    crash.point("contain.alive")
    guard.contain(layout, ask, alive, answer, lambda: _leave(layout.run(ask.run_id)))
    script.end(0)


def _request() -> StartRequest:
    signal.signal(signal.SIGALRM, lambda *_: script.end(guard.FAULT_EXIT_CODE))
    signal.alarm(REQUEST_S)
    with os.fdopen(os.dup(INPUT), "rb") as stream:
        document = frames.FrameReader(stream).json()
    signal.alarm(0)
    if document is None:
        raise ValueError("whoever started the container sent no request")
    return StartRequest(document)


def contained(root: str, run_id: str) -> Layout:
    """Return the layout as a run's container has it: environments are the image's, and notes of them the run's own."""
    layout = Layout(root)
    layout.environments = os.path.join(IMAGE_ROOT, "environments")
    layout.locks = os.path.join(layout.run(run_id).folder, "locks")
    return layout


def _furnish(layout: Layout, ask: StartRequest) -> None:
    """Make ready for building into the image: for whoever runs scripts there, and without what only the build needs."""
    from . import hello
    from .protocol.program import agrees

    os.umask(0o022)
    os.makedirs(layout.environments, mode=0o755, exist_ok=True)
    for name, offer in ask.offers.items():
        program = layout.tool(offer.sha256, name).program
        if os.path.exists(program) and agrees(offer.platform, hello.platform()):
            ask.tools[name] = program
    layout.tools = os.devnull  # programs lent are the other container's to count
    os.environ.update(ask.variables)
    cache = layout.run(ask.run_id).cache
    os.environ.update(UV_CACHE_DIR=cache, PIP_CACHE_DIR=cache, CONDA_PKGS_DIRS=os.path.join(cache, "conda"))
    os.environ.update(UV_LINK_MODE="copy", PYTHONDONTWRITEBYTECODE="1")


def _take(run: RunLayout) -> Optional[int]:
    deadline = time.monotonic() + BUSY_S
    while True:
        alive = flock.take(run.alive)
        if alive is not None or time.monotonic() > deadline:
            return alive
        time.sleep(BUSY_PAUSE_S)


def _refusal(layout: Layout, run: RunLayout, alive: Optional[int]) -> Optional[str]:
    """Why the run must not be started here, if so. Whoever cancels it from now on finds it alive."""
    if alive is None or journal.read(run) is not None or os.path.lexists(run.begun):
        return BEGUN
    return CANCELED if state.read_tombstone(layout, run.id) is not None else None


def _leave(run: RunLayout) -> None:
    """End the run with its container: whether a person, the engine or its machine stops it, no signal says."""
    control.tell(run.control, {"op": control.STOP})


def _say(descriptor: int, line: str) -> None:
    os.write(descriptor, line.replace("\n", " ").encode("utf-8", "backslashreplace")[:4000] + b"\n")
