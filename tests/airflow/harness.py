"""Airflow without a database: one task instance, through the real task runner, over as many tries as a test wants.

``FakeAirflow`` answers the execution API as the API server does for one task instance: its try number, its state, its
XComs, its state store. Templates, rendered fields, retries, signals and masking are Airflow's own code. What a
scheduler or a person does between two tries is a method: ``next_try``, ``clear``, ``clear_sibling``, ``set_state``.

With a ``file`` everything outlives the process, so that a worker may be killed and another process goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import threading
import uuid
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import httpx
import structlog
from airflow.sdk.api.datamodels._generated import TaskInstance
from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

NOW = "2026-01-01T00:00:00Z"
RUN_ID = "manual__2026-01-01T00:00:00+00:00"
NO_CONNECTION = dict.fromkeys(("host", "schema", "login", "password", "port", "extra"))
NOT_FOUND = {"detail": {"reason": "not_found", "message": "nothing here"}}


@dataclass
class Stored:
    """What Airflow's database holds about the task instance."""

    try_number: int = 1
    max_tries: int = 0
    clear_number: int = 0
    reschedules: int = 0  #: how often the current try was given back
    state: str | None = "running"
    task_state: dict[str, Any] = field(default_factory=dict)
    xcom: dict[str, Any] = field(default_factory=dict)
    rendered: dict[str, Any] = field(default_factory=dict)
    away: bool = False  #: the API server cannot be reached
    #: What the task waits for: ``classpath``, ``trigger_kwargs``, ``next_method``, ``next_kwargs``.
    deferred: dict[str, Any] | None = None
    #: When the DAG run began: another DAG run of the same name began at another time.
    began: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat())


@dataclass(frozen=True)
class Outcome:
    """How one try ended: ``success``, ``failed``, ``up_for_retry``, ``up_for_reschedule``; and what it raised."""

    state: str
    error: BaseException | None
    xcom: dict[str, Any]
    lines: list[str]

    @property
    def record(self) -> dict[str, Any]:
        """The XCom value of the task."""
        record = self.xcom["return_value"]
        assert isinstance(record, dict)
        return record

    @property
    def links(self) -> dict[str, str]:
        """What the task's buttons lead to, by their names without spaces."""
        shown = {name: url for name, url in self.xcom.items() if name.startswith("_link_")}
        return {name.removeprefix("_link_").removesuffix("Link"): url for name, url in shown.items()}

    @property
    def log(self) -> str:
        """The task log's messages, one a line."""
        return "\n".join(self.lines)


