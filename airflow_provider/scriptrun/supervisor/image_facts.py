"""What the interpreters in an image say of themselves: asked by the first run in it, and given to all that follow.

In a run's container nothing but the run's own folder can be written to, and so what the first one has learned stays
there, until the next one is about to start: then it is taken from there, kept beside the note of the image, and put
into that one's folder. Whether it is still true is seen by the file of the interpreter, as on a host.
"""

from __future__ import annotations

import json
import os

from . import contain
from .layout import make_folder
from .protocol.atomic import write_atomic
from .protocol.canonical import canonical_json

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from .layout import Layout

_PREFIX = "interpreter-"
#: An interpreter says a few hundred bytes; an image has a few of them.
MAX_BYTES, MAX_INTERPRETERS = 64 * 1024, 10
_RUN, _FACTS = "run", "interpreters"


def give(layout: Layout, key: str, run_id: str) -> None:
    """Give a run that is about to start what is known of the interpreters in its image.

    :param key: of the image.
    """
    note = layout.image(key) + ".facts"
    known = _read(note)
    facts = known.get(_FACTS)
    if not isinstance(facts, dict):
        facts = _learned(layout, known.get(_RUN))
        make_folder(layout.images)
        write_atomic(note, canonical_json({_FACTS: facts} if facts else {_RUN: run_id}))
    folder = contain.contained(layout.root, layout.run(run_id).id).locks
    for name, document in (facts or {}).items():
        if _is_name(name):
            make_folder(folder)
            write_atomic(os.path.join(folder, name), canonical_json(document))


def _learned(layout: Layout, run_id: object) -> Optional[Dict[str, Any]]:
    """Return what a run has learned in its container; ``None``: nothing yet, or it is gone."""
    if not isinstance(run_id, str):
        return None
    folder = contain.contained(layout.root, layout.run(run_id).id).locks
    try:
        names = [name for name in os.listdir(folder) if _is_name(name)]
    except OSError:
        return None
    return {name: _read(os.path.join(folder, name)) for name in sorted(names)[:MAX_INTERPRETERS]} or None


def _is_name(name: str) -> bool:
    digest = name[len(_PREFIX) :]
    return name.startswith(_PREFIX) and len(digest) == 64 and not digest.strip("0123456789abcdef")


def _read(path: str) -> Dict[str, Any]:
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
