"""The keeper: a small container beside the volume, in which the supervisor answers. It comes when it is needed, and
goes when nobody has asked it for anything for some minutes. Runs do not notice.
"""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets.docker.engine import VOLUME_LABEL, Engine, EngineError
from airflow_provider.scriptrun.targets.docker.labels import KEEPER, KIND_LABEL
from airflow_provider.scriptrun.targets.install import PYTHON_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where the volume is in every container of ours.
ROOT = "/scriptrun"
#: The keeper leaves after so long without a session.
IDLE_S = 300
#: Another one's keeper of the same name may be about to come, or to go.
PATIENCE_S, PAUSE_S = 60.0, 0.05
CONFLICT, NOT_FOUND = 409, 404
#: What the keeper does all day: it lets others go through the root (a run's script may be of another user), notes
#: which engine the volume is on, buries orphans, and ends when no session goes on.
PROGRAM = """
import os, signal, sys, time
root, name, idle = sys.argv[1], sys.argv[2], float(sys.argv[3])
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
os.umask(0o077)
os.chmod(root, 0o711)
for folder in ("runs", "checkpoints"):
    os.makedirs(os.path.join(root, folder), exist_ok=True)
    os.chmod(os.path.join(root, folder), 0o711)
def note(path, text):
    if not os.path.exists(path):
        with open(path + ".new", "w") as file:
            file.write(text + "\\n")
        try:
            os.link(path + ".new", path)
        except FileExistsError:
            pass
        os.unlink(path + ".new")
note(os.path.join(root, "engine-name"), name)
note(os.path.join(root, "engine"), "docker-" + os.urandom(16).hex())
seen = time.monotonic()
while time.monotonic() - seen < idle:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    if any(entry.isdigit() and entry != "1" for entry in os.listdir("/proc")):
        seen = time.monotonic()
    time.sleep(1.0)
"""


class Keeper:
    """The keeper of one volume on one engine. Safe to use from several threads.

    :param engine: where it runs.
    :param volume: the volume's name.
    :param interpreter: the Python in its image.
    :param image: returns the image to run it from, present on the engine.
    """

    def __init__(self, engine: Engine, volume: str, interpreter: str, image: Callable[[], str]) -> None:
        self._engine, self._volume, self._interpreter, self._image = engine, volume, interpreter, image
        self._lock = threading.Lock()
        self._name: str | None = None
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
        digest = hashlib.sha256(f"{image}\0{self._interpreter}\0{PROGRAM}".encode()).hexdigest()
        name = f"{self._volume}-keeper-{digest[:12]}"
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_running(name):
            self._start(name, image)
            if time.monotonic() > deadline:
                raise TargetUnreachableError(
                    f"The container {name}, which answers for {self._engine.name}, does not come up",
                    advice=f"Look at it with docker inspect {name}; it is safe to remove.",
                )
        return name

    def _is_running(self, name: str) -> bool:
        document = self._engine.container(name)
        return document is not None and bool(document["State"]["Running"])

    def _start(self, name: str, image: str) -> None:
        """Start it, unless another one does."""
        self._make_volume()
        engine_name = str(self._engine.call("its description", lambda client: client.info()).get("Name") or "")
        try:
            self._engine.call(f"the container {name}", lambda client: self._create(client, name, image, engine_name))
            self._engine.call(f"the container {name}", lambda client: client.start(name))
        except EngineError as error:
            if error.code in (CONFLICT, NOT_FOUND) and self._engine.image(image):
                time.sleep(PAUSE_S)  # somebody else makes it, or it is on its way out
                self._remove_dead(name)
                return
            self._remove_dead(name)
            raise TargetRefusedError(
                f"No container of the image {image} starts on {self._engine.name}",
                why=error.why,
                advice=f"The image needs {self._interpreter}, a Python 3.8 or later: name another base_image or "
                "interpreter in the connection.",
            ) from None

    def _remove_dead(self, name: str) -> None:
        document = self._engine.container(name)
        if document is not None and document["State"]["Status"] in ("created", "exited", "dead"):
            identifier = document["Id"]  # not the name: that may be another one's by then
            self._engine.find(f"the container {name}", lambda client: client.remove_container(identifier))

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
