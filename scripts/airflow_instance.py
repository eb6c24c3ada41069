"""A whole Airflow of its own, on SQLite, under one folder: made, started, asked over its REST API, stopped.

``make demo`` and ``make up`` are this file; the end-to-end tests use its class. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
#: How long the four processes of Airflow may take until the API answers and every part is healthy: half a minute, and
#: ten times that on a machine that is busy with other things.
START_TIMEOUT_SECONDS = 300
#: How long a DAG file may take until it is served.
PARSE_TIMEOUT_SECONDS = 120
#: How long the processes have to end before they are killed.
STOP_TIMEOUT_SECONDS = 20


class AirflowInstanceError(RuntimeError):
    """Airflow did not do what was asked; the message names the log to read."""


class AirflowInstance:
    """``airflow standalone`` with its home under ``home`` and its DAGs from ``dags_folder``, listening on loopback.

    :param port: 0 takes a free one.
    :param options: more Airflow settings, as environment variables (``AIRFLOW__SECTION__NAME``).
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        *,
        port: int = 0,
        python: Path = Path(sys.executable),
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.home, self.dags_folder, self.python = home, dags_folder, python
        self.port = port or _free_port()
        self.url = f"http://localhost:{self.port}"
        self.options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every process of this Airflow, and every ``airflow`` command for it, runs with."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        return {
            **inherited,
            # its children call `airflow` by name
            "PATH": f"{self.python.parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__SCRIPTRUN__LOCAL_ROOT": str(self.home / "target"),
            **self.options,
        }

    @property
    def log(self) -> Path:
        """Where Airflow's own processes write."""
        return self.home / "standalone.log"

    @property
    def login(self) -> tuple[str, str]:
        """User and password of the web interface."""
        passwords: dict[str, str] = json.loads(self._passwords.read_text())
        return "admin", passwords["admin"]

    @property
    def _passwords(self) -> Path:
        return self.home / "simple_auth_manager_passwords.json.generated"

    def choose_password(self) -> None:
        """Make a password at random, once per home, where Airflow looks for it."""
        if not self._passwords.exists():
            self._passwords.touch(mode=0o600)
            self._passwords.write_text(json.dumps({"admin": secrets.token_urlsafe(12)}))

    def command(self, *arguments: str) -> str:
        """Run one ``airflow`` command and return what it prints. Raises ``AirflowInstanceError`` when it fails."""
        done = subprocess.run(
            [str(self.python), "-m", "airflow", *arguments],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise AirflowInstanceError(f"airflow {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Start Airflow; return when it is healthy. Raises ``AirflowInstanceError``, with nothing left running."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.choose_password()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.python), "-m", "airflow", "standalone"],
                cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            self._until(self._healthy, START_TIMEOUT_SECONDS, "Airflow did not become healthy")
            self._until(self._serves_tasks, START_TIMEOUT_SECONDS, "Airflow does not serve tasks")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process that this instance started; those that do not go are killed."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_SECONDS)
            deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
            while _group_lives(process.pid) and time.monotonic() < deadline:
                time.sleep(0.1)
            if not _group_lives(process.pid):
                return

    @contextlib.contextmanager
    def running(self) -> Iterator[AirflowInstance]:
        """Start, hand over, stop whatever happens."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def wait(self) -> int:
        """Wait until Airflow ends by itself; return its exit code."""
        if self._process is None:
            raise AirflowInstanceError("this Airflow was not started")
        return self._process.wait()

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the REST API (``/api/v2`` + ``path``) and return the JSON of its answer."""
        if not self._token:
            user, password = self.login
            self._token = self._request("POST", "/auth/token", {"username": user, "password": password})["access_token"]
        return self._request(method, f"/api/v2{path}", body)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a DAG run now, once the DAG is served, and return its run id."""
        self._until(lambda: self._served(dag_id), PARSE_TIMEOUT_SECONDS, f"the DAG {dag_id} did not appear")
        self.api("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        run = self.api("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": dict(conf or {})})
        return str(run["dag_run_id"])

    def wait_for_run(self, dag_id: str, run_id: str, timeout_seconds: float) -> str:
        """Wait for a DAG run's end and return its state, ``success`` or ``failed``."""
        path = f"/dags/{dag_id}/dagRuns/{quoted(run_id)}"

        def ended() -> str | None:
            state = str(self.api("GET", path)["state"])
            return state if state in ("success", "failed") else None

        return str(self._until(ended, timeout_seconds, f"the DAG run {run_id} did not end"))

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> list[str]:
        """Return the lines of a task's log, as the web interface shows them, without their times."""
        path = f"/dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances/{task_id}/logs/{try_number}"
        answer = self.api("GET", f"{path}?full_content=true")
        return [str(line.get("event", "")) if isinstance(line, dict) else str(line) for line in answer["content"]]

    def _healthy(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AirflowInstanceError(f"Airflow ended with {self._process.returncode}; see {self.log}")
        try:
            parts = self._request("GET", "/api/v2/monitor/health", None)
        except (OSError, ValueError):
            return False
        return all(parts[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "dag_processor"))

    def _serves_tasks(self) -> bool:
        """The first request to the part that tasks talk to makes it, which takes longer than a task waits."""
        try:
            self._request("GET", "/execution/health", None)
        except OSError:
            return False
        return True

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

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def _until(self, question: Any, timeout_seconds: float, complaint: str) -> Any:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            answer = question()
            if answer:
                return answer
            time.sleep(0.3)
        raise AirflowInstanceError(f"{complaint} within {timeout_seconds:.0f} s; see {self.log}")


def quoted(text: str) -> str:
    """Return ``text`` as one part of an URL's path."""
    return urllib.request.pathname2url(text).replace("/", "%2F")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def demo(instance: AirflowInstance, dag_id: str, report_task: str) -> int:
    """Run a DAG in an Airflow of its own and print what its last task prints; return 0 when it succeeds."""
    print(f"Starting Airflow at {instance.url} (its log: {instance.log}) ...", flush=True)
    with instance.running():
        run_id = instance.trigger(dag_id)
        print(f"DAG {dag_id} runs as {run_id} ...", flush=True)
        state = instance.wait_for_run(dag_id, run_id, timeout_seconds=900)
        tasks = instance.api("GET", f"/dags/{dag_id}/dagRuns/{quoted(run_id)}/taskInstances")["task_instances"]
        for task in tasks:
            print(f"  {task['task_id']:<12} {task['state']}  {task['duration'] or 0:.1f} s")
        shown = [report_task] if state == "success" else [t["task_id"] for t in tasks if t["state"] == "failed"]
        for task_id in shown:
            number = next(t["try_number"] for t in tasks if t["task_id"] == task_id)
            print("\n".join(_printed(instance.task_log(dag_id, run_id, task_id, number), whole=state != "success")))
    print(f"The DAG run ended: {state}")
    return 0 if state == "success" else 1


def _printed(lines: list[str], *, whole: bool) -> list[str]:
    """Only what the task printed between the report's rules, or all of the log where it failed."""
    if whole:
        return lines
    rules = [number for number, line in enumerate(lines) if line.startswith("=====")] or [0]
    # the log's own lines may stand between those that the task printed: the two arrive on different ways
    between = [line for line in lines[rules[0] : rules[-1] + 1] if not line.startswith(("::", "Done. Returned"))]
    return between if len(rules) >= 2 else lines


def _up(instance: AirflowInstance) -> int:
    print(f"Starting Airflow (its log: {instance.log}) ...", flush=True)
    with instance.running():
        user, password = instance.login
        print(f"\n  Airflow: {instance.url}\n  user:    {user}\n  password: {password}\n\nCtrl-C stops it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            return instance.wait()
    return 0


def main() -> int:
    """``demo`` runs the example DAG and prints its report; ``up`` serves the example DAGs until Ctrl-C."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("what", choices=("demo", "up"))
    parser.add_argument("--dag", default="train_local")
    parser.add_argument("--report-task", default="report")
    parser.add_argument("--port", type=int, default=None)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    port = arguments.port if arguments.port is not None else (8080 if arguments.what == "up" else 0)
    instance = AirflowInstance(CHECKOUT / ".airflow", CHECKOUT / "dags", port=port)
    try:
        if arguments.what == "up":
            return _up(instance)
        return demo(instance, arguments.dag, arguments.report_task)
    except AirflowInstanceError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
