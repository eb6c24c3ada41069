"""The supervisor of one run: prepares it, waits for its turn, starts its script once, sees it through to its end.

It is forked from a session and outlives it. Whatever it holds dies with it: ``alive`` says that it lives, a ticket in
``slots/`` that the run takes a place. What it has to say stands in ``status.json``.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from . import crash, diagnosis, hello, host, journal, memory, prctl, processes, script, tail, variables, verdict
from .preparation import prepare
from .protocol.status import Reason, Status
from .pump import Pump
from .slots import Ticket
from .tend import tend
from .watch import Watch, ignore_requests_to_leave

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

    from .ask import StartRequest
    from .identity import Identity
    from .layout import Layout, RunLayout
    from .verdict import Ending

#: A verdict that cannot be written is tried again this often, this many times; the run is not over meanwhile.
VERDICT_PAUSE_S, VERDICT_TRIES = 1.0, 600
#: With less than this left, a child that prepares a run may not even be able to write down what it lacks.
FULL_BYTES = 64 * 1024
#: Others may go through the folder to what is theirs, and see nothing on the way.
_PASSABLE = 0o711


class Over(Exception):  # noqa: N818  # no error: how a run that has nothing more to do says so
    """The run is over before its script was started, or without one; ``fields`` are the verdict's."""

    def __init__(self, fields: Dict[str, Any]) -> None:
        super().__init__(fields)
        self.fields = fields


def supervise(layout: Layout, ask: StartRequest, acknowledge: Callable[[], None]) -> None:
    """Be the supervisor of the run that ``ask`` describes; call ``acknowledge`` once everybody can find it.

    Raises what keeps it from that; until then, nothing says that the run has started.
    """
    crash.point("supervise.started")
    os.setsid()
    ignore_requests_to_leave()
    prctl.become_subreaper()
    run = layout.run(ask.run_id)
    supervisor = Supervisor(layout, run, ask)
    supervisor.book.write(Status.STARTING)
    acknowledge()
    crash.point("supervise.accepted")
    supervisor.conclude(supervisor.go())
    crash.point("supervise.final")
    supervisor.leave()


