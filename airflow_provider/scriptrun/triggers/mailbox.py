"""Brings what other threads say to the one coroutine of an event loop that waits for it.

For each that waits, ``asyncio.wait_for(queue.get(), seconds)`` keeps a task, two coroutines and three deques: of a
thousand triggers that is what the garbage collector walks through while none of them can move.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Mailbox(Generic[T]):
    """In order, none lost. Made in any thread.

    :param loop: where the one reader is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._letters: list[T] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, letter: T) -> None:
        """Say something, from any thread. Once the loop has ended, and with it whoever read, nothing happens."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, letter)

    async def get(self, wait_s: float) -> T | None:
        """Return what was said first of all that was not returned yet; ``None`` after so many seconds without any."""
        if not self._letters:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(wait_s, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        return self._letters.pop(0) if self._letters else None

    def _deliver(self, letter: T) -> None:
        self._letters.append(letter)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
