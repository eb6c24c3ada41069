"""Programs that a worker lends to this target, which has none of its own: kept under ``tools/``, sent once.

A start offers them. It is answered with those that are to be sent first: only what this platform runs, what the
environment to be built would use, and what is not here.
"""

from __future__ import annotations

import os

from . import flock, hello, refusal, turn
from .layout import TOOLS, check_sha256, make_folder
from .protocol.atomic import AtomicFile, write_atomic
from .protocol.program import FIELDS, agrees
from .refusal import Refusal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional

    from .layout import Layout, ToolLayout
    from .serve import Channel

#: uv is 40 MB; what is much larger is something else.
MAX_BYTES = 512 * 1024 * 1024
_EXECUTABLE = 0o700


class Offer:
    """A program that the worker has. Raises ``Refusal`` when its description is wrong."""

    def __init__(self, name: object, document: Mapping[str, Any]) -> None:
        if name not in TOOLS:
            raise Refusal(refusal.BAD_REQUEST, "%.100r is no program to be lent; there are %s" % (name, TOOLS))
        self.name = str(name)
        self.sha256 = check_sha256(document.get("sha256"))
        size = document.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= MAX_BYTES:
            raise Refusal(refusal.BAD_REQUEST, "%s cannot have %.100r bytes" % (name, size))
        self.size = size
        platform = document.get("platform")
        platform = platform if isinstance(platform, dict) else {}
        self.platform = {field: platform[field] for field in FIELDS if isinstance(platform.get(field), str)}


def wanted(layout: Layout, environment: Mapping[str, Any], offers: Mapping[str, Offer]) -> List[str]:
    """Return the names of those programs that must be sent before this environment is built."""
    return [
        name
        for name, offer in offers.items()
        if _is_of_use(environment, offer) and not _is_here(layout, offer) and not _is_made(layout, environment)
    ]


def borrowed(layout: Layout, environment: Mapping[str, Any], offers: Mapping[str, Offer]) -> Dict[str, str]:
    """Return name -> path of those offered programs that are here and of use; they count as used now."""
    found = {}
    for name, offer in offers.items():
        if _is_of_use(environment, offer) and _is_here(layout, offer):
            tool = layout.tool(offer.sha256, name)
            found[name] = tool.program
            _mark(tool)
    return found


def _is_of_use(environment: Mapping[str, Any], offer: Offer) -> bool:
    """Whether it would build this environment here: it runs, and there is none of this host's own."""
    return (
        environment.get("kind") == "pip"
        and hello.which(offer.name) is None
        and agrees(offer.platform, hello.platform())
    )


def _is_here(layout: Layout, offer: Offer) -> bool:
    try:
        return os.stat(layout.tool(offer.sha256, offer.name).program).st_size == offer.size
    except FileNotFoundError:
        return False


def _is_made(layout: Layout, environment: Mapping[str, Any]) -> bool:
    """Whether nothing has to be built. Imports what a start needs in this rare case alone."""
    from .environment import is_made

    return is_made(layout, environment)


def _mark(tool: ToolLayout) -> None:
    lock = flock.take_existing(tool.in_use, shared=True)
    if lock is not None:
        os.utime(tool.in_use)
        os.close(lock)


def receive(request: Dict[str, Any], channel: Channel) -> None:
    """Answer the ``lend`` request: keep a program.

    ``{"op": "lend", "name", "sha256", "size", "sender"}``; answered by ``{"wanted": false}`` when another sender has
    sent it meanwhile, after any number of ``{"waiting": true}``, else by ``{"wanted": true}``. Then its bytes as data,
    the end frame; answered by ``{"kept": true}``. What is refused, and a full disk, ends the session; nothing is kept
    then.
    """
    offer = Offer(request.get("name"), request)
    path = channel.layout.turn(offer.sha256)
    turn.leave_all()
    turn.take(path, request.get("sender"), lambda: _say(channel, {"waiting": True}))
    try:
        is_wanted = not _is_here(channel.layout, offer)
        _say(channel, {"wanted": is_wanted})
        if is_wanted:
            _keep(offer, channel, path)
            channel.writer.json({"kept": True})
    finally:
        turn.leave(path)


def _say(channel: Channel, document: Dict[str, Any]) -> None:
    channel.writer.json(document)
    channel.writer.flush()


def _keep(offer: Offer, channel: Channel, path: str) -> None:
    import hashlib

    tool = channel.layout.tool(offer.sha256, offer.name)
    make_folder(tool.folder)
    lock = hold(tool)
    try:
        size, digest = 0, hashlib.sha256()
        with AtomicFile(tool.program, _EXECUTABLE, durable=True) as file:
            for chunk in channel.reader.data():
                turn.go_on(path)
                size += len(chunk)
                if size <= offer.size:
                    digest.update(chunk)
                    file.write(chunk)
            if size != offer.size or digest.hexdigest() != offer.sha256:
                raise Refusal(
                    refusal.DAMAGED,
                    "%s arrived with other content: %d bytes with the sha256 %s, not %d with %s"
                    % (offer.name, size, digest.hexdigest(), offer.size, offer.sha256),
                    "Was it replaced on the worker meanwhile? Try again.",
                )
    finally:
        if lock is not None:
            os.close(lock)


def hold(tool: ToolLayout) -> Optional[int]:
    """Keep a program from being removed until the descriptor that is returned is closed; mark it as used now."""
    if not os.path.exists(tool.in_use):
        write_atomic(tool.in_use, b"")
    lock = flock.take_existing(tool.in_use, shared=True)
    if lock is not None:
        os.utime(tool.in_use)
    return lock
