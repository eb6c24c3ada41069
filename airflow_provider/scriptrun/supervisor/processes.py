"""Every process of a run: finding them, ending them, and the proof that none is left.

While the supervisor (or its guard) lives it is the subreaper of all of them, so ``waitpid`` answering ECHILD proves
that no descendant lives, whatever they did: double fork, setsid, a cleared environment. Without it, what is left is
known by the variable ``SCRIPTRUN_RUN_ID``, by a working directory inside the run, and by descent from those.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Set, Tuple

    from .layout import RunLayout

#: Between two rounds of SIGKILL: a process that forks without pause gets no time to run away.
KILL_PAUSE_S = 0.003
#: Between two looks for processes that have not heard SIGTERM yet; grows, as a walk of /proc costs 40 us per process.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 0.5
#: What does not die within this time after SIGKILL is named: it hangs in the kernel, or belongs to another user.
STUCK_S = 10.0
#: A sweep gives up after this time, so that the request it is part of gets its answer; the next request goes on.
SWEEP_S = 5.0
#: Rounds of a sweep that must find nothing before the run counts as gone: one may race with a fork.
CLEAN_WALKS = 2
_VARIABLE = b"SCRIPTRUN_RUN_ID="


class Process:
    """One line of the process table."""

    __slots__ = ("group", "is_dead", "parent", "pid", "session", "start", "state", "terminal")

    def __init__(self, pid: int, fields: List[bytes]) -> None:  # fields of /proc/<pid>/stat from the third on, proc(5)
        self.pid = pid
        self.state = fields[0]
        self.parent, self.group, self.session, self.terminal = (int(field) for field in fields[1:5])
        # A leader that has ended while other threads of it go on is shown as a zombie too, with these threads counted.
        self.is_dead = self.state in (b"Z", b"X") and int(fields[17]) <= 1
        self.start = fields[19]


def walk() -> Dict[int, Process]:
    """Return the process table, without zombies. Empty where there is no /proc."""
    table = {}
    try:
        names = os.listdir("/proc")
    except FileNotFoundError:
        return {}
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb", 0) as file:
                line = file.read(4096)
        except OSError:
            continue
        process = Process(int(name), line[line.rindex(b")") + 2 :].split())  # the name before it may hold anything
        if not process.is_dead:
            table[process.pid] = process
    return table


def descendants(table: Dict[int, Process], roots: List[int]) -> List[Process]:
    """Return all processes below ``roots``, without these."""
    children: Dict[int, List[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found: List[Process] = []
    waiting = list(roots)
    seen = set(roots)
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process.pid not in seen:
                seen.add(process.pid)
                found.append(process)
                waiting.append(process.pid)
    return found


def send(processes: List[Process], number: int) -> None:
    """Send a signal to processes and to their process groups (a group hears it at once, forks included)."""
    ours = os.getpgrp()
    for group in {process.group for process in processes} - {ours, 0}:
        _kill(-group, number)
    for process in processes:
        if process.group == ours:
            _kill(process.pid, number)


def _kill(pid: int, number: int) -> None:
    # Gone already, or another user's (sudo), which is seen as stuck later.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


class Reaper:
    """Collects the children of this process, the adopted ones too."""

    def __init__(self) -> None:
        self.ended: Dict[int, int] = {}  #: wait status by pid, of those that were asked for
        self.awaited: Set[int] = set()

    def reap(self) -> bool:
        """Collect every child that has ended; return whether one is left (``False`` proves: no descendant lives)."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self.awaited:
                self.ended[pid] = status


