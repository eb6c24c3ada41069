"""Who makes an image, when one was wanted last, and which may go: noted beside the volume, for all workers."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.targets import parse
from airflow_provider.scriptrun.targets.docker.made import NotMade, Printed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from airflow_provider.scriptrun.targets.request import Limits
    from airflow_provider.scriptrun.targets.session import Session

_PAUSE_S = 0.1
#: By then whoever waits for an image has seen that nobody makes it any more, over a slow connection too.
_SETTLE_S = 1.0
_NOTHING = Printed()
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Noted:
    """What is noted of an image.

    :param resolved_at: when its packages were resolved last, in seconds since the epoch; 0: nobody knows.
    :param retry_at: before then they need not be resolved again, however old that is.
    """

    resolved_at: float = 0.0
    retry_at: float = 0.0


class Claims:
    """The notes of images, as one start asks for them; see the supervisor's ``images.py``.

    :param session: the claims are its own: they end with it, whatever this worker dies of.
    :param run_id: the run that waits for the image.
    """

    def __init__(self, session: Session, run_id: str) -> None:
        self._session, self._run_id = session, run_id

    def use(self, key: str) -> Noted:
        """Say that an image is wanted, and return what was noted of it."""
        answer = parse.Fields(self._session.ask({"op": "use_image", "key": key}), "the notes of an image")
        return Noted(**{name: answer.number(name) for name in ("resolved_at", "retry_at") if answer.has(name)})

    @contextlib.contextmanager
    def claimed(self, key: str, what: str, is_there: Callable[[], bool]) -> Iterator[Claim | None]:
        """Wait until nobody else makes the image, and give the claim to it; ``None``: another one has made it.

        :param what: for the log: what somebody else makes.
        :param is_there: whether it has been made, asked once nobody else is at it.
        :raises NotMade: the run was cancelled meanwhile.
        """
        has_waited = False
        while not self._session.ask({"op": "claim_image", "key": key}).get("ours"):
            if not has_waited:
                log.info("waiting for %s, which another run makes", what)
            has_waited = True
            self.refuse_cancelled()
            time.sleep(_PAUSE_S)
        with Claim(self._session, key) as claim:
            yield None if is_there() else claim

    @contextlib.contextmanager
    def left_over(self, key: str) -> Iterator[bool]:
        """Give whether nobody who waited goes on with an image that was not made; nobody begins to meanwhile."""
        time.sleep(_SETTLE_S)
        if not self._session.ask({"op": "claim_image", "key": key}).get("ours"):
            yield False
            return
        with Claim(self._session, key):
            yield True

    def refuse_cancelled(self, printed: Printed = _NOTHING) -> None:
        """Raise :class:`NotMade` when the run was cancelled.

        :param printed: what was printed for it so far.
        """
        answer = parse.Fields(self._session.ask({"op": "status", "runs": [self._run_id]}), "the status of runs")
        if (answer.inner("runs").document.get(self._run_id) or {}).get("status") == "Canceled":
            raise NotMade(printed, None)

    def spared(self, keys: Sequence[str], limits: Limits) -> list[str]:
        """Return which of these images may go."""
        ask = {
            "op": "spare_images",
            "there": list(keys),
            "budget_bytes": limits.environment_budget_bytes,
            "budget_age_s": limits.environment_age_s,
        }
        return list(parse.Fields(self._session.ask(ask), "the images to remove").texts("keys", len(keys)))


class Claim:
    """The right to make one image, until it is left; ``note`` says what came of it."""

    def __init__(self, session: Session, key: str) -> None:
        self._session, self._key = session, key
        self._note: dict[str, float] = {}

    def note(self, size: int, noted: Noted) -> None:
        """Note that the image is there.

        :param size: bytes that it takes beside the image that it is made from.
        """
        self._note = {"bytes": max(0, size), "resolved_at": noted.resolved_at, "retry_at": noted.retry_at}

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ask = {"op": "release_image", "key": self._key, **self._note}
        if error is None:
            self._session.ask(ask)
            return
        with contextlib.suppress(TargetUnreachableError):  # it ends with the session
            self._session.ask(ask)
