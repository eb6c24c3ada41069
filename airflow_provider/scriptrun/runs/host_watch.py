"""Watches all runs on one host for any number of readers: one thread, one connection, one question at a time."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.runs.follower import Follower, is_crowded, next_question
from airflow_provider.scriptrun.runs.pace import Pace
from airflow_provider.scriptrun.runs.reach import Trouble, pauses
from airflow_provider.scriptrun.targets.contract import DEFAULT_POLL_BYTES, DEFAULT_POLL_WAIT_S, Cursor, News
from airflow_provider.scriptrun.targets.exchange import SHARE_BYTES
from airflow_provider.scriptrun.targets.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider.scriptrun.targets.contract import ComputeTarget, Stream

    #: How a reader hears: of news, of a target that cannot be reached now, and last of an error that ends its watch.
    #: Called in the watch's thread, where it must neither wait nor raise (``loop.call_soon_threadsafe`` does neither).
    Hear = Callable[[News | Trouble | Exception], None]

log = logging.getLogger(__name__)

#: After the last reader has left, the connection is kept for the next one so long.
LINGER_SECONDS = 5.0


class Subscription:
    """One reader's part of a watch. ``HostWatch.follow`` makes it."""

    def __init__(self, watch: HostWatch, cursor: Cursor, hear: Hear) -> None:
        self._watch, self._hear = watch, hear
        self._follower = Follower(cursor)
        self.reached_at = time.monotonic()  #: when the target last answered, or when this began
        self.has_answered = False

    def taken(self) -> None:
        """Say that a piece of news was dealt with: one that leaves a few untaken hears no more until it has."""
        self._watch._taken(self._follower)

    def leave_out(self, stream: Stream) -> None:
        """Read this stream no more."""
        self._watch._leave_out(self._follower, stream)

    def stop(self) -> None:
        """Hear no more, but for what is on its way just now. Safe to call twice."""
        self._watch._leave(self)


class HostWatch:
    """One per target. Every reader's news come as if it were alone; none waits for another one that is slow.

    1. A new reader's run is watched at once: the poll that waits is interrupted.
    2. A reader that takes nothing is given nothing more after a few pieces; its run's lease is still renewed.
    3. An error about one run goes to its readers. A target that cannot be reached is tried again with growing pauses,
       and each reader hears of it and may leave. Any other error of the target ends every reader's watch.
    4. A few seconds after the last reader has left, it ends and closes the target.

    :param target: its own: it closes it.
    :param wait_s: how long one poll waits for news.
    """

    def __init__(
        self, target: ComputeTarget, *, wait_s: float = DEFAULT_POLL_WAIT_S, linger_s: float = LINGER_SECONDS
    ) -> None:
        self._target, self._wait_s, self._linger_s = target, wait_s, linger_s
        self._changed = threading.Condition()
        self._subscriptions: list[Subscription] = []
        self._wake = Wake()
        self._pace, self._pauses = Pace(), pauses()
        self._is_crowded = self._has_ended = False
        self._thread = threading.Thread(target=self._run, name=f"watch {target.name}", daemon=True)
        self._thread.start()

    def follow(self, cursor: Cursor, hear: Hear) -> Subscription | None:
        """Watch a run for a reader from now on; ``None`` when this watch has ended meanwhile.

        Like every method of a subscription it waits for nothing but a few bytes to be handed to the connection.
        """
        subscription = Subscription(self, cursor, hear)
        with self._changed:
            if self._has_ended:
                return None
            self._subscriptions.append(subscription)
            self._changed.notify_all()
        self._wake.ring()
        return subscription

    def close(self) -> None:
        """End the watch of every reader, who hear nothing of it, and the thread. Safe to call twice."""
        with self._changed:
            self._has_ended = True
            self._subscriptions.clear()
            self._changed.notify_all()
        self._target.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _taken(self, follower: Follower) -> None:
        with self._changed:
            follower.taken()
            is_asked_for_again = self._is_crowded or not (follower.listens or follower.is_behind())
            self._changed.notify_all()
        if is_asked_for_again:
            self._wake.ring()

    def _leave_out(self, follower: Follower, stream: Stream) -> None:
        with self._changed:
            follower.leave_out(stream)
            self._changed.notify_all()
        self._wake.ring()

    def _leave(self, subscription: Subscription) -> None:
        with self._changed:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
            is_last = not self._subscriptions
            self._changed.notify_all()
        if is_last:  # else what is asked for it at the moment is asked in vain, which does not hurt
            self._wake.ring()

    # In the thread

    def _run(self) -> None:
        try:
            while question := self._question():
                self._ask(*question)
        except Exception as error:
            log.exception("The watch of the target %s failed", self._target.name)
            self._has_ended = True
            self._give_up(error)
        finally:
            self._target.close()

    def _question(self) -> tuple[Mapping[str, Cursor], int] | None:
        """Return what to ask next, once there is something; ``None`` at the end."""
        with self._changed:
            while not self._has_ended:
                self._wake.clear()
                followers = [subscription._follower for subscription in self._subscriptions]
                self._is_crowded = is_crowded(followers)
                cursors = next_question(followers, is_crowded=self._is_crowded)
                if cursors:
                    return cursors, SHARE_BYTES if self._is_crowded else DEFAULT_POLL_BYTES
                is_idle = not followers
                if not self._changed.wait(self._linger_s if is_idle else None) and is_idle:
                    self._has_ended = True
            return None

    def _ask(self, cursors: Mapping[str, Cursor], max_bytes: int) -> None:
        try:
            answer = self._target.poll(cursors.values(), wait_s=self._wait_s, max_bytes=max_bytes, wake=self._wake)
        except TargetUnreachableError as error:
            self._struggle(error)
        except Exception as error:  # noqa: BLE001 - raised again by whoever reads
            self._give_up(error)
        else:
            self._pauses = pauses()
            self._deliver(cursors, answer)
            if answer and all(part.is_whole for news in answer for part in news.parts):
                self._pause(self._pace.pause(time.monotonic(), len(cursors)), self._is_rung)

    def _deliver(self, cursors: Mapping[str, Cursor], answer: Iterable[News]) -> None:
        found = {news.run_id: news for news in answer}
        now = time.monotonic()
        heard = []
        with self._changed:
            for subscription in list(self._subscriptions):
                follower = subscription._follower
                if follower.cursor.run_id not in cursors:
                    continue
                subscription.reached_at, subscription.has_answered = now, True
                news = found.get(follower.cursor.run_id)
                mine = None if news is None else follower.takes(news)
                if mine is not None:
                    heard.append((subscription, mine))
                    if mine.error is not None or mine.is_last:
                        self._subscriptions.remove(subscription)
        for subscription, mine in heard:
            self._tell(subscription, mine)

    def _struggle(self, error: TargetUnreachableError) -> None:
        pause = next(self._pauses)
        with self._changed:
            hearing = list(self._subscriptions)
        for subscription in hearing:
            self._tell(subscription, Trouble(error, pause, subscription.reached_at, subscription.has_answered))
        self._pause(pause, lambda: not self._subscriptions)

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            hearing, self._subscriptions = self._subscriptions, []
        for subscription in hearing:
            self._tell(subscription, error)

    def _tell(self, subscription: Subscription, what: News | Trouble | Exception) -> None:
        try:
            subscription._hear(what)
        except Exception:  # the others are not affected
            log.exception("A reader of run %s does not hear any more", subscription._follower.cursor.run_id)
            self._leave(subscription)

    def _pause(self, seconds: float, is_over: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or is_over(), seconds)

    def _is_rung(self) -> bool:
        return self._wake.is_rung