class Escalation:
    """SIGTERM to every descendant, a grace, then SIGKILL until none is left. The caller reaps between the steps."""

    def __init__(self, grace_s: float) -> None:
        self._begin = time.monotonic()
        self._grace_end = self._begin + grace_s
        self._next_look = 0.0
        self._look_pause = FIRST_LOOK_S
        self._heard: Set[Tuple[int, bytes]] = set()
        self._stuck: List[Process] = []

    def hurry(self) -> None:
        """End the grace now."""
        self._grace_end = time.monotonic()

    def step(self) -> float:
        """Send what is due; return in how many seconds the next step is."""
        now = time.monotonic()
        if now < self._next_look:
            return self._next_look - now
        left = descendants(walk(), [os.getpid()])
        if now < self._grace_end:
            self._ask(left)
            pause = min(self._look_pause, self._grace_end - now)
            self._look_pause = min(2 * self._look_pause, LONGEST_LOOK_S)
        else:
            send(left, signal.SIGKILL)
            self._stuck = left if now > self._grace_end + STUCK_S else []
            pause = LONGEST_LOOK_S if self._stuck else KILL_PAUSE_S
        self._next_look = time.monotonic() + pause
        return pause

    def _ask(self, left: List[Process]) -> None:
        fresh = [process for process in left if (process.pid, process.start) not in self._heard]
        self._heard.update((process.pid, process.start) for process in fresh)
        for process in fresh:
            _kill(process.pid, signal.SIGTERM)
            _kill(process.pid, signal.SIGCONT)  # a stopped process hears SIGTERM only when it goes on

    def stuck(self) -> Optional[str]:
        """Return a sentence about what does not die although it was killed, ``None`` while there is no such thing."""
        if not self._stuck:
            return None
        names = ", ".join("%d (state %s)" % (p.pid, p.state.decode("ascii", "replace")) for p in self._stuck[:5])
        return "%d processes do not die from SIGKILL: %s. They hang in the kernel, or run as another user." % (
            len(self._stuck),
            names,
        )


def kill_descendants() -> None:
    """Kill every descendant of this process, and return when none is left. For a guard: nothing is asked politely."""
    reaper = Reaper()
    escalation = Escalation(0.0)
    while reaper.reap():
        time.sleep(min(escalation.step(), LONGEST_LOOK_S))


def sweep(run: RunLayout) -> bool:
    """Kill what is left of a run that has neither supervisor nor guard; return whether it was seen gone, in two walks.

    One hole is left: a daemon that has cleared its environment and left the run's folder, whose supervisor and guard
    were killed both at once.
    """
    end = time.monotonic() + SWEEP_S
    clean, pause = 0, KILL_PAUSE_S
    while clean < CLEAN_WALKS:
        left = remains(run)
        if not left:
            clean += 1
            continue
        if time.monotonic() > end:
            return False
        clean = 0
        send_each(left, signal.SIGKILL)
        pause = min(2 * pause, LONGEST_LOOK_S)
        time.sleep(pause)
    return True


def send_each(processes: List[Process], number: int) -> None:
    """Send a signal to these processes and to nobody else."""
    for process in processes:
        _kill(process.pid, number)


def remains(run: RunLayout) -> List[Process]:
    """Return the processes of a run, found without its supervisor; never this process or one of its ancestors."""
    table = walk()
    spared = _ancestors(table)
    folder = os.fsencode(os.path.realpath(run.folder))
    mark = _VARIABLE + run.id.encode("ascii")
    roots = [p.pid for p in table.values() if p.pid not in spared and (_is_marked(p, mark) or _is_inside(p, folder))]
    found = {pid: table[pid] for pid in roots}
    found.update((process.pid, process) for process in descendants(table, roots))
    return [process for pid, process in found.items() if pid not in spared]


def _ancestors(table: Dict[int, Process]) -> Set[int]:
    found = set()
    pid = os.getpid()
    while pid in table and pid not in found:
        found.add(pid)
        pid = table[pid].parent
    return found


def _is_marked(process: Process, mark: bytes) -> bool:
    try:
        with open("/proc/%d/environ" % process.pid, "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:  # gone, or another user's
        return False


def _is_inside(process: Process, folder: bytes) -> bool:
    """Whether it works inside the run's folder. One with a terminal is a person's shell: a run's have none."""
    if process.terminal:
        return False
    try:
        place = os.readlink(b"/proc/%d/cwd" % process.pid)
    except OSError:
        return False
    return place == folder or place.startswith(folder + b"/")
