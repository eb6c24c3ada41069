"""What a target answers, turned into values. Nothing is trusted: types, lengths and known words are checked here."""

from __future__ import annotations

import enum
import math
from datetime import datetime, timezone
from typing import Any, NoReturn, TypeVar

from airflow_provider.scriptrun.errors import (
    OtherHostError,
    ProtocolError,
    TargetError,
    TargetRefusedError,
    UnknownRunError,
)
from airflow_provider.scriptrun.supervisor.protocol import ranges
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.targets.news import RemoteFile, Stream
from airflow_provider.scriptrun.targets.request import Attempt, Outcome, Started
from airflow_provider.scriptrun.targets.status import EnvironmentFacts, HostFacts, RunStatus, TargetFacts

#: Ids, versions, names of hosts and users.
MAX_NAME_CHARACTERS = 1024
#: PATH_MAX of Linux is 4096 bytes; a surrogate stands for one byte.
MAX_PATH_CHARACTERS = 4096
#: A message for a person, and the 8 KB of last lines with room for what replaces undecodable bytes.
MAX_MESSAGE_CHARACTERS = 64 * 1024
#: ARG_MAX is about 2 MB on Linux: no command has more arguments than that, and none is longer.
MAX_ARGUMENTS = 100_000
MAX_ARGUMENT_CHARACTERS = 2 * 1024 * 1024
#: Larger than any file system; keeps arithmetic on what was announced harmless.
MAX_BYTES = 1 << 62
MAX_FILES = 1_000_000
MAX_SKIPPED = 1000
MAX_TOOLS = 10
#: A run's files and its inputs.
MAX_SNAPSHOTS = 10_000
_HEXADECIMAL = frozenset("0123456789abcdef")
_STREAMS = {stream.value: stream for stream in Stream}

Choice = TypeVar("Choice", bound=enum.Enum)


class ElsewhereError(OtherHostError):
    """The whole session leads to another host than the one that its requests name."""


