"""Where a run speaks to: lines of the script's log, notes about progress, warnings."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Takes what a person should read, as whole lines without their newline. Called from one thread at a time."""

    def line(self, text: str) -> None:
        """Take one line of the script's own log (or of its environment's build)."""

    def note(self, text: str) -> None:
        """Take a line about progress: a phase began, a snapshot was taken."""

    def warning(self, text: str) -> None:
        """Take a warning: a large source directory, a target that cannot be reached now."""
