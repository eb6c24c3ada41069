"""Where a run speaks to: lines of the script's log, notes about progress, warnings."""

from __future__ import annotations

import sys
from typing import Protocol, TextIO


class Reporter(Protocol):
    """Takes what a person should read, as whole lines without their newline. Called from one thread at a time."""

    def line(self, text: str, /) -> None:
        """Take one line of the script's own log (or of its environment's build)."""

    def note(self, text: str, /) -> None:
        """Take a line about progress: a phase began, a snapshot was taken."""

    def warning(self, text: str, /) -> None:
        """Take a warning: a large source directory, a target that cannot be reached now."""


class Quiet:
    """Says nothing but warnings, and those to standard error."""

    def line(self, text: str) -> None:  # noqa: D102
        pass

    def note(self, text: str) -> None:  # noqa: D102
        pass

    def warning(self, text: str) -> None:  # noqa: D102
        sys.stderr.write(f"Warning: {text}\n")


class Printer:
    """Prints the script's lines as they are, and notes and warnings beside them. For plain Python and notebooks.

    Streams are looked up when used: a notebook puts its own in ``sys``.
    """

    def line(self, text: str) -> None:  # noqa: D102
        _print(sys.stdout, text)

    def note(self, text: str) -> None:  # noqa: D102
        _print(sys.stderr, text)

    def warning(self, text: str) -> None:  # noqa: D102
        _print(sys.stderr, f"Warning: {text}")


def _print(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:  # a terminal of another encoding than UTF-8
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()
