"""The watches of this process: one per target and supervisor version, made for the first reader."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.runs.host_watch import HostWatch

if TYPE_CHECKING:
    from airflow_provider.scriptrun.runs.host_watch import Hear, Subscription
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.targets.contract import Cursor, Handle

_Key = tuple[str, str, str, str, str]


class HostWatches:
    """Every watch that goes on, by what it is of. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[_Key, HostWatch] = {}

    def follow(self, handle: Handle, cursor: Cursor, hear: Hear, surroundings: Surroundings) -> Subscription:
        """Watch the run of ``handle`` together with all others on its host, from ``cursor`` on.

        It may look up a connection, and contacts nobody. Raises what ``targets.registry.open_handle`` raises.
        """
        key = (handle.target, handle.connection, handle.host_id, handle.root, handle.supervisor)
        while True:
            with self._lock:
                watch = self._watches.get(key)
            subscription = None if watch is None else watch.follow(cursor, hear)
            if subscription is not None:
                return subscription
            self._open(key, watch, handle, surroundings)

    def close(self) -> None:
        """End all watches, without a word to their readers."""
        with self._lock:
            watches, self._watches = list(self._watches.values()), {}
        for watch in watches:
            watch.close()

    def _open(self, key: _Key, ended: HostWatch | None, handle: Handle, surroundings: Surroundings) -> None:
        """Put a new watch in the place of one that has ended, unless another thread just did."""
        from airflow_provider.scriptrun.targets.registry import open_handle

        target = open_handle(handle, surroundings)
        with self._lock:
            is_first = self._watches.get(key) is ended
            if is_first:
                self._watches[key] = HostWatch(target, wait_s=surroundings.settings.poll_wait_seconds)
        if not is_first:
            target.close()


#: Of this process.
shared = HostWatches()
# A forked child has none of its parent's threads, and must not write to its connections.
os.register_at_fork(after_in_child=shared.__init__)  # type: ignore[misc]
