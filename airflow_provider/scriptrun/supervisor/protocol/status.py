"""What state a run is in, and why: Azure ML's status names, and a reason beside them."""

import enum


class Status(str, enum.Enum):
    """Azure ML's names (``azureml.core.Run.get_status``), in the order in which a run passes through them."""

    NOT_STARTED = "NotStarted"
    STARTING = "Starting"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    RUNNING = "Running"
    FINALIZING = "Finalizing"
    CANCEL_REQUESTED = "CancelRequested"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELED)


class Reason(str, enum.Enum):
    """Why a run ended as it did; ``None`` in its place while there is nothing to say (a Completed run has none)."""

    SCRIPT = "script"  #: it ended by itself, with another exit code than 0
    SIGNAL = "signal"  #: a signal that we did not send ended it
    OUT_OF_MEMORY = "out_of_memory"  #: the out-of-memory killer ended it (inferred; the message says how surely)
    TIMEOUT = "timeout"  #: max_run_duration_seconds or execution_timeout passed
    ENVIRONMENT = "environment"  #: its environment could not be prepared
    SNAPSHOT = "snapshot"  #: its working copy could not be made
    LAUNCH = "launch"  #: the command could not be executed at all (no such program, permission)
    TARGET = "target"  #: the target failed us: no space left, a read-only root
    LOST = "lost"  #: its supervisor was killed, or its host rebooted
    ORPHANED = "orphaned"  #: nobody watched it for orphan_after
    CANCELED = "canceled"  #: somebody asked for its end
    SUPERSEDED = "superseded"  #: cancelled because its task was cleared and a newer run took its place
    UNREACHABLE = "unreachable"  #: its target could not be reached until its lease had surely run out