class Supervisor:
    """The state of a supervisor between its phases."""

    def __init__(self, layout: Layout, run: RunLayout, ask: StartRequest) -> None:
        self.layout, self.run, self.ask = layout, run, ask
        document = journal.blank(run.id)
        document.update(
            created_at=journal.now(),
            command=ask.command,
            host=host.facts(layout),
            supervisor=hello.version(),
            attempt=ask.attempt_document,
        )
        self.book = journal.Journal(run, document)
        self.watch = Watch(run, ask.orphan_after_s)
        self.ticket: Optional[Ticket] = None
        self.phases: Dict[str, float] = document["phases"]
        if ask.environment_s:
            self.phases["environment"] = round(ask.environment_s, 4)

    def go(self) -> Dict[str, Any]:
        """Go through all phases; return the fields of the verdict. What goes wrong here is the verdict too."""
        try:
            environment = self.prepare()
            if not self.ask.command:
                return {"status": Status.COMPLETED}
            self.queue()
            return self.execute(environment)
        except Over as over:
            return over.fields
        except OSError as error:
            diagnosis.print_exception()
            message = "%s: %s." % (error.filename or self.run.folder, error.strerror or error)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not look like a run that goes on
            diagnosis.print_exception()
            message = "The supervisor failed: %s: %s." % (type(error).__name__, error)
        processes.kill_descendants()
        return {"status": Status.FAILED, "reason": Reason.TARGET.value, "message": message}

    def prepare(self) -> Dict[str, Any]:
        """Make the working copy and the environment, in a child; return the environment's facts."""
        self.book.write(Status.PREPARING)
        begin = memory.counters()
        pump = Pump(self.run.build_log)
        child = script.fork(lambda: prepare(self.layout, self.run, self.ask), pump.sink)
        pump.close_sink()
        tended = tend(child, pump, self.watch, self.ask.grace_s, self._tell)
        pump.close()
        if tended.ending is not None:
            raise Over(verdict.of_ending(tended.ending))
        result = _read(self.run.prepared)
        if result is None:
            raise Over(self._unprepared(tended.wait_status, memory.explain(begin, os.WIFSIGNALED(tended.wait_status))))
        if "error" in result:
            error = result["error"]
            said = [part for part in (error["message"], error.get("advice")) if part]
            if error.get("resolution"):
                self.book.document["environment"] = {"resolution": True}
            raise Over({"status": Status.FAILED, "reason": error["reason"], "message": " ".join(said)})
        result["phases"]["environment"] = round(result["phases"]["environment"] + self.ask.environment_s, 4)
        self.phases.update(result["phases"])
        environment: Dict[str, Any] = result["environment"]
        self._hold(environment.get("hold"))
        self.book.document["environment"] = {
            "id": environment["key"],
            "kind": environment["kind"],
            "reused": environment["reused"],
            "lock_reused": environment["lock_reused"],
            "interpreter": environment["interpreter"],
            "python": environment["python"],
            "packages": environment["package_count"],
        }
        crash.point("supervise.prepared")
        return environment

    def queue(self) -> None:
        """Wait until fewer than ``max_runs`` runs that were ready earlier go on."""
        begin = time.monotonic()
        limit = self.ask.max_runs
        if self.ask.is_contained and limit is None:
            return  # the queue is not this container's to write to
        self.ticket = Ticket(self.layout, self.run.id)
        waits = False
        while limit is not None and not self.ticket.goes(limit):
            if not waits:
                waits = True
                self.book.write(Status.QUEUED)
            self.watch.wait(None, self.ticket.pause())
            if self.watch.ending is not None:
                break
        self.phases["queue"] = round(time.monotonic() - begin, 4)
        if self.watch.ending is not None:  # also what was said a moment ago: from here on a script runs
            raise Over(verdict.of_ending(self.watch.ending))

    def execute(self, environment: Dict[str, Any]) -> Dict[str, Any]:
        """Start the script, once, and see it through; return the fields of the verdict."""
        counters = memory.counters()
        self.book.document["memory"] = counters
        os.close(os.open(self.run.begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        crash.point("supervise.begun")
        pump = Pump(self.run.run_log)
        begin = time.monotonic()
        self.book.document["started_at"] = journal.now()
        try:
            user = self._user()
            seen = self._variables(environment, user)
            child = script.execute(self.ask.command, seen, self.run.code, pump.sink, user)
        except script.LaunchError as error:
            raise Over({"status": Status.FAILED, "reason": Reason.LAUNCH.value, "message": str(error)}) from None
        crash.point("supervise.forked")
        pump.close_sink()
        self.ask.secret_variables.clear()
        self.book.write_if_room(Status.RUNNING)  # the script may have filled the disk by now, and not care
        self.watch.limit_duration(self.ask.max_run_duration_s)
        crash.point("supervise.running")
        tended = tend(child, pump, self.watch, self.ask.grace_s, self._tell)
        crash.point("supervise.ended")
        pump.close()
        self.phases["run"] = round(time.monotonic() - begin, 4)
        was_killed = os.WIFSIGNALED(tended.wait_status) and os.WTERMSIG(tended.wait_status) == prctl.SIGKILL
        return verdict.of_script(tended.wait_status, tended.ending, memory.explain(counters, was_killed))

    def conclude(self, fields: Dict[str, Any]) -> None:
        """Write the verdict, durably. On a disk that stays full it is tried again, for ten minutes."""
        fields = dict(fields, ended_at=journal.now())
        if fields["status"] is Status.FAILED:
            fields["last_lines"] = tail.last_lines(self.run)
        for _ in range(VERDICT_TRIES):
            try:
                self.book.write(**fields)
            except OSError:
                diagnosis.print_exception()
                time.sleep(VERDICT_PAUSE_S)
            else:
                self.book.drop_reserve()
                return

    def leave(self) -> None:
        """Let the next run go, and put the root in order if it is time to."""
        if self.ticket is not None:
            self.ticket.close()
        from . import housekeeping

        ask = self.ask
        housekeeping.keep(
            self.layout, ask.budget_bytes, ask.budget_age_s, ask.environment_budget_bytes, ask.environment_age_s
        )

    def _user(self) -> Optional[Identity]:
        """Return who is to run the script, with everything of the run that is the script's given to that user."""
        if not self.ask.user:
            return None
        from . import identity

        try:
            user = identity.find(self.ask.user, self.ask.groups)
        except identity.NoSuchUserError as error:
            raise script.LaunchError(str(error)) from None
        if user.uid == identity.ROOT:
            return None
        for path in (self.run.messages, self.run.context):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.chmod(self.run.folder, _PASSABLE)
        user.own((self.run.messages, self.run.context, self.run.code, self.layout.checkpoint(self.ask.lineage)))
        return user

    def _variables(self, environment: Dict[str, Any], user: Optional[Identity]) -> Dict[str, str]:
        found = variables.inherited(os.environ, self.ask.inherit)
        if user is not None and found.get("HOME") in (None, os.path.expanduser("~root")):
            found["HOME"] = user.home
        found.update(variables.of_environment(environment["interpreter"]))
        found.update(environment["variables"])
        found.update(self.ask.variables)
        found.update(self.ask.secret_variables)
        checkpoints = self.layout.checkpoint(self.ask.lineage)
        found.update(variables.of_run(self.run, self.ask.experiment, checkpoints))
        return variables.with_path(found, environment["bin_dirs"])

    def _tell(self, ending: Optional[Ending], stuck: str) -> None:
        status = Status.FINALIZING if ending is None else Status.CANCEL_REQUESTED
        try:
            if ending is None:
                self.book.write(status, message=stuck or None)
            else:
                self.book.write(
                    status, reason=ending.reason.value, message=" ".join(filter(None, (ending.message, stuck)))
                )
        except OSError:  # a full disk must not keep us from killing
            diagnosis.print_exception()

    def _unprepared(self, wait_status: int, killed: Optional[str]) -> Dict[str, Any]:
        if os.WIFSIGNALED(wait_status):
            how = "by signal %s" % verdict.signal_name(os.WTERMSIG(wait_status))
        else:
            how = "with exit code %d" % os.WEXITSTATUS(wait_status)
        message = "Preparing the run ended %s. %s" % (how, killed or "")
        reason = Reason.OUT_OF_MEMORY if killed else Reason.ENVIRONMENT
        if not killed and self._is_disk_full():  # it could not even say so
            reason = Reason.TARGET
            message += "There is no space left on the target: remove what is not needed, or enlarge the disk."
        return {"status": Status.FAILED, "reason": reason.value, "message": message.strip()}

    def _is_disk_full(self) -> bool:
        space = os.statvfs(self.run.folder)
        return space.f_bavail * space.f_frsize < FULL_BYTES

    def _hold(self, path: Optional[str]) -> None:
        """Keep the environment from being removed: a shared lock that ends with this process."""
        if path:
            fcntl.flock(os.open(path, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)


def _read(path: str) -> Optional[Dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            result: Dict[str, Any] = json.loads(file.read())
    except FileNotFoundError:
        return None
    return result
