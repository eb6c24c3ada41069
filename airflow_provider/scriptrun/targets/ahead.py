"""Work ahead: the next items are made in a thread while the last one is used."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """Yields ``items``, which a thread of its own makes. Use it in a ``with`` block, whose end is the thread's too.

    What ``items`` raises, of whatever kind, is raised behind the items that came before.

    :param room: so many items wait to be used at most.
    """

    def __init__(self, items: Iterable[Item], room: int) -> None:
        self._items, self._room = items, room
        self._made: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = self._given_up = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="ahead", daemon=True)

    def __enter__(self) -> Iterator[Item]:
        self._thread.start()
        return self._use()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
        self._thread.join()
        self._items = ()  # a generator that was given up closes what it holds

    def _use(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._made or self._ended)
                if not self._made:
                    break
                item = self._made.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def _make(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._made) < self._room or self._given_up)
                    if self._given_up:
                        return
                    self._made.append(item)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  # it is the other thread's
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
