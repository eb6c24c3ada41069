"""Everything that can go wrong, as one tree. Each message says what, where, why and what to do next.

::

    ScriptRunError
    ├── ConfigurationError            what a person wrote cannot be run (also a ValueError); retrying is useless
    │   └── NotSupportedError         it makes sense, but not on this target or in this version
    ├── SnapshotError                 the source directory cannot be captured
    │   ├── SnapshotChangedError      a file went on changing while it was read
    │   └── SnapshotTooLargeError     over the hard limit
    ├── WorkspaceError                the workspace cannot be read or written
    │   └── RunNotFoundError          no run of this id is known there
    ├── TargetError                   the compute target
    │   ├── TargetUnreachableError    cannot be reached now; a later try may
    │   ├── TargetRefusedError        answered, and cannot take the run (no Python, no space, read-only root)
    │   │   └── OtherHostError        answered, and is another machine than the one that the run is on
    │   ├── UnknownRunError           knows no run of this id
    │   └── ProtocolError             answered what no supervisor of ours says
    └── RunFailedError                the run ended, and not well; carries the run id, exit code and last lines
        ├── ScriptFailedError         the script ended with an exit code other than 0, or by a signal
        │   └── OutOfMemoryError      the kernel's out-of-memory killer ended it
        ├── EnvironmentFailedError    its environment could not be prepared
        │   └── ResolutionError       its requirements cannot be resolved; retrying is useless
        ├── RunTimeoutError           it ran longer than allowed
        ├── RunLostError              its supervisor or its host died
        ├── RunOrphanedError          nobody watched it for too long
        ├── RunCanceledError          somebody asked for its end
        └── RunSupersededError        a newer try of the same task has taken over; this one must not touch anything
"""

from __future__ import annotations


class ScriptRunError(Exception):
    """Base of every error that this package raises on purpose.

    :param what: what happened, and where.
    :param why: the cause, when it is known beyond ``what``.
    :param advice: what to do next.
    """

    def __init__(self, what: str, *, why: str | None = None, advice: str | None = None) -> None:
        self.what, self.why, self.advice = what, why, advice
        super().__init__(what, why, advice)

    def __str__(self) -> str:
        sentences = [part.rstrip() for part in (self.what, self.why, self.advice) if part]
        return " ".join(s if s.endswith((".", "!", "?", ":", "\n")) or "\n" in s else s + "." for s in sentences)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.__dict__))


def _rebuild(kind: type[ScriptRunError], what: str, state: dict[str, object]) -> ScriptRunError:
    error = kind.__new__(kind)
    Exception.__init__(error, what, state.get("why"), state.get("advice"))
    error.__dict__.update(state)
    return error


class ConfigurationError(ScriptRunError, ValueError):
    """What a person wrote cannot be run; the message names the field and what to write instead."""


class NotSupportedError(ConfigurationError):
    """The configuration makes sense, but not on this target or in this version of the provider."""


class SnapshotError(ScriptRunError):
    """The source directory cannot be captured; the message names the file."""


class SnapshotChangedError(SnapshotError):
    """A file went on changing while it was read, so that what runs would not be what was hashed."""


class SnapshotTooLargeError(SnapshotError):
    """The snapshot is over the hard limit; the message names the largest files."""


class WorkspaceError(ScriptRunError):
    """The workspace cannot be read or written."""


class RunNotFoundError(WorkspaceError):
    """The workspace knows no run of this id."""


class TargetError(ScriptRunError):
    """Something about the compute target."""


class TargetUnreachableError(TargetError):
    """The target cannot be reached now; the same call may go through later."""


class TargetRefusedError(TargetError):
    """The target answered, and cannot take the run: no Python, no space left, a read-only root."""


class OtherHostError(TargetRefusedError):
    """The target answered, and is another machine than the one that the run is on: it can say nothing about the run."""


class UnknownRunError(TargetError):
    """The target knows no run of this id: it never started there, or was cleaned away long after its end."""


class ProtocolError(TargetError):
    """The target answered what no supervisor of ours says: damaged, foreign or of an unknown version."""


class RunFailedError(ScriptRunError):
    """A run ended, and not as Completed.

    :param run_id: which run.
    :param exit_code: the script's exit code, when there is one.
    :param signal: the number of the signal that ended it, when one did.
    :param last_lines: the last lines of its log (or of the environment's build), at most 20.
    """

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        advice: str | None = None,
        run_id: str | None = None,
        exit_code: int | None = None,
        signal: int | None = None,
        last_lines: str | None = None,
    ) -> None:
        super().__init__(what, why=why, advice=advice)
        self.run_id, self.exit_code, self.signal, self.last_lines = run_id, exit_code, signal, last_lines

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nLast lines:\n{self.last_lines.rstrip()}" if self.last_lines else text


class ScriptFailedError(RunFailedError):
    """The script ended with an exit code other than 0, or by a signal."""


class OutOfMemoryError(ScriptFailedError):
    """The kernel's out-of-memory killer ended the script (inferred; the message says how surely)."""


class EnvironmentFailedError(RunFailedError):
    """The environment could not be prepared; the last lines are the tool's own."""


class ResolutionError(EnvironmentFailedError):
    """The requirements cannot be resolved; the same requirements will not resolve next time either."""


class RunTimeoutError(RunFailedError):
    """The run took longer than ``max_run_duration_seconds`` or the task's ``execution_timeout``, and was cancelled."""


class RunLostError(RunFailedError):
    """The run's supervisor was killed or its host rebooted; nothing of the run lives any more."""


class RunOrphanedError(RunFailedError):
    """Nobody watched the run for ``orphan_after``, so it ended itself."""


class RunCanceledError(RunFailedError):
    """Somebody asked for the run's end."""


class RunSupersededError(RunFailedError):
    """A newer try of the same task has taken over; nothing was touched."""
