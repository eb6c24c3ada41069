"""A worker's end of a session with a real ``serve`` process, and what tests of runs need around it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider.scriptrun import supervisor
from airflow_provider.scriptrun.supervisor.layout import Layout, RunLayout
from airflow_provider.scriptrun.supervisor.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 30.0
OVER = ("Completed", "Failed", "Canceled")
DEFAULT_ENVIRONMENT = {"kind": "default", "schema": 1, "delivery": {}}


def install(folder: Path, python: str) -> Path:
    """Unpack the supervisor as on a target; return the folder that starts it."""
    home = folder / "1-test"
    shutil.copytree(
        Path(supervisor.__file__).parent, home / "scriptrun_supervisor", ignore=shutil.ignore_patterns("__pycache__")
    )
    (home / "__main__.py").write_text("from scriptrun_supervisor.serve import main\n\nmain()\n")
    command = [python, "-I", "-S", "-E", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(home)]
    subprocess.run(command, check=True)
    return home


class Part(NamedTuple):
    """What a poll said about one run."""

    status: dict[str, Any]
    streams: dict[str, dict[str, int]]
    data: dict[str, bytes]


class Session:
    """One ``serve`` process and the frames to and from it."""

    def __init__(self, target: Target, environment: dict[str, str] | None = None, user: int | None = None) -> None:
        self.process = subprocess.Popen(
            [target.python, "-I", "-S", "-E", str(target.home), "serve", "--root", str(target.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**target.environment, **(environment or {})},
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.writer = frames.FrameWriter(self.process.stdin)
        self.reader = frames.FrameReader(self.process.stdout)
        frames.find_marker(self.process.stdout)

    def send(self, operation: str, **fields: Any) -> None:
        self.writer.json({"op": operation, **fields})
        self.writer.flush()

    def receive(self) -> dict[str, Any]:
        answer = self.reader.json()
        assert answer is not None, "the session has ended"
        return answer

    def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        self.send(operation, **fields)
        return self.receive()

    def poll(
        self, *runs: str, seen: int | None = -1, wait_s: float = 0.0, max_bytes: int = 1 << 22, **streams: int
    ) -> dict[str, Any]:
        """Poll these runs; ``streams`` are offsets, ``run_log=0``. Returns a ``Part`` or an error by run."""
        names = {"run_log": "run.log", "build_log": "build.log", "messages": "messages.jsonl"}
        offsets = {names[key]: value for key, value in streams.items()}
        wanted = [{"id": run, "seen": seen, "streams": offsets} for run in runs]
        self.send("poll", runs=wanted, wait_s=wait_s, max_bytes=max_bytes)
        return self.news()

    def news(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            answer = self.receive()
            if answer.get("end"):
                return found
            if "error" in answer:
                found[answer.get("run", "")] = answer
                if "run" not in answer:
                    return found
                continue
            data = {name: b"".join(self.reader.data()) for name in answer["streams"]}
            found[answer["run"]] = Part(answer["status"], answer["streams"], data)

    def follow(self, run: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a status that ``until`` says yes to."""
        deadline = time.monotonic() + PATIENCE_S
        seen = -1
        while time.monotonic() < deadline:
            for part in self.poll(run, seen=seen, wait_s=5).values():
                assert isinstance(part, Part), part
                seen = part.status["serial"]
                if until(part.status):
                    return part.status
                assert part.status["status"] not in OVER, part.status
        raise AssertionError(f"run {run} did not get there in {PATIENCE_S} s")

    def wait(self, run: str) -> dict[str, Any]:
        """Wait for the verdict."""
        return self.follow(run, lambda status: status["status"] in OVER)

    def until(self, run: str, *names: str) -> dict[str, Any]:
        """Wait for one of these statuses."""
        return self.follow(run, lambda status: status["status"] in names)

    def run(self, *command: str, **fields: Any) -> dict[str, Any]:
        """Start a run and wait for its verdict; the answer has ``log`` too."""
        request = start_request(*command, **fields)
        answer = self.ask("start", **request)
        assert answer["outcome"] == "accepted", answer
        status = self.wait(answer["run_id"])
        log = self.poll(answer["run_id"], run_log=0, max_bytes=1 << 26)[answer["run_id"]].data["run.log"]
        return {**status, "log": log}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()


class Target:
    """A root, an interpreter for its supervisor, and every session that a test has with it."""

    def __init__(self, root: Path, home: Path, python: str) -> None:
        self.root, self.home, self.python = root, home, python
        self.layout = Layout(str(root))
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(root.parent), "LC_ALL": "C"}
        self._sessions: list[Session] = []

    def session(self, **environment: str) -> Session:
        session = Session(self, environment)
        self._sessions.append(session)
        return session

    def session_of(self, user: int) -> Session:
        """Return a session of another user; for root."""
        session = Session(self, user=user)
        self._sessions.append(session)
        return session

    def run(self, run_id: str) -> RunLayout:
        return self.layout.run(run_id)

    def close(self) -> None:
        """End every session, and every run that a test left."""
        for session in self._sessions:
            if session.process.poll() is None:
                session.kill()
            for stream in (session.process.stdin, session.process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()  # type: ignore[union-attr]
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Return the supervisors and guards of this root: what has one of its runs' ``alive`` open."""
        found = []
        mark = str(self.layout.runs)
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                folder = f"/proc/{name}/fd"
                links = [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]
                if any(link.startswith(mark) and link.endswith("/alive") for link in links):
                    found.append(int(name))
        return found


def start_request(*command: str, run_id: str = "", lineage: str = "", **fields: Any) -> dict[str, Any]:
    """Return a start request. ``fields`` go where they belong: ``try_number=2``, ``grace_s=0.1``, ``inherit=[...]``."""
    run_id = run_id or "run-" + uuid.uuid4().hex[:12]
    request: dict[str, Any] = {
        "run": {"id": run_id, "lineage": lineage or uuid.uuid4().hex, "experiment": "e"},
        "attempt": {"try_number": 1, "max_tries": 3, "clear_number": 0, "delivered": False},
        "snapshot": None,
        "environment": DEFAULT_ENVIRONMENT,
        "secret_environment": {},
        "launch": {"argv": list(command), "variables": {}, "secret_variables": {}, "inherit": []},
        "limits": {
            "max_run_duration_s": None, "grace_s": 5.0, "orphan_after_s": 0, "max_runs": None,
            "budget_bytes": None, "budget_age_s": None,
        },
        "context": {},
        "tools": {},
    }  # fmt: skip
    for name, value in fields.items():
        place = next((part for part in ("attempt", "launch", "limits") if name in request[part]), None)
        (request if place is None else request[place])[name] = value
    return request


@contextlib.contextmanager
def opened(root: Path, home: Path, python: str = sys.executable) -> Iterator[Target]:
    target = Target(root, home, python)
    try:
        yield target
    finally:
        target.close()


def wait_until(condition: Callable[[], Any], what: str = "that") -> Any:
    """Return what ``condition`` returns once it is true. For facts that send no event: a process gone, a file there."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        select.select([], [], [], 0.005)
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
