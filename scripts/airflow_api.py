"""What is asked of a running Airflow over its REST API: trigger, wait, look, clear, mark. Standard library only."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
#: How long a DAG file may take until it is served.
PARSE_TIMEOUT_SECONDS = 120
_ANSWER_TIMEOUT_SECONDS = 120
_PAUSE_SECONDS = 0.3


class AirflowInstanceError(RuntimeError):
    """Airflow did not do what was asked; the message names the log to read."""


class AirflowApi:
    """The REST API of the Airflow at ``url``. Who starts that Airflow says how to log in, and where its log is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._token = ""

    @property
    def login(self) -> tuple[str, str]:
        """User and password of the web interface."""
        raise NotImplementedError

    @property
    def where_to_look(self) -> str:
        """What an error names as the place to read on."""
        return self.url

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the REST API (``/api/v2`` + ``path``) and return the JSON of its answer. Raises ``OSError``."""
        if not self._token:
            user, password = self.login
            self._token = self.request("POST", "/auth/token", {"username": user, "password": password})["access_token"]
        return self.request(method, f"/api/v2{path}", body)

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the server for any path of it, and return the JSON of its answer. Raises ``OSError``."""
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_ANSWER_TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, *, run_id: str | None = None) -> str:
        """Start a DAG run now, once the DAG is served, and return its run id: this one, or one of Airflow's."""
        self.until(lambda: self._served(dag_id), PARSE_TIMEOUT_SECONDS, f"the DAG {dag_id} did not appear")
        self.api("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        wanted = {"logical_date": None, "conf": dict(conf or {}), "dag_run_id": run_id}
        run = self.api("POST", f"/dags/{dag_id}/dagRuns", wanted)
        return str(run["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, timeout_seconds: float) -> str:
        """Wait for a DAG run's end and return its state, ``success`` or ``failed``."""
        path = f"/dags/{dag_id}/dagRuns/{quoted(run_id)}"

        def ended() -> str | None:
            state = str(self.api("GET", path)["state"])
            return state if state in ("success", "failed") else None

        return str(self.until(ended, timeout_seconds, f"the DAG run {run_id} did not end"))

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return what Airflow knows of a task: its ``state``, ``try_number``, ``pid``, ..."""
        path = f"/dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances/{task_id}"
        found: dict[str, Any] = self.api("GET", path if map_index < 0 else f"{path}/{map_index}")
        return found

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task ``failed`` or ``success``, as a person does."""
        path = f"/dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances/{task_id}"
        self.api("PATCH", path, {"new_state": state})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task in whatever state it is, as a person does."""
        selection = {"dag_run_id": run_id, "task_ids": [task_id], "only_failed": False, "reset_dag_runs": True}
        self.api("POST", f"/dags/{dag_id}/clearTaskInstances", {"dry_run": False, **selection})

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what a task pushed under ``key``; ``None`` where it pushed nothing."""
        path = f"/dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        try:
            return self.api("GET", f"{path}?deserialize=true&map_index={map_index}")["value"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> list[str]:
        """Return the lines of a task's log, as the web interface shows them, without their times."""
        path = f"/dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances/{task_id}/logs/{try_number}"
        answer = self.api("GET", f"{path}?full_content=true&map_index={map_index}")
        return [str(line.get("event", "")) if isinstance(line, dict) else str(line) for line in answer["content"]]

    def until(self, question: Callable[[], T], timeout_seconds: float, complaint: str) -> T:
        """Ask until the answer is a true one, and return it. Raises :class:`AirflowInstanceError` in the end.

        A server that is too busy to answer is asked again.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                answer = question()
                if answer:
                    return answer
            time.sleep(_PAUSE_SECONDS)
        raise AirflowInstanceError(f"{complaint} within {timeout_seconds:.0f} s; see {self.where_to_look}")

    def _served(self, dag_id: str) -> bool:
        errors = self.api("GET", "/importErrors")["import_errors"]
        if errors:
            raise AirflowInstanceError("a DAG file cannot be imported:\n" + errors[0]["stack_trace"])
        try:
            self.api("GET", f"/dags/{dag_id}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True


def quoted(text: str) -> str:
    """Return ``text`` as one part of an URL's path."""
    return urllib.request.pathname2url(text).replace("/", "%2F")
