"""What the interpreter of the keeper's image says of itself, for runs in containers of the same image: none asks again.

A run's container cannot write where another one would look; and what a run's own folder holds once its script has
begun is the script's word. The keeper runs no scripts. Whether the two containers have the same interpreter is seen by
the marks of its file, as on a host: where they differ, the run asks for itself.
"""

from __future__ import annotations

import contextlib
import sys

from . import contain
from .environment.python import probe
from .layout import make_folder
from .protocol.atomic import write_atomic

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict

    from .serve import Channel


def give(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``give_facts`` request: a run that is about to begin in a container of this image is told.

    ``{"op": "give_facts", "run"}``, answered by ``{}``.
    """
    layout = channel.layout
    inside = contain.contained(layout.root, layout.run(request.get("run")).id)  # type: ignore[arg-type]  # checked there
    probe(layout, sys.executable)
    with contextlib.suppress(FileNotFoundError), open(layout.interpreter_facts(sys.executable), "rb") as file:
        make_folder(inside.locks)  # of a script in front of a Python nothing is kept
        write_atomic(inside.interpreter_facts(sys.executable), file.read())
    channel.writer.json({})
