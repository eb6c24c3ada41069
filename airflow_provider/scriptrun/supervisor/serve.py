"""A session: request frames on standard input, answers on standard output, until the input ends.

``python -I -S -E <folder> serve --root <root>``. Handlers are imported when a request needs them, so that the first
answer comes in milliseconds. Standard error is free text for diagnosis.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time

from . import diagnosis, refusal
from .layout import Layout
from .protocol import frames
from .refusal import Refusal

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, NoReturn, Optional

    from .lookout import Lookout

    Handler = Callable[[Dict[str, Any], "Channel"], None]

USAGE = "usage: serve --root FOLDER"
INPUT, OUTPUT, DIAGNOSIS = 0, 1, 2
#: A session may last for weeks, and imports what a request needs when it comes.
MARK_PAUSE_S = 3600.0
OUTPUT_BUFFER_BYTES = 2 * frames.CHUNK_BYTES

#: op -> (module of this package, function). The function is called as ``function(request, channel)``.
OPERATIONS = {
    "hello": ("hello", "hello"),
    "check": ("check", "check"),
    "start": ("start", "start"),
    "offer": ("store.receive", "offer"),
    "send": ("store.receive", "send"),
    "lend": ("lent", "receive"),
    "poll": ("poll", "poll"),
    "cancel": ("cancel", "cancel"),
    "status": ("state", "status"),
    "leave_run": ("promise", "leave"),
    "conclude": ("conclude", "conclude"),
    "give_facts": ("image_facts", "give"),
    "use_image": ("images", "use"),
    "claim_image": ("images", "claim"),
    "release_image": ("images", "release"),
    "spare_images": ("images", "spare"),
    "list": ("fetch", "list_files"),
    "fetch": ("fetch", "fetch"),
    "clean": ("housekeeping.clean", "clean"),
}
#: No request, and not answered: that it comes makes way for the request that will follow it (a poll that waits ends).
WAKE = "wake"
#: Their input goes on after the request itself, so an error leaves the stream in the middle: it ends the session.
WITH_DATA = frozenset(("offer", "send", "lend"))

_CODES = {
    errno.ENOSPC: refusal.NO_SPACE,
    errno.EDQUOT: refusal.NO_SPACE,
    errno.EROFS: refusal.READ_ONLY,
    errno.EACCES: refusal.READ_ONLY,
    errno.EPERM: refusal.READ_ONLY,
}
_ADVICE = {
    refusal.NO_SPACE: "Free some space there, or name another root in the connection.",
    refusal.READ_ONLY: "Name a root in the connection that this user can write to.",
}
#: The root is a volume of an engine, and the path is what it is called in its containers.
_VOLUME_ADVICE = (
    "Free some space on the disk of the engine's machine that holds its volumes: docker system df says what takes it."
)


class Input:
    """Standard input with a buffer that can be asked whether something waits, which ``io`` cannot say."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._buffer = b""
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end of the stream."""
        end = self._position + size
        if end <= len(self._buffer):
            chunk = self._buffer[self._position : end]
            self._position = end
            return chunk
        parts = [self._buffer[self._position :]]
        missing = size - len(parts[0])
        self._buffer, self._position = b"", 0
        while missing > 0:
            block = os.read(self.descriptor, max(missing, frames.CHUNK_BYTES))
            if not block:
                break
            if len(block) > missing:
                self._buffer, self._position = block, missing
                block = block[:missing]
            parts.append(block)
            missing -= len(block)
        return b"".join(parts)

    def holds_bytes(self) -> bool:
        """Whether something was read from the stream and not asked for yet."""
        return self._position < len(self._buffer)


class Channel:
    """One session with the other side: where requests come from, where answers go, and which root they are about."""

    def __init__(self, stream: Input, writer: frames.FrameWriter, layout: Layout) -> None:
        self.input = stream
        self.reader = frames.FrameReader(stream)  # type: ignore[arg-type]  # read() is all that it uses
        self.writer = writer
        self.layout = layout
        self.lookout: Optional[Lookout] = None  #: made by the first poll, kept for the session
        self.next_mark = 0.0  #: when this version is to be marked as in use again, by the monotonic clock


def main(argv: Optional[List[str]] = None) -> NoReturn:
    """Serve one session and leave the process: 0 at the end of the input, 2 for a wrong command line."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["contain"]:
        from . import contain

        contain.main(arguments[1:])
    if len(arguments) != 3 or arguments[:2] != ["serve", "--root"]:
        sys.stderr.write(USAGE + "\n")
        sys.exit(2)
    code = _session(os.path.expanduser(arguments[2]))
    sys.stderr.flush()
    os._exit(code)  # nothing to tidy up, and a closed output must not be flushed once more


