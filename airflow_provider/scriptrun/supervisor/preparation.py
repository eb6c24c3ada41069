"""The first phase of a run, in a child of its supervisor: the working copy, then the environment.

What it and the tools it starts print goes to ``build.log``; what comes of it, to ``prepared.json``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time

from . import diagnosis, variables
from .protocol.atomic import write_atomic
from .protocol.status import Reason

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from .ask import StartRequest
    from .layout import Layout, RunLayout

_WRITABLE = 0o755
_SHELL = "/bin/sh"


def prepare(layout: Layout, run: RunLayout, ask: StartRequest) -> None:
    """Prepare the run, and write ``prepared.json``: what was prepared, or ``{"error": ...}``. For the forked child."""
    sys.stdout = sys.stderr = io.TextIOWrapper(
        io.FileIO(1, "w", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    os.chdir(run.folder)
    _clear_variables(run)
    try:
        result = _prepare(layout, run, ask)
    except OSError as error:
        diagnosis.print_exception()
        result = _failed(Reason.TARGET, "%s: %s" % (error.filename or layout.root, error.strerror or error))
    if os.path.isdir(run.cache):  # gigabytes, that no other run looks at
        import shutil

        shutil.rmtree(run.cache, ignore_errors=True)
    write_atomic(run.prepared, json.dumps(result))


def _prepare(layout: Layout, run: RunLayout, ask: StartRequest) -> Dict[str, Any]:
    from .environment import EnvironmentFailed
    from .store.checkout import CheckoutError

    begin = time.monotonic()
    try:
        code = _checkout(layout, run, ask)
    except CheckoutError as error:
        return _failed(Reason.SNAPSHOT, "The working copy cannot be made: %s" % error)
    copied = time.monotonic()
    try:
        _stage(layout, run, ask)
    except CheckoutError as error:
        return _failed(Reason.SNAPSHOT, "An input cannot be brought into place: %s" % error)
    staged = time.monotonic()
    try:
        found = _environment(layout, run, ask)
    except EnvironmentFailed as error:
        failed = _failed(Reason.ENVIRONMENT, error.message, error.advice)
        failed["error"]["resolution"] = error.resolution
        return failed
    ready = time.monotonic()
    phases = {"code": round(copied - begin, 4), "environment": round(ready - staged, 4)}
    if ask.inputs:
        phases["inputs"] = round(staged - copied, 4)
    return {"code": code, "environment": found, "phases": phases}


def _checkout(layout: Layout, run: RunLayout, ask: StartRequest) -> Dict[str, int]:
    code = {"files": 0, "bytes": 0}
    if ask.snapshot is None:
        os.mkdir(run.code, _WRITABLE)
    else:
        from .store.checkout import checkout

        facts = checkout(layout, ask.snapshot, run.code)
        code = {"files": facts.files, "bytes": facts.bytes}
    for folder in (run.outputs, run.logs, run.inputs):
        with contextlib.suppress(FileExistsError):  # the snapshot has one of its own
            os.mkdir(folder, _WRITABLE)
    return code


def _stage(layout: Layout, run: RunLayout, ask: StartRequest) -> None:
    """Make this run's own copy of each input."""
    if not ask.inputs:
        return
    from .store.checkout import CheckoutError, checkout, checkout_file

    if os.path.islink(run.inputs) or not os.path.isdir(run.inputs):
        raise CheckoutError("inputs is no folder in the snapshot")
    for one in ask.inputs:
        place = os.path.join(run.inputs, one.name)
        if os.path.lexists(place):
            raise CheckoutError("the snapshot has an inputs/%s of its own" % one.name)
        copy = checkout_file if one.is_file else checkout
        copy(layout, one.snapshot, place)


def _environment(layout: Layout, run: RunLayout, ask: StartRequest) -> Dict[str, Any]:
    from . import environment

    prepared = environment.prepare(layout, ask.environment, secrets=ask.secret_environment, tools=ask.tools)
    found: Dict[str, Any] = dict(prepared._asdict())
    if prepared.packages:
        with open(prepared.packages, "rb") as file:
            write_atomic(run.packages, file.read())
    found["bin_dirs"] = [*_shim(run, prepared.interpreter, prepared.bin_dirs), *prepared.bin_dirs]
    return found


def _shim(run: RunLayout, interpreter: str, folders: List[str]) -> List[str]:
    """Make a ``python`` that is the environment's interpreter where the first one found in its folders is not."""
    if not interpreter:
        return []
    for folder in folders:
        python = os.path.join(folder, "python")
        if os.path.exists(python):
            if folder == os.path.dirname(interpreter) and os.path.samefile(python, interpreter):
                return []
            break
    os.mkdir(run.bin, _WRITABLE)
    quoted = "'%s'" % interpreter.replace("'", "'\\''")
    for name in ("python", "python3"):
        path = os.path.join(run.bin, name)
        if os.statvfs(run.bin).f_flag & os.ST_NOEXEC or not os.path.exists(_SHELL):
            os.symlink(interpreter, path)  # no script can be executed here; what a link leads to can
        else:
            write_atomic(path, os.fsencode('#!%s\nexec %s "$@"\n' % (_SHELL, quoted)), mode=_WRITABLE)
    return [run.bin]


def _clear_variables(run: RunLayout) -> None:
    """What builds packages runs foreign code too: no secret of Airflow's is for it. And it is a process of this run."""
    from fnmatch import fnmatchcase

    for name in list(os.environ):
        if any(fnmatchcase(name, pattern) for pattern in variables.NEVER):
            del os.environ[name]
    os.environ[variables.RUN_ID] = run.id


def _failed(reason: Reason, message: str, advice: Any = None) -> Dict[str, Any]:
    return {"error": {"reason": reason.value, "message": message, "advice": advice}}