class Fields:
    """One JSON object of an answer, read field by field. Unknown fields are a later supervisor's, and are ignored.

    :param document: the object; anything else is refused.
    :param where: for messages: which object of which answer this is.
    """

    def __init__(self, document: Any, where: str) -> None:
        self.where = where
        if not isinstance(document, dict):
            self.refuse("it", document, "an object")
        self.document: dict[str, Any] = document

    def refuse(self, name: str, value: Any, expected: str) -> NoReturn:
        """Raise the :class:`ProtocolError` that says which field is wrong, and how."""
        raise ProtocolError(
            f"The target's answer cannot be used: {self.where}",
            why=f"{name} is {value!r:.100}, not {expected}",
            advice="Does something else write to the connection, or is another program in the supervisor's place?",
        )

    def has(self, name: str) -> bool:
        """Whether there is such a field, and it is not null."""
        return self.document.get(name) is not None

    def text(self, name: str, limit: int = MAX_NAME_CHARACTERS) -> str:
        """Return a text of at most ``limit`` characters."""
        value = self.document.get(name)
        if not isinstance(value, str) or len(value) > limit:
            self.refuse(name, value, f"a text of at most {limit} characters")
        return value

    def optional_text(self, name: str, limit: int = MAX_NAME_CHARACTERS) -> str | None:
        """Return a text, or ``None`` where there is none."""
        return self.text(name, limit) if self.has(name) else None

    def integer(self, name: str, low: int = 0, high: int = MAX_BYTES) -> int:
        """Return a whole number from ``low`` to ``high``."""
        value = self.document.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.refuse(name, value, f"a whole number from {low} to {high}")
        return value

    def optional_integer(self, name: str, low: int = 0, high: int = MAX_BYTES) -> int | None:
        """Return a whole number, or ``None`` where there is none."""
        return self.integer(name, low, high) if self.has(name) else None

    def number(self, name: str) -> float:
        """Return a number; whole or not, but finite."""
        value = self.document.get(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            self.refuse(name, value, "a number")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return a truth value; absent is false."""
        value = self.document.get(name, False)
        if not isinstance(value, bool):
            self.refuse(name, value, "true or false")
        return value

    def choice(self, name: str, choices: type[Choice]) -> Choice:
        """Return a member of an enumeration, by its value."""
        value = self.document.get(name)
        try:
            return choices(value)
        except ValueError:
            self.refuse(name, value, "one of " + ", ".join(str(choice.value) for choice in choices))

    def optional_choice(self, name: str, choices: type[Choice]) -> Choice | None:
        """Return a member of an enumeration, or ``None`` where there is none."""
        return self.choice(name, choices) if self.has(name) else None

    def moment(self, name: str) -> datetime | None:
        """Return a time in UTC, or ``None`` where there is none."""
        text = self.optional_text(name)
        if text is None:
            return None
        try:
            # Before Python 3.11 fromisoformat() does not know "Z".
            moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
            return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        except (ValueError, OverflowError):
            self.refuse(name, text, "a time as ISO 8601 has it")

    def sha256(self, name: str) -> str:
        """Return a sha256 as 64 lower-case hexadecimal digits."""
        value = self.document.get(name)
        if not is_sha256(value):
            self.refuse(name, value, "a sha256")
        return str(value)

    def items(self, name: str, limit: int) -> list[Any]:
        """Return a list of at most ``limit`` items of any kind."""
        value = self.document.get(name)
        if not isinstance(value, list) or len(value) > limit:
            self.refuse(name, value, f"a list of at most {limit} items")
        return value

    def texts(self, name: str, limit: int, characters: int = MAX_NAME_CHARACTERS) -> tuple[str, ...]:
        """Return a list of texts; absent is empty."""
        values = self.items(name, limit) if self.has(name) else []
        for value in values:
            if not isinstance(value, str) or len(value) > characters:
                self.refuse(f"an item of {name}", value, f"a text of at most {characters} characters")
        return tuple(values)

    def inner(self, name: str) -> Fields:
        """Return the object under ``name``."""
        return Fields(self.document.get(name), f"{self.where}, {name}")


def is_sha256(value: Any) -> bool:
    """Whether ``value`` is a sha256 as 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and _HEXADECIMAL.issuperset(value)


def host_facts(fields: Fields) -> HostFacts:
    """Read a ``host`` object."""
    return HostFacts(
        id=fields.text("id"), boot_id=fields.optional_text("boot_id") or "", name=fields.optional_text("name") or ""
    )


def target_facts(document: Any) -> TargetFacts:
    """Read the answer to ``hello``."""
    fields = Fields(document, "what it says about itself")
    python, platform = fields.inner("python"), fields.inner("platform")
    tools = fields.inner("tools")
    return TargetFacts(
        host=host_facts(fields.inner("host")),
        root=fields.text("root", MAX_PATH_CHARACTERS),
        user=fields.text("user"),
        python=python.text("version"),
        interpreter=python.text("executable", MAX_PATH_CHARACTERS),
        implementation=python.text("implementation"),
        system=platform.text("system"),
        machine=platform.text("machine"),
        libc=platform.optional_text("libc"),
        supervisor=fields.text("version"),
        protocol=fields.integer("protocol"),
        tools={name: tools.text(name, MAX_PATH_CHARACTERS) for name in tools.document if tools.has(name)},
        free_bytes=fields.optional_integer("free_bytes"),
    )


def wanted_tools(document: Any, run_id: str) -> tuple[str, ...]:
    """Read which programs must be lent before a run can start; none, whatever else the answer to its start says."""
    return Fields(document, f"to the start of run {run_id}").texts("tools", MAX_TOOLS)


def lacks_snapshots(document: Any) -> bool:
    """Whether an answer to a start says that snapshots are missing there."""
    return bool(Fields(document, "to a start").items("snapshots", MAX_SNAPSHOTS))


def started(document: Any, run_id: str) -> Started:
    """Read the answer to a ``start`` of ``run_id``."""
    fields = Fields(document, f"to the start of run {run_id}")
    outcome = fields.choice("outcome", Outcome)
    if outcome is Outcome.MISSING:
        base = fields.sha256("base") if fields.has("base") else None
        return Started(outcome, run_id, missing=_snapshots(fields), base=base)
    return Started(
        outcome,
        run_id=fields.text("run_id"),
        status=run_status(fields.document.get("status"), run_id) if outcome is Outcome.ACCEPTED else None,
        joined=fields.flag("joined"),
        previous=fields.texts("previous", MAX_FILES),
        try_number=fields.optional_integer("try_number"),
    )


def _snapshots(fields: Fields) -> tuple[str, ...]:
    names = fields.items("snapshots", MAX_SNAPSHOTS)
    if not names or not all(is_sha256(name) for name in names):
        fields.refuse("snapshots", names, "a list of ids of snapshots")
    return tuple(names)


def run_status(document: Any, run_id: str) -> RunStatus:
    """Read the status of a run."""
    fields = Fields(document, f"the status of run {run_id}")
    # Before there is one, the environment may say why there is none.
    environment = fields.inner("environment") if fields.has("environment") else None
    return RunStatus(
        serial=fields.integer("serial"),
        status=fields.choice("status", Status),
        reason=fields.optional_choice("reason", Reason),
        message=fields.optional_text("message", MAX_MESSAGE_CHARACTERS),
        exit_code=fields.optional_integer("exit_code", -(1 << 31), 1 << 31),
        signal=fields.optional_integer("signal", 0, 1024),
        created_at=fields.moment("created_at"),
        started_at=fields.moment("started_at"),
        ended_at=fields.moment("ended_at"),
        phases=_phases(fields.inner("phases")) if fields.has("phases") else {},
        environment=_environment(environment) if environment is not None and environment.has("id") else None,
        command=fields.texts("command", MAX_ARGUMENTS, MAX_ARGUMENT_CHARACTERS),
        host=host_facts(fields.inner("host")) if fields.has("host") else None,
        supervisor=fields.optional_text("supervisor"),
        last_lines=fields.optional_text("last_lines", MAX_MESSAGE_CHARACTERS),
        attempt=_attempt(fields.inner("attempt")) if fields.has("attempt") else None,
        is_unresolvable=environment is not None and environment.flag("resolution"),
        document=fields.document,
    )


def _phases(fields: Fields) -> dict[str, float]:
    phases: dict[str, float] = {}
    for name, seconds in list(fields.document.items())[:100]:
        if seconds is None:
            continue
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not math.isfinite(seconds):
            fields.refuse(name, seconds, "a number of seconds")
        phases[name[:100]] = float(seconds)
    return phases


def _environment(fields: Fields) -> EnvironmentFacts:
    return EnvironmentFacts(
        id=fields.text("id"),
        kind=fields.text("kind"),
        reused=fields.flag("reused"),
        interpreter=fields.text("interpreter", MAX_PATH_CHARACTERS),
        python=fields.text("python"),
        packages=fields.optional_integer("packages"),
    )


def _attempt(fields: Fields) -> Attempt:
    return Attempt(
        try_number=fields.integer("try_number"),
        max_tries=fields.integer("max_tries", low=-1),
        clear_number=fields.integer("clear_number"),
        delivered=fields.flag("delivered"),
    )


def streams(document: Any, run_id: str) -> list[tuple[Stream, int, int, int]]:
    """Read which bytes of which streams follow the status of a run: (stream, offset, length, size) in that order."""
    fields = Fields(document, f"the streams of run {run_id}")
    found = []
    for name in fields.document:
        if name not in _STREAMS:
            fields.refuse("a stream", name, "one of " + ", ".join(_STREAMS))
        part = fields.inner(name)
        found.append((_STREAMS[name], part.integer("offset"), part.integer("length"), part.integer("size")))
    return found


def missing(document: Any, total: int) -> list[int] | None:
    """Read the answer to an ``offer`` of ``total`` blobs: the numbers of those that the target lacks, ascending.

    ``None``: it cannot use the base that was named.
    """
    fields = Fields(document, "what it lacks of the snapshot")
    if "missing" in fields.document and not fields.has("missing"):
        return None
    try:
        return ranges.decode(fields.document.get("missing"), total)
    except ranges.RangesError as error:
        raise ProtocolError(f"The target's answer cannot be used: {fields.where}", why=str(error)) from None


def is_waiting(document: Any) -> bool:
    """Whether the answer is still to come: another session sends the same, and the target waits for its end."""
    return Fields(document, "whose turn it is").flag("waiting")


def is_wanted(document: Any) -> bool:
    """Whether a program that is to be lent is not there yet."""
    return Fields(document, "whether it wants a program").flag("wanted")


def remote_files(document: Any, run_id: str) -> tuple[list[RemoteFile], bool]:
    """Read one frame of the answer to a ``list``; return its files, and whether another frame follows."""
    fields = Fields(document, f"the files of run {run_id}")
    return [_remote_file(item, run_id) for item in fields.items("files", MAX_FILES)], fields.flag("more")


def skipped_files(document: Any, run_id: str) -> tuple[dict[str, str], int]:
    """Read what the last frame of a ``list`` says about what cannot be fetched: path -> why, and how many in all."""
    fields = Fields(document, f"the files of run {run_id}")
    if not fields.has("skipped"):
        return {}, 0
    skipped = fields.inner("skipped")
    items = [Fields(item, f"{skipped.where}, paths") for item in skipped.items("paths", MAX_SKIPPED)]
    named = {item.text("path", MAX_PATH_CHARACTERS): item.text("reason", MAX_MESSAGE_CHARACTERS) for item in items}
    return named, skipped.integer("count")


def _remote_file(document: Any, run_id: str) -> RemoteFile:
    """Read one file of a run. Its path is made part of local names: it must stay below the run's folder."""
    fields = Fields(document, f"a file of run {run_id}")
    path = fields.text("path", MAX_PATH_CHARACTERS)
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        fields.refuse("path", path, "a relative path below the run's folder")
    sha256 = fields.sha256("sha256") if fields.has("sha256") else ""
    return RemoteFile(path, fields.integer("size"), sha256, fields.flag("executable"))


def counts(document: Any) -> dict[str, int]:
    """Read the answer to a ``clean``: what was removed. Raises :class:`TargetRefusedError` while another is at it."""
    fields = Fields(document, "what it removed")
    if fields.flag("busy"):
        raise TargetRefusedError(
            "The target is being cleaned already", advice="It takes minutes at most; ask again when it is over."
        )
    removed = fields.inner("removed")
    return {name[:100]: removed.integer(name) for name in list(removed.document)[:100]}


def target_error(document: Any, about: str) -> TargetError:
    """Return the error that an ``error`` object of an answer stands for.

    :param about: what was asked of which target, as the beginning of a sentence.
    """
    fields = Fields(document, f"{about}: its error")
    code = fields.text("code")
    message = fields.text("message", MAX_MESSAGE_CHARACTERS)
    kind = _ERRORS.get(code, TargetRefusedError)
    return kind(about, why=message, advice=fields.optional_text("advice", MAX_MESSAGE_CHARACTERS))


#: Code of the protocol -> what it means here; what a later supervisor may add is a refusal.
_ERRORS: dict[str, type[TargetError]] = {
    "bad_request": TargetRefusedError,
    "no_such_run": UnknownRunError,
    "no_space": TargetRefusedError,
    "read_only": TargetRefusedError,
    "not_here": OtherHostError,
    "other_host": ElsewhereError,
    "damaged": TargetRefusedError,
    "internal": TargetRefusedError,
}
