"""What is known of the images that workers have made in a container engine for runs of this root: who makes one, when
one was used last, and which may go. The images themselves are the engine's; nobody but a worker talks to that.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from . import flock
from .layout import check_sha256, make_folder
from .protocol.atomic import write_atomic
from .protocol.canonical import canonical_json
from .refusal import BAD_REQUEST, Refusal, number

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set

    from .layout import Layout
    from .serve import Channel

#: A worker that has just asked for an image is about to make a container of it.
JUST_USED_S = 600.0

#: The claims of this session: key -> descriptor of its lock, which the kernel lets go of when the session dies.
_held: Dict[str, int] = {}


def use(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``use_image`` request: the image is wanted now.

    ``{"op": "use_image", "key"}``, answered by ``{"resolved_at", "retry_at"}``, as :func:`release` was told: when its
    packages were last resolved, and before when they need not be again; seconds since the epoch, or null.
    """
    path = channel.layout.image(request.get("key"))  # type: ignore[arg-type]  # checked there
    note = _read(path)
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)
    times = {name: note.get(name) for name in ("resolved_at", "retry_at")}
    channel.writer.json({name: at if isinstance(at, (int, float)) else None for name, at in times.items()})


def claim(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``claim_image`` request: whether this session may make the image, until it says so or ends.

    ``{"op": "claim_image", "key"}``, answered by ``{"ours": false}`` while another session makes it.
    """
    key = check_sha256(request.get("key"))
    make_folder(channel.layout.images)
    if key not in _held:
        descriptor = flock.take(channel.layout.image(key) + ".flock")
        if descriptor is not None:
            _held[key] = descriptor
    channel.writer.json({"ours": key in _held})


def release(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``release_image`` request: the claim is over; what was made is noted.

    ``{"op": "release_image", "key", "bytes", "resolved_at", "retry_at"}``, answered by ``{}``. Without ``bytes``
    nothing was made, and what was noted before stays.
    """
    key = check_sha256(request.get("key"))
    try:
        if request.get("bytes") is not None:
            make_folder(channel.layout.images)
            note = {name: number(request, name) for name in ("bytes", "resolved_at", "retry_at")}
            write_atomic(channel.layout.image(key), canonical_json(note))
    finally:
        descriptor = _held.pop(key, None)
        if descriptor is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(channel.layout.image(key) + ".flock")
            os.close(descriptor)
    channel.writer.json({})


def spare(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``spare_images`` request: which images may go, and forget those that are gone.

    ``{"op": "spare_images", "there": [key, ...], "budget_bytes", "budget_age_s"}``, answered by ``{"keys"}``: those not
    used for ``budget_age_s`` seconds, then the least recently used until the others take at most ``budget_bytes``;
    ``null`` is no limit. Never one that is being made, or was wanted within the last ten minutes.
    """
    there = request.get("there")
    if not isinstance(there, list):
        raise Refusal(BAD_REQUEST, "there must be a list of images, not %.100r" % (there,))
    keys = {check_sha256(key) for key in there}
    layout = channel.layout
    _forget_others(layout, keys)
    channel.writer.json(
        {"keys": _spared(layout, keys, number(request, "budget_bytes"), number(request, "budget_age_s"))}
    )


def _forget_others(layout: Layout, keys: Set[str]) -> None:
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(layout.images):
            if name.endswith(".flock") or name in keys:
                continue
            path = os.path.join(layout.images, name)
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(path).st_mtime > JUST_USED_S:
                    os.unlink(path)


def _spared(layout: Layout, keys: Set[str], budget_bytes: Optional[float], age_s: Optional[float]) -> List[str]:
    from .environment.budget import Shelved, to_remove

    shelf = []
    for key in keys:
        with contextlib.suppress(FileNotFoundError):  # just made, and not noted yet; or another root's
            size = _read(layout.image(key)).get("bytes")
            used_at = os.stat(layout.image(key)).st_mtime
            shelf.append(Shelved(key, used_at, int(size) if isinstance(size, (int, float)) else 0))
    chosen = to_remove(shelf, None if budget_bytes is None else int(budget_bytes), age_s, time.time())
    return [one.key for one in chosen if not flock.is_held(layout.image(one.key) + ".flock")]


def _read(path: str) -> Dict[str, Any]:
    try:
        with open(path, "rb") as file:
            note = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
