"""The one way a request is refused: a code for the program, a message for the person."""

from __future__ import annotations

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

BAD_REQUEST = "bad_request"  #: the request is not one of the protocol's, or names what no path may be made of
NO_SUCH_RUN = "no_such_run"  #: this root knows no run of this id
NO_SPACE = "no_space"  #: the file system is full, or a quota is
READ_ONLY = "read_only"  #: the root cannot be written: a read-only file system, or its permissions
NOT_HERE = "not_here"  #: the run belongs to another machine that shares this root; nothing can be said about it
OTHER_HOST = "other_host"  #: the request names another machine than this one; nothing was done
DAMAGED = "damaged"  #: what arrived, or what is kept, is not what its hash says
INTERNAL = "internal"  #: a fault of the supervisor; its stderr has the traceback


class Refusal(Exception):  # noqa: N818  # it is an answer as much as an error
    """A request cannot be answered. ``message`` says what, where and why; ``advice`` what to do next."""

    def __init__(self, code: str, message: str, advice: Optional[str] = None) -> None:
        super().__init__(message)
        self.code, self.message, self.advice = code, message, advice

    def document(self) -> Dict[str, Any]:
        """Return the ``error`` object of the protocol."""
        return {"code": self.code, "message": self.message, "advice": self.advice}


def number(document: Dict[str, Any], name: str) -> Optional[float]:
    """Return a number from 0 of a request, or ``None`` where it says null or nothing. Raises :class:`Refusal`."""
    value = document.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
        raise Refusal(BAD_REQUEST, "%s must be null or a number from 0, not %.100r" % (name, value))
    return value