def _session(root: str) -> int:
    # A stray print must not stand between two frames: what goes to descriptor 1 comes out as diagnosis.
    stream = os.fdopen(os.dup(OUTPUT), "wb", OUTPUT_BUFFER_BYTES)
    os.dup2(DIAGNOSIS, OUTPUT)
    channel = Channel(Input(os.dup(INPUT)), frames.FrameWriter(stream), Layout(root))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, INPUT)  # what a request starts must not read the requests that follow
    os.close(null)
    try:
        stream.write(frames.MARKER)
        stream.flush()
        while True:
            request = channel.reader.json()
            if request is None:
                return 0
            goes_on = answer(request, channel)
            stream.flush()
            if not goes_on:
                return 1
    except BrokenPipeError:
        return 0  # the other side has gone; its runs do not depend on it
    except frames.FrameError as error:
        sys.stderr.write("the session ended: %s\n" % error)
        return 1


def answer(request: Dict[str, Any], channel: Channel) -> bool:
    """Answer one request; return whether the session can go on. Only a lost connection raises."""
    operation = request.get("op")
    if operation == WAKE:
        return True
    goes_on = not isinstance(operation, str) or operation not in WITH_DATA
    try:
        function = handler(operation)
        if time.monotonic() >= channel.next_mark:
            channel.layout.make_root()
            _mark_used()
            channel.next_mark = time.monotonic() + MARK_PAUSE_S
        _check_host(request.get("host"), channel.layout)
        function(request, channel)
    except (BrokenPipeError, frames.FrameError):
        raise
    except Exception as error:  # noqa: BLE001  # becomes the answer: a session outlives what one request ran into
        channel.writer.json({"error": as_refusal(error, channel.layout).document()})
        return goes_on
    return True


def _check_host(expected: object, layout: Layout) -> None:
    """Refuse what is meant for another machine: nobody needs to ask who is there before he asks for something."""
    if expected is None:
        return
    from . import host

    found = host.machine_id(layout)
    if found != expected:
        raise Refusal(
            refusal.OTHER_HOST,
            "This is %s with the machine id %s, and %.100s was expected." % (host.name(), found, expected),
        )


def _mark_used() -> None:
    """Say that this version is in use: the cleaner removes those that nobody has started for days."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.basename(os.path.dirname(folder)) == "supervisor":  # else this is a checkout
        with contextlib.suppress(OSError):
            os.utime(folder)


def handler(operation: object) -> Handler:
    """Import and return the handler of an operation."""
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise Refusal(
            refusal.BAD_REQUEST,
            "There is no operation %.100r; this supervisor knows %s." % (operation, ", ".join(OPERATIONS)),
            "Is the target's supervisor of another version? Its folder is safe to delete.",
        )
    module, function = OPERATIONS[operation]
    name = "%s.%s" % (__package__, module)
    __import__(name)
    found: Handler = getattr(sys.modules[name], function)
    return found


def as_refusal(error: Exception, layout: Layout) -> Refusal:
    """Return what to tell the other side about ``error``, which is being handled; a fault of ours is traced too."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, OSError) and error.errno in _CODES:
        code = _CODES[error.errno]
        path = error.filename if isinstance(error.filename, str) else layout.root
        is_volume = code == refusal.NO_SPACE and os.path.exists(layout.engine)
        advice = _VOLUME_ADVICE if is_volume else _ADVICE[code]
        return Refusal(code, "%s: %s" % (path, os.strerror(error.errno)), advice)
    diagnosis.print_exception()
    return Refusal(refusal.INTERNAL, "%s: %s" % (type(error).__name__, error))
