"""A start request, checked: what comes over the wire is believed field by field."""

from __future__ import annotations

from . import refusal
from .decide import Attempt
from .layout import check_run_id, check_sha256
from .refusal import Refusal, number

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple, Type, Union

    from .lent import Offer

#: What ``inputs/<name>`` may be called: no name that leads elsewhere, or hides.
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
MAX_NAME_LENGTH = 255
#: Where a request does not say: between SIGTERM and SIGKILL.
DEFAULT_GRACE_S = 30.0
INFINITE = float("inf")
#: So many snapshots may be named that this one may be a small change of.
MAX_BASES = 10


class Input:
    """A snapshot that is to stand in ``inputs/``: as a folder, or, of one file, as that file."""

    def __init__(self, name: str, snapshot: str, is_file: bool) -> None:
        self.name = name
        self.snapshot = snapshot
        self.is_file = is_file


class StartRequest:
    """What to run, and for whom. Raises ``Refusal`` with the field's name when a field is missing or wrong."""

    def __init__(self, request: Dict[str, Any]) -> None:
        run = _object(request, "run")
        self.run_id = check_run_id(run.get("id"))
        self.lineage: str = _field(run, "run.", "lineage", str)
        self.experiment: str = _field(run, "run.", "experiment", str)
        attempt = _object(request, "attempt")
        self.attempt = Attempt(
            try_number=_field(attempt, "attempt.", "try_number", int),
            max_tries=_field(attempt, "attempt.", "max_tries", int),
            clear_number=_field(attempt, "attempt.", "clear_number", int),
            delivered=_field(attempt, "attempt.", "delivered", bool),
        )
        self.attempt_document = attempt
        snapshot = request.get("snapshot")
        self.snapshot: Optional[str] = None if snapshot is None else check_sha256(snapshot)
        self.bases = [check_sha256(base) for base in _list(request, "", "bases")[:MAX_BASES]]
        self.inputs = _inputs(request)
        self.environment = _object(request, "environment")
        self.secret_environment = _texts(request, "", "secret_environment")
        launch = _object(request, "launch")
        self.command: List[str] = _list(launch, "launch.", "argv")
        self.variables = _texts(launch, "launch.", "variables")
        self.secret_variables = _texts(launch, "launch.", "secret_variables")
        self.inherit: List[str] = _list(launch, "launch.", "inherit")
        #: a container is to be started for it, by whoever asks
        self.is_contained: bool = launch.get("contained") is True
        #: further groups of the user who runs the script
        self.groups: List[str] = _list(launch, "launch.", "groups")
        #: who runs the script, as an image names its user; empty: whoever runs the supervisor
        self.user: str = _field(launch, "launch.", "user", str) if launch.get("user") is not None else ""
        limits = _object(request, "limits")
        self.max_run_duration_s: Optional[float] = _number(limits, "max_run_duration_s", None)
        self.grace_s = _number(limits, "grace_s", DEFAULT_GRACE_S) or 0.0
        self.orphan_after_s = _number(limits, "orphan_after_s", 0.0) or 0.0
        max_runs = _number(limits, "max_runs", None)
        self.max_runs: Optional[int] = int(max_runs) if max_runs else None
        self.budget_bytes: Optional[float] = _number(limits, "budget_bytes", None)
        self.budget_age_s: Optional[float] = _number(limits, "budget_age_s", None)
        self.environment_budget_bytes: Optional[float] = _number(limits, "environment_budget_bytes", None)
        self.environment_age_s: Optional[float] = _number(limits, "environment_age_s", None)
        #: seconds that making the environment has taken, whose rest is the supervisor's
        self.environment_s = number(request, "environment_s") or 0.0
        self.context = _object(request, "context")
        tools = _object(request, "tools")
        self.tools = {name: path for name, path in tools.items() if isinstance(path, str)}
        self.offers = _offers({name: offer for name, offer in tools.items() if isinstance(offer, dict)})

    def snapshots(self) -> List[str]:
        """Return the ids of all snapshots that the run needs, each once."""
        ids = [self.snapshot] if self.snapshot is not None else []
        return list(dict.fromkeys(ids + [one.snapshot for one in self.inputs]))

    def without_secrets(self) -> Dict[str, Any]:
        """Return what may be written to a file: of the secrets, only their names."""
        return {
            "run": {"id": self.run_id, "lineage": self.lineage, "experiment": self.experiment},
            "attempt": self.attempt_document,
            "snapshot": self.snapshot,
            "inputs": {one.name: {"snapshot": one.snapshot, "file": one.is_file} for one in self.inputs},
            "environment": self.environment,
            "launch": {
                "argv": self.command,
                "variables": self.variables,
                "secret_variables": sorted(self.secret_variables),
                "inherit": self.inherit,
                "contained": self.is_contained,
                "user": self.user,
                "groups": self.groups,
            },
            "limits": {
                "max_run_duration_s": self.max_run_duration_s,
                "grace_s": self.grace_s,
                "orphan_after_s": self.orphan_after_s,
                "max_runs": self.max_runs,
                "budget_bytes": self.budget_bytes,
                "budget_age_s": self.budget_age_s,
                "environment_budget_bytes": self.environment_budget_bytes,
                "environment_age_s": self.environment_age_s,
            },
            "tools": self.tools,
        }


