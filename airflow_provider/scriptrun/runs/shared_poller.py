"""The news of one run out of a watch that many share, for a reader with a thread of its own."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.runs.poller import LOOK_SECONDS
from airflow_provider.scriptrun.targets.contract import News, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider.scriptrun.runs.host_watch import Hear, Subscription
    from airflow_provider.scriptrun.runs.reach import Trouble


class SharedPoller:
    """A :class:`~.poller.Source` for ``Watch``, in the place of a ``Poller``.

    :param follow: begins to follow the run for whoever hears, for instance a part of ``HostWatches.follow``.
    :param is_log_capped: whether no more of the log is shown before its end, so that it need not be read.
    """

    def __init__(self, follow: Callable[[Hear], Subscription], *, is_log_capped: Callable[[], bool]) -> None:
        self._answers: SimpleQueue[News | Trouble | Exception] = SimpleQueue()
        self._is_log_capped, self._leaves_out_log = is_log_capped, False
        self._subscription = follow(self._answers.put)

    def answers(self) -> Iterator[News | Trouble | None]:
        """See :class:`~.poller.Source`."""
        while True:
            if self._is_log_capped() and not self._leaves_out_log:
                self._leaves_out_log = True
                self._subscription.leave_out(Stream.RUN_LOG)
            try:
                answer = self._answers.get(timeout=LOOK_SECONDS)
            except Empty:
                yield None
                continue
            if isinstance(answer, Exception):
                raise answer
            yield answer
            if isinstance(answer, News):
                self._subscription.taken()

    def stop(self) -> None:
        """See :class:`~.poller.Source`."""
        self._subscription.stop()
