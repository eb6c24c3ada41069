"""The keeper: a small container beside the volume, in which the supervisor answers. It comes when it is needed, and
goes when nobody has asked it for anything for some minutes. Runs do not notice.
"""

from __future__ import annotations

import errno
import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets.docker.engine import (
    VOLUME_LABEL,
    Engine,
    EngineError,
    EngineFullError,
    full,
)
from airflow_provider.scriptrun.targets.docker.labels import KEEPER, KIND_LABEL
from airflow_provider.scriptrun.targets.install import PYTHON_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider.scriptrun.targets.docker.images import Image

#: Where the volume is in every container of ours.
ROOT = "/scriptrun"
#: The keeper leaves after so long without a session.
IDLE_S = 300
#: Another one's keeper of the same name may be about to come, or to go.
PATIENCE_S, PAUSE_S = 60.0, 0.05
CONFLICT, NOT_FOUND = 409, 404
#: What the keeper does all day: it lets others go through the root (a run's script may be of another user), notes
#: which engine the volume is on, buries orphans, and ends when no session does anything: of one whose engine was killed
#: and came back, nobody holds the other end, and it waits for ever.
PROGRAM = """
import os, signal, sys, time
root, name, idle = sys.argv[1], sys.argv[2], float(sys.argv[3])
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.umask(0o077)
def note(path, text):
    if not os.path.exists(path):
        with open(path + ".new", "w") as file:
            file.write(text + "\\n")
        try:
            os.link(path + ".new", path)
        except FileExistsError:
            pass
        os.unlink(path + ".new")
def doings():
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry != "1":
            try:
                with open("/proc/%s/status" % entry) as file:
                    found[entry] = [line for line in file if "ctxt_switches" in line]
            except OSError:
                pass
    return found
try:
    os.chmod(root, 0o711)
    for folder in ("runs", "checkpoints"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
        os.chmod(os.path.join(root, folder), 0o711)
    note(os.path.join(root, "engine-name"), name)
    note(os.path.join(root, "engine"), "docker-" + os.urandom(16).hex())
except OSError as error:
    print("failed", error.errno, error.strerror, error.filename, flush=True)
    sys.exit(1)
print("ready", flush=True)
seen, before = time.monotonic(), {}
while time.monotonic() - seen < idle:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    now = doings()
    if now and now != before:
        seen = time.monotonic()
    before = now
    time.sleep(1.0)
"""
#: What it says when it is ready for sessions; anything else is why it is not.
READY, FAILED = "ready", "failed "
_MAX_ANSWER_BYTES = 4096
#: A container that another one has made is started by then, or that one has died.
UNSTARTED_S = 10.0
#: One that ends without a word may have been removed by a person; so many were not.
SILENT_DEATHS = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Keeper:
    """The keeper of one volume on one engine. Safe to use from several threads.

    :param engine: where it runs.
    :param volume: the volume's name.
    :param interpreter: the Python in its image.
    :param image: returns the image to run it from, present on the engine.
    :param known: one that was there lately, for the first to try.
    """

    def __init__(
        self, engine: Engine, volume: str, interpreter: str, image: Callable[[], Image], *, known: str | None = None
    ) -> None:
        self._engine, self._volume, self._interpreter, self._image = engine, volume, interpreter, image
        self._lock = threading.Lock()
        self._name = known
        self._mountpoint: str | None = None

    def name(self) -> str:
        """Return the name of the keeper, which runs; see :meth:`gone`."""
        with self._lock:
            if self._name is None:
                self._name = self._started()
            return self._name

    def gone(self) -> None:
        """Say that it does not answer any more: it is looked for anew the next time."""
        with self._lock:
            self._name = None

    def mountpoint(self) -> str:
        """Return where the engine keeps the volume: a path of its own machine."""
        if self._mountpoint is None:
            what = f"the volume {self._volume}"
            document = self._engine.call(what, lambda client: client.inspect_volume(self._volume))
            self._mountpoint = str(document["Mountpoint"])
        return self._mountpoint

    def _started(self) -> str:
        image = self._image()
        digest = hashlib.sha256(f"{image.id}\0{self._interpreter}\0{PROGRAM}".encode()).hexdigest()
        name = f"{self._volume}-keeper-{digest[:12]}"
        began, deaths = time.monotonic(), 0
        while not self._is_running(name):
            waited = time.monotonic() - began
            deaths += not self._start(name, image, is_old=waited > UNSTARTED_S)
            if deaths >= SILENT_DEATHS:
                raise self._useless(image, "It ends without a word")
            if waited > PATIENCE_S:
                raise TargetUnreachableError(
                    f"The container {name}, which answers for {self._engine.name}, does not come up",
                    advice=f"Look at it with docker inspect {name}; it is safe to remove.",
                )
        return name

    def _is_running(self, name: str) -> bool:
        document = self._engine.container(name)
        return document is not None and bool(document["State"]["Running"])

    def _start(self, name: str, image: Image, *, is_old: bool) -> bool:
        """Start it, unless another one does; return whether it has come so far, or whether nobody knows.

        :param is_old: whether one that was made and not started is left by somebody who died.
        """
        self._make_volume()
        engine_name = str(self._engine.call("its description", lambda client: client.info()).get("Name") or "")
        try:
            self._engine.call(f"the container {name}", lambda client: self._create(client, name, image.id, engine_name))
            answer, errors = self._begun(name)
        except EngineFullError:
            self._remove_dead(name, ("created", "exited", "dead"))
            raise
        except EngineError as error:
            if error.code in (CONFLICT, NOT_FOUND) and self._engine.image(image.id):
                time.sleep(PAUSE_S)  # somebody else makes it, or it is on its way out
                self._remove_dead(name, ("created", "exited", "dead") if is_old else ("exited", "dead"))
                return True
            self._remove_dead(name, ("created", "exited", "dead"))
            raise self._useless(image, error.why) from None
        if answer.startswith(FAILED):
            raise self._unfit(answer.removeprefix(FAILED))
        if answer != READY and (answer or errors):
            raise self._useless(image, f"It said: {answer or errors}")
        return answer == READY

    def _begun(self, name: str) -> tuple[str, str]:
        """Start it, and return what it says of itself, and what is said instead where that is nothing."""
        path = f"/containers/{name}/attach?stream=1&stdout=1&stderr=1"
        stream = self._engine.hijack(f"the streams of {name}", path)
        try:
            self._engine.call(f"the container {name}", lambda client: client.start(name))
            answer = stream.line(_MAX_ANSWER_BYTES, PATIENCE_S)
            return answer, stream.errors.decode("utf-8", "replace").strip()
        except OSError as error:
            raise TargetUnreachableError(f"The connection to {self._engine.name} broke", why=str(error)) from None
        finally:
            stream.close()

    def _unfit(self, said: str) -> TargetRefusedError:
        """Return the error of a volume that cannot be used: ``said`` is an errno, and what it means."""
        number, _, why = said.partition(" ")
        what = f"The volume {self._volume} on {self._engine.name} cannot be used"
        if number.isdigit() and int(number) in _FULL:
            return full(self._engine.name, what, why)
        return TargetRefusedError(what, why=why, advice="Is its disk mounted for reading alone, or another user's?")

    def _useless(self, image: Image, why: str | None) -> TargetRefusedError:
        return TargetRefusedError(
            f"No container of the image {image.name} starts on {self._engine.name}",
            why=why,
            advice=f"The image needs {self._interpreter}, a Python 3.8 or later: name another base_image or "
            "interpreter in the connection.",
        )

    def _remove_dead(self, name: str, states: tuple[str, ...]) -> None:
        document = self._engine.container(name)
        if document is not None and document["State"]["Status"] in states:
            identifier = document["Id"]  # not the name: that may be another one's by then
            self._engine.find(f"the container {name}", lambda client: client.remove_container(identifier, v=True))

    def _make_volume(self) -> None:
        labels = {VOLUME_LABEL: self._volume}
        what = f"the volume {self._volume}"
        self._engine.call(what, lambda client: client.create_volume(self._volume, labels=labels))

    def _create(self, client: Any, name: str, image: str, engine_name: str) -> Any:
        program = [self._interpreter, *PYTHON_OPTIONS, "-c", PROGRAM, ROOT, engine_name, str(IDLE_S)]
        host_config = client.create_host_config(
            binds={self._volume: {"bind": ROOT, "mode": "rw"}},
            auto_remove=True,
            network_mode="none",
            log_config={"Type": "none"},
        )
        return client.create_container(
            image,
            name=name,
            entrypoint=program,
            command=[],
            user="0",
            working_dir="/",
            labels={VOLUME_LABEL: self._volume, KIND_LABEL: KEEPER},
            host_config=host_config,
        )
