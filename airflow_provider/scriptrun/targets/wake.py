"""A bell for a poll that waits: what it was asked about has changed meanwhile, so that it is to be asked anew."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Wake:
    """Ends the poll that it was given to, from any thread. For one poll at a time.

    Rung before the poll waits, it ends that too; and what was rung once is not rung again before :meth:`clear`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bell: Callable[[], None] | None = None
        self._is_rung = False

    @property
    def is_rung(self) -> bool:
        """Whether it was rung since it was cleared."""
        return self._is_rung

    def ring(self) -> None:
        """Let the poll return early: with what it has, which may be nothing."""
        with self._lock:
            if not self._is_rung:
                self._is_rung = True
                if self._bell is not None:
                    self._bell()

    def clear(self) -> None:
        """Forget that it was rung: what changed until now will be in the next question."""
        with self._lock:
            self._is_rung = False

    @contextmanager
    def heard_by(self, bell: Callable[[], None]) -> Iterator[None]:
        """For a target: ``bell`` is called when it is rung, in the thread that rings, and never after the block."""
        with self._lock:
            self._bell = bell
            if self._is_rung:
                bell()
        try:
            yield
        finally:
            with self._lock:
                self._bell = None
