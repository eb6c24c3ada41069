"""The image that Docker tests stand on: a Debian with Python, made here without any registry. Standard library only.

``python -m scripts.base_image`` makes it, unless the engine has it by this very recipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts import docker_engine
from scripts.docker_engine import DockerEngineError

NAME = "scriptrun/test-base"
#: Says by which recipe an image was made. It does not begin as the labels do by which leaks are found: what is made
#: from an image inherits its labels.
RECIPE_LABEL = "tests.recipe"
SUITE = "bookworm"
#: What pip and uv need to build environments, and what tests look at processes with.
PACKAGES = ("ca-certificates", "procps", "python3-minimal", "python3-venv")
#: Where the certificates are that Debian's programs trust. The ones of this machine take their place, as in a company
#: whose images know its own authority.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
VARIABLES = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "SSL_CERT_FILE": CERTIFICATES,
    "PIP_CERT": CERTIFICATES,
}
COMMAND = ("/bin/bash",)
#: For dpkg, while it installs: the folder is thrown away when anything happens to it, and nobody reads manuals there.
_DPKG = """\
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
"""
_LEFT_OUT = ("./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/*", "./var/lib/apt/lists/*", "./var/log/*")
#: A mirror may stumble.
_ATTEMPTS = 3
_SHOWN_LOG_CHARACTERS = 2000


def reference() -> str:
    """Return the name of the image: its tag is the recipe, so that checkouts with different ones share an engine."""
    return f"{NAME}:{_recipe()}"


def ensure(at: str | None = None) -> str:
    """Return the reference of the image, made if the engine has none by this recipe. Raises ``DockerEngineError``."""
    with one_at_a_time():
        name = reference()
        if not is_there(at):
            reason = why_impossible()
            if reason is not None:
                raise DockerEngineError(f"{name} cannot be made: {reason}")
            _make(name, at)
    return name


def is_there(at: str | None = None) -> bool:
    """Whether the engine has the image by this recipe."""
    return recipe_of(reference(), at) is not None


def why_impossible() -> str | None:
    """Return why the image cannot be made here, or ``None``."""
    if shutil.which("debootstrap", path=_places()) is None:
        return "there is no debootstrap: on Debian, install debootstrap"
    if os.geteuid() != 0:
        return f"only root can run debootstrap: sudo {sys.executable} -m scripts.base_image"
    return None if _mirror() else f"apt knows no mirror that has Debian's {SUITE}"


def recipe_of(reference: str, at: str | None = None) -> str | None:
    """Return by which recipe an image was made, empty if nobody says; ``None`` where there is no such image."""
    try:
        labels = docker_engine.ask("image", "inspect", "--format", "{{json .Config.Labels}}", reference, at=at)
    except DockerEngineError:
        return None
    return str((json.loads(labels) or {}).get(RECIPE_LABEL, ""))


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock under which the images of tests are made."""
    with Path(tempfile.gettempdir(), f"scriptrun-{os.getuid()}-images.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _recipe() -> str:
    """Return a digest of all that the image depends on but the day it is made."""
    parts = [SUITE, PACKAGES, VARIABLES, COMMAND, _DPKG, _LEFT_OUT, _certificates().decode(errors="replace")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _certificates() -> bytes:
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else b""


def _mirror() -> str | None:
    """Return the first mirror that this machine's apt takes the suite from."""
    question = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, cwd="/", check=False).stdout
    except FileNotFoundError:
        return None
    found = (line.split() for line in answer.splitlines())
    return next((words[0] for words in found if words[1:] == [SUITE, "main"]), None)


def _make(name: str, at: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="scriptrun-base-image-") as folder:
        root = Path(folder, "root")
        for left in reversed(range(_ATTEMPTS)):
            if _bootstrap(root, is_last=not left):
                break
            shutil.rmtree(root)
        if certificates := _certificates():
            (root / CERTIFICATES.lstrip("/")).write_bytes(certificates)
        archive = Path(folder, "root.tar")
        left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
        subprocess.run(["tar", "--create", "--numeric-owner", "-C", root, *left_out, "-f", archive, "."], check=True)
        changes = [f"ENV {name}={value}" for name, value in VARIABLES.items()]
        changes += [f"CMD {json.dumps(COMMAND)}", f"LABEL {RECIPE_LABEL}={name.rpartition(':')[2]}"]
        options = [word for change in changes for word in ("--change", change)]
        docker_engine.ask("import", *options, str(archive), name, at=at)


def _bootstrap(root: Path, *, is_last: bool) -> bool:
    """Fill a folder with the system; ``False``: it failed, and may not the next time."""
    settings = root / "etc/dpkg/dpkg.cfg.d/scriptrun"
    settings.parent.mkdir(parents=True)
    settings.write_text(_DPKG)
    command: Sequence[str] = (
        "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), _mirror() or "",
    )  # fmt: skip
    environment = {**os.environ, "PATH": _places()}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    if done.returncode and is_last:
        raise DockerEngineError(f"debootstrap failed:\n{(done.stdout + done.stderr)[-_SHOWN_LOG_CHARACTERS:]}")
    settings.unlink(missing_ok=True)
    return done.returncode == 0


def _places() -> str:
    """Return where programs are looked for: few users have sbin in their PATH."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


if __name__ == "__main__":
    try:
        print(ensure())
    except DockerEngineError as error:
        sys.exit(str(error))