class FakeAirflow:
    """One task instance and all of Airflow that it sees.

    :param upstream: what other tasks returned: task id -> XCom key -> value.
    """

    def __init__(
        self,
        *,
        retries: int = 0,
        file: Path | None = None,
        map_index: int = -1,
        conf: Mapping[str, Any] | None = None,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        variables: Mapping[str, str] | None = None,
        upstream: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.upstream = dict(upstream or {})
        self.names: list[str] = []  #: what Airflow was told to call the mapped instance, one after the other
        self.said: dict[str, Any] = {}  #: how the latest try ended, as Airflow was told
        self.events: dict[str, Any] = {}  #: of a task that succeeded: its outlets, and the asset events it emits
        self.file, self.map_index, self.retries = file, map_index, retries
        self.conf = dict(conf or {})
        self.connections, self.variables = dict(connections or {}), dict(variables or {})
        self._try: int | None = None
        self.requests: list[tuple[str, str]] = []
        self.on_request: Callable[[str, str], None] | None = None
        self._lock = threading.RLock()
        self._memory = Stored(max_tries=retries)
        if file is not None and not file.exists():
            self._save(self._memory)

    # What a scheduler or a person does -------------------------------------------------------------------------

    @property
    def stored(self) -> Stored:
        """What the database holds now."""
        with self._lock:
            return Stored(**json.loads(self.file.read_text())) if self.file is not None else self._memory

    def next_try(self) -> None:
        """Let the scheduler start the next try, after a failure or a worker that was lost."""
        self._change(lambda s: _update(s, try_number=s.try_number + 1, state="running", reschedules=0, deferred=None))

    def again(self) -> None:
        """Let the scheduler start the same try again, after it was rescheduled: from its beginning."""
        self._change(lambda s: _update(s, state="running", reschedules=s.reschedules + 1, deferred=None))

    def fire(self, event: Any) -> None:
        """Let the trigger fire: the same try goes on, in another process, with the event's payload."""
        waiting = self.stored.deferred
        assert waiting is not None, "the task is not deferred"
        waiting["next_kwargs"] = {**(waiting["next_kwargs"] or {}), "event": json.loads(json.dumps(event))}
        self._change(lambda s: _update(s, state="running", deferred=waiting))

    def clear(self) -> None:
        """Do what Clear does, and start the try that follows (``clear_task_instances``)."""
        self._change(
            lambda s: _update(
                s,
                max_tries=s.try_number + self.retries,
                try_number=s.try_number + 1,
                clear_number=s.clear_number + 1,
                state="running",
                reschedules=0,
                deferred=None,
            )
        )

    def clear_sibling(self) -> None:
        """Clear another task of the same DAG run: only ``clear_number`` grows for us."""
        self._change(lambda s: _update(s, clear_number=s.clear_number + 1))

    def make_again(self) -> None:
        """Delete the DAG run, and make another one of the same name, whose task runs by now."""
        began = datetime.now(timezone.utc).isoformat()
        self._change(lambda s: _update(s, began=began, clear_number=0, state="running", task_state={}, xcom={}))

    def go_away(self, *, away: bool = True) -> None:
        """Let the API server be out of reach, or come back."""
        self._change(lambda s: _update(s, away=away))

    def set_state(self, state: str | None) -> None:
        """Set the task's state, as a person does with Mark success, Mark failed or Clear; ``"gone"`` deletes it."""
        self._change(lambda s: _update(s, state=state))

    # One try ---------------------------------------------------------------------------------------------------

    def run(self, task: Any, *, capture: bool = True) -> Outcome:
        """Run one try of the task to its end in this process. From the main thread, as signals have it.

        :param capture: keep the task log's lines for the outcome; else they go where logging is configured to.
        """
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
        with structlog.testing.capture_logs() if capture else contextlib.nullcontext([]) as captured:
            try:
                result = InProcessTestSupervisor.start(what=self._instance(task), task=task, client=self._client())
            finally:
                for number, handler in previous.items():
                    signal.signal(number, handler)
        state = str(getattr(result.state, "value", result.state))
        if self._try == self.stored.try_number and self.stored.state == "running":
            self._change(lambda s: _update(s, state=state))
        lines = [str(entry["event"]) for entry in captured if entry["log_level"] != "debug"]
        return Outcome(state, result.error, dict(self.stored.xcom), lines)

    def _instance(self, task: Any) -> TaskInstance:
        self._try = self.stored.try_number
        return TaskInstance(
            id=uuid.uuid4(),
            task_id=task.task_id,
            dag_id=task.dag.dag_id,
            run_id=RUN_ID,
            try_number=self._try,
            map_index=self.map_index,
            dag_version_id=uuid.uuid4(),
        )

    def _client(self) -> Any:
        return InProcessTestSupervisor._Client(base_url="http://fake", token="", transport=httpx.MockTransport(self))

    # The API server --------------------------------------------------------------------------------------------

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request of the task runner."""
        path, query = unquote(request.url.path), parse_qs(request.url.query.decode())
        self.requests.append((request.method, path))
        if self.on_request is not None:
            self.on_request(request.method, path)
        if self.stored.away:
            raise httpx.ConnectError("the API server is away", request=request)
        body = json.loads(request.content) if request.content else None
        head, _, tail = path.strip("/").partition("/")
        name = path.rsplit("/", 1)[-1]
        if path.endswith("/run"):
            return httpx.Response(200, json=self._context())
        if head == "dag-runs":
            return httpx.Response(200, json=self._dag_run())
        if path == "/task-instances/states":
            return httpx.Response(200, json={"task_states": self._states(query)})
        if path.endswith("/rtif"):
            self._change(lambda s: _update(s, rendered=body))
            return httpx.Response(201, json={"message": "ok"})
        if path == "/assets/by-name":
            (asset,) = query["name"]
            return httpx.Response(200, json={"name": asset, "uri": f"s3://assets/{asset}", "group": "asset"})
        if head in ("connections", "variables"):
            return self._lookup(head, tail)
        if head == "xcoms":
            return self._upstream(request.method, tail) or self._xcom(request.method, name, body)
        if "state-store" in path or "/store/" in path or head == "store":
            return self._state_store(request.method, name, body)
        return self._told(path, body)

    def _context(self) -> dict[str, Any]:
        stored = self.stored
        waiting = stored.deferred or {}
        return {
            "dag_run": self._dag_run(),
            "task_reschedule_count": stored.reschedules,
            "max_tries": stored.max_tries,
            "variables": [],
            "connections": [],
            "xcom_keys_to_clear": [] if waiting else list(stored.xcom),
            "next_method": waiting.get("next_method"),
            "next_kwargs": waiting.get("next_kwargs"),
            # task_instances._is_eligible_to_retry of the API server
            "should_retry": stored.max_tries != 0 and stored.try_number <= stored.max_tries,
        }

    def _dag_run(self) -> dict[str, Any]:
        stored = self.stored
        return {
            "dag_id": "dag",
            "run_id": RUN_ID,
            "logical_date": NOW,
            "data_interval_start": NOW,
            "data_interval_end": NOW,
            "run_after": NOW,
            "start_date": stored.began,
            "end_date": None,
            "clear_number": stored.clear_number,
            "run_type": "manual",
            "state": "running",
            "conf": self.conf,
            "consumed_asset_events": [],
            "partition_key": None,
            "partition_date": None,
            "note": None,
        }

    def _states(self, query: Mapping[str, list[str]]) -> dict[str, dict[str, str | None]]:
        (task_id,) = query["task_ids"]
        state = self.stored.state
        if state == "gone":
            return {}
        return {RUN_ID: {task_id if self.map_index < 0 else f"{task_id}_{self.map_index}": state}}

    def _lookup(self, kind: str, name: str) -> httpx.Response:
        if kind == "connections" and name in self.connections:
            return httpx.Response(200, json={**NO_CONNECTION, "conn_id": name, **self.connections[name]})
        if kind == "variables" and name in self.variables:
            return httpx.Response(200, json={"key": name, "value": self.variables[name]})
        return httpx.Response(404, json=NOT_FOUND)

    def _told(self, path: str, body: Any) -> httpx.Response:
        """Take what a task says of itself."""
        if path.endswith("/state"):
            return self._ended(body)
        if path.endswith("/rendered-map-index"):
            self.names.append(body)
        return httpx.Response(200, json={"text": "ok"})

    def _ended(self, body: dict[str, Any]) -> httpx.Response:
        self.said = body
        if body.get("rendered_map_index") is not None:
            self.names.append(body["rendered_map_index"])
        if body.get("state") == "success":
            self.events = {"outlets": body["task_outlets"], "events": body["outlet_events"]}
        if body.get("state") == "deferred":
            self._change(lambda s: _update(s, state="deferred", deferred=body))
        return httpx.Response(204)

    def _upstream(self, method: str, path: str) -> httpx.Response | None:
        """Answer what another task returned: ``dag/run/task/key``, which Jinja asks for with ``/slice`` behind it."""
        _, _, task_id, key, *rest = path.split("/")
        if method != "GET" or task_id not in self.upstream:
            return None
        if key not in self.upstream[task_id]:
            return httpx.Response(404, json=NOT_FOUND)
        value = self.upstream[task_id][key]
        return httpx.Response(200, json=[value] if rest == ["slice"] else {"key": key, "value": value})

    def _xcom(self, method: str, name: str, body: Any) -> httpx.Response:
        if method == "POST":
            self._change(lambda s: _update(s, xcom={**s.xcom, name: body}))
            return httpx.Response(201, json={"message": "ok"})
        if method == "DELETE":
            self._change(lambda s: _update(s, xcom={key: value for key, value in s.xcom.items() if key != name}))
            return httpx.Response(200, json={"message": "ok"})
        kept = self.stored.xcom  # another worker may change it meanwhile
        if method == "GET" and name in kept:
            return httpx.Response(200, json={"key": name, "value": kept[name]})
        return httpx.Response(404, json=NOT_FOUND)

    def _state_store(self, method: str, name: str, body: Any) -> httpx.Response:
        if method == "PUT":
            if self._try != self.stored.try_number:  # every try has another id in Airflow: a zombie's is gone
                return httpx.Response(404, json=NOT_FOUND)
            self._change(lambda s: _update(s, task_state={**s.task_state, name: body["value"]}))
            return httpx.Response(204)
        kept = self.stored.task_state
        return httpx.Response(200, json={"value": kept[name]}) if name in kept else httpx.Response(404, json=NOT_FOUND)

    def _change(self, change: Callable[[Stored], None]) -> None:
        with self._lock, self._turn():
            stored = self.stored
            change(stored)
            self._save(stored)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Let no other worker change the file meanwhile."""
        if self.file is None:
            yield
            return
        with self.file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _save(self, stored: Stored) -> None:
        if self.file is None:
            self._memory = stored
            return
        beside = self.file.with_suffix(f".{uuid.uuid4().hex}")
        beside.write_text(json.dumps(asdict(stored)))
        beside.replace(self.file)


def _update(stored: Stored, **values: Any) -> None:
    for name, value in values.items():
        setattr(stored, name, value)
