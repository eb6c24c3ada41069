"""The guard of one run: an outer process that waits for the supervisor, and ends the run if the supervisor was killed.

As the subreaper around it, it inherits whatever a killed supervisor leaves, finds all of it, and says *lost* once that
is gone. It shares ``alive``, so nobody takes the run for over before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from . import crash, diagnosis, journal, prctl, processes, script, state
from .supervise import supervise
from .watch import ignore_requests_to_leave

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Callable, List, NoReturn, Optional

    from .ask import StartRequest
    from .layout import Layout

ACKNOWLEDGED = 0
FAULT_EXIT_CODE = 70  #: EX_SOFTWARE of <sysexits.h>
#: A verdict that cannot be written is tried again this often, this many times.
VERDICT_PAUSE_S, VERDICT_TRIES = 1.0, 600


def launch(layout: Layout, ask: StartRequest, alive: int) -> Optional[int]:
    """Start guard and supervisor, detached from this process, and wait until the supervisor can be found.

    Returns 0; or the ``errno`` of what kept it from taking over; or ``None`` when it died without a word.
    ``alive`` is the descriptor of the run's lock: they inherit it, and this process must close its own.
    """
    news, acknowledge = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(layout, ask, alive, acknowledge)
    os.close(acknowledge)
    crash.point("start.forked")
    try:
        os.waitpid(pid, 0)
        said = os.read(news, 16)
        return int(said) if said else None
    finally:
        os.close(news)


def contain(layout: Layout, ask: StartRequest, alive: int, answer: int, leave: Callable[[], None]) -> None:
    """Be the guard in this process, the first of a container, which nothing but the engine can kill.

    ``answer`` is where the supervisor says that it took over; ``leave`` is called when the engine asks for the end.
    """
    _detach(layout, ask, {alive, answer})
    _guard(layout, ask, answer, leave)


def _child(layout: Layout, ask: StartRequest, alive: int, acknowledge: int) -> NoReturn:
    code = FAULT_EXIT_CODE
    try:
        os.setsid()
        if os.fork():
            os._exit(0)  # so that the guard belongs to nobody who must wait for it
        _detach(layout, ask, {alive, acknowledge})
        _guard(layout, ask, acknowledge)
        code = 0
    except BaseException:  # noqa: BLE001  # a child must never go on as its parent
        diagnosis.print_exception()
    finally:
        script.end(code)


def _detach(layout: Layout, ask: StartRequest, keep: "set[int]") -> None:
    log = os.open(layout.run(ask.run_id).supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    script.close_all_but({0, 1, 2} | keep)
    os.chdir("/")


def _guard(layout: Layout, ask: StartRequest, acknowledge: int, leave: Optional[Callable[[], None]] = None) -> None:
    crash.point("guard.started")
    ignore_requests_to_leave()
    if leave is not None:
        signal.signal(signal.SIGTERM, lambda *_: leave())
    prctl.become_subreaper()
    supervisor = os.fork()
    if supervisor == 0:
        _supervise(layout, ask, acknowledge)
    os.close(acknowledge)
    _wait_for(supervisor)
    run = layout.run(ask.run_id)
    if journal.is_over(journal.read(run)):
        return
    processes.kill_descendants()
    if journal.read(run) is None:
        return  # it never took over: the run has not started, and its next start goes on with it
    for _ in range(VERDICT_TRIES):
        try:
            state.write_lost(layout, run, journal.read(run))
        except OSError:
            diagnosis.print_exception()
            time.sleep(VERDICT_PAUSE_S)
        else:
            return


def _wait_for(supervisor: int) -> None:
    while True:
        pid, _ = os.waitpid(-1, 0)  # others are orphans of a supervisor that was killed
        if pid == supervisor:
            return


def _supervise(layout: Layout, ask: StartRequest, acknowledge: int) -> NoReturn:
    code = FAULT_EXIT_CODE
    said: List[int] = []

    def say(number: int) -> None:
        if not said:  # afterwards the descriptor may be another file's
            said.append(number)
            with contextlib.suppress(BrokenPipeError):  # the starter was killed; the run goes on without it
                os.write(acknowledge, b"%d\n" % number)
            os.close(acknowledge)

    try:
        supervise(layout, ask, lambda: say(ACKNOWLEDGED))
        code = 0
    except OSError as error:
        diagnosis.print_exception()
        say(error.errno or FAULT_EXIT_CODE)
    except BaseException:  # noqa: BLE001  # the guard says what it means for the run
        diagnosis.print_exception()
    finally:
        script.end(code)