def _offers(documents: Dict[str, Any]) -> Dict[str, Offer]:
    if not documents:
        return {}
    from .lent import Offer

    return {name: Offer(name, document) for name, document in documents.items()}


def _field(document: Dict[str, Any], where: str, name: str, kind: Union[Type[Any], Tuple[Type[Any], ...]]) -> Any:
    value = document.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Refusal(refusal.BAD_REQUEST, "start: %s%s is %.100r" % (where, name, value))
    return value


def _object(document: Dict[str, Any], name: str) -> Dict[str, Any]:
    return {} if document.get(name) is None else dict(_field(document, "", name, dict))


def _inputs(request: Dict[str, Any]) -> List[Input]:
    found = []
    for name, document in _object(request, "inputs").items():
        if not 0 < len(name) <= MAX_NAME_LENGTH or name[0] in ".-" or not _NAME_CHARACTERS.issuperset(name):
            raise Refusal(refusal.BAD_REQUEST, "start: %.300r is no name of an input" % (name,))
        where = "inputs.%s." % name
        if not isinstance(document, dict):
            raise Refusal(refusal.BAD_REQUEST, "start: inputs.%s is %.100r" % (name, document))
        snapshot = check_sha256(document.get("snapshot"))
        found.append(Input(name, snapshot, _field(document, where, "file", bool)))
    return found


def _list(document: Dict[str, Any], where: str, name: str) -> List[str]:
    if document.get(name) is None:
        return []
    value = _field(document, where, name, list)
    if not all(isinstance(item, str) for item in value):
        raise Refusal(refusal.BAD_REQUEST, "start: %s%s holds something that is no text" % (where, name))
    return list(value)


def _texts(document: Dict[str, Any], where: str, name: str) -> Dict[str, str]:
    if document.get(name) is None:
        return {}
    value = _field(document, where, name, dict)
    for key, text in value.items():
        if not isinstance(text, str) or not key or "=" in key or "\0" in key:
            # Not the value: it may be a secret.
            raise Refusal(refusal.BAD_REQUEST, "start: %s%s.%.100r is no variable with a text" % (where, name, key))
    return dict(value)


def _number(document: Dict[str, Any], name: str, default: Optional[float]) -> Optional[float]:
    if document.get(name) is None:
        return default
    value = float(_field(document, "limits.", name, (int, float)))
    if not 0 <= value < INFINITE:
        raise Refusal(refusal.BAD_REQUEST, "start: limits.%s is %r" % (name, value))
    return value
