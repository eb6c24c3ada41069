"""Resolving a recipe and building its environment, whichever tool the target has; what a reuse never imports."""

import os
import shutil
import time
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple

from .. import flock
from ..hello import which
from ..layout import EnvironmentLayout, Layout, make_folder
from ..lent import hold
from ..protocol.atomic import write_atomic
from .builders import IndexUnreachable, Order, conda, pip, uv
from .builders.index import conda_environment, pip_environment, uv_environment
from .builders.tool import Ended, run, say
from .kept_lock import KeptLock, load, now, save, usable
from .key import environment_key
from .packages import package_list, site_folder
from .python import Interpreter, probe
from .shelf import Complete, adopt, publish, remove, sweep, write_complete

#: After an index could not be reached, the old lock is used without asking again for this long.
RETRY_UNREACHABLE_AFTER_S = 3600.0


class Tool(NamedTuple):
    """What builds."""

    name: str
    module: ModuleType  #: has ``resolve(order)`` and ``install(order, lock, folder)``
    program: str
    environment: Callable[..., Dict[str, str]]  #: its variables, see ``builders/index.py``
    is_relocatable: bool  #: what it builds may be renamed


class Made(NamedTuple):
    """An environment that is there now."""

    key: str
    complete: Complete
    reused: bool
    lock_reused: bool


class Workshop:
    """Everything that making one plan's environment needs."""

    def __init__(
        self,
        layout: Layout,
        plan: Dict[str, Any],
        interpreter: Interpreter,
        secrets: Dict[str, str],
        tools: Dict[str, str],
    ) -> None:
        self.layout, self.plan, self.interpreter, self.secrets = layout, plan, interpreter, secrets
        self.tool = choose_tool(layout, plan, interpreter, tools)

    def make(self, recipe: str, kept: Optional[KeptLock]) -> Made:
        """Resolve where there is no lock to use (``kept``), build where nobody has: each once for all runs."""
        if kept is not None:
            return self._build(kept, lock_reused=True)
        with _turn(self.layout.environment_flock(recipe), "another run that resolves the same requirements"):
            kept = usable(self.layout, self.plan, recipe)
            if kept is not None:
                lock_reused = True
            elif self.plan["kind"] == "conda":
                return self._solve_and_build(recipe)
            else:
                kept, lock_reused = self._resolve(recipe)
        return self._build(kept, lock_reused)

    def _resolve(self, recipe: str) -> Tuple[KeptLock, bool]:
        """Return a new lock, or the old one where no index can be reached and nobody asked for a refresh."""
        sweep(self.layout, recipe)
        draft = make_folder(self.layout.environment_draft(recipe))
        try:
            lock = self.tool.module.resolve(self._order(draft))
            kept = KeptLock(lock, environment_key(self.plan, self.interpreter, lock), now())
        except IndexUnreachable as error:
            return self._old(recipe, error), True
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        save(self.layout, recipe, kept)
        return kept, False

    def _solve_and_build(self, recipe: str) -> Made:
        """Make a conda environment; its lock is kept once it stands, so that a failure leaves the old one in use."""
        lock = conda.resolve(self._order(""))
        kept = KeptLock(lock, environment_key(self.plan, self.interpreter, lock), now())
        try:
            made = self._build(kept, lock_reused=False)
        except IndexUnreachable as error:
            return self._build(self._old(recipe, error), lock_reused=True)
        save(self.layout, recipe, kept)
        return made

    def _old(self, recipe: str, error: IndexUnreachable) -> KeptLock:
        old = load(self.layout, recipe)
        if old is None or self.plan["delivery"].get("refresh"):
            raise error
        say("warning: %s" % error.message)
        say("warning: using what was resolved %.1f days ago" % ((now() - old.resolved_at) / 86_400))
        kept = old._replace(retry_at=now() + RETRY_UNREACHABLE_AFTER_S)
        save(self.layout, recipe, kept)
        return kept

    def _build(self, kept: KeptLock, lock_reused: bool) -> Made:
        key = kept.environment
        complete = adopt(self.layout, key)
        if complete is not None:
            return Made(key, complete, True, lock_reused)
        with _turn(self.layout.environment_flock(key), "environment %s, which another run builds" % key[:12]):
            complete = adopt(self.layout, key)
            if complete is not None:
                return Made(key, complete, True, lock_reused)
            started = time.monotonic()
            say("building environment %s with %s" % (key[:12], self.tool.name))
            sweep(self.layout, key)
            draft = make_folder(self.layout.environment_draft(key))
            try:
                complete = self._build_in(draft, kept)
            finally:
                sweep(self.layout, key)  # that of a killed builder once more: what it had started may have written on
        seconds = time.monotonic() - started
        say("built environment %s in %.1f s; packages: %d" % (key[:12], seconds, complete.packages))
        return Made(key, complete, False, lock_reused)

    def _build_in(self, draft: str, kept: KeptLock) -> Complete:
        final = self.layout.environment(kept.environment)
        folder = os.path.join(draft, "environment") if self.tool.is_relocatable else final
        if not self.tool.is_relocatable:
            remove(self.layout, final)  # what a builder that died left there
        self.tool.module.install(self._order(draft), kept.lock, folder)
        parts = EnvironmentLayout(folder)
        interpreter = self.interpreter
        variables: Dict[str, str] = {}
        if self.plan["kind"] == "conda":
            interpreter = probe(self.layout, parts.python)
            variables = conda.activation(folder)
        packages = package_list([site_folder(folder, interpreter.version, interpreter.implementation)])
        complete = Complete(interpreter.version, packages.count("\n"), self.tool.name, now(), variables)
        write_complete(parts, complete, packages)
        if self.tool.is_relocatable:
            publish(folder, self.layout, kept.environment)
        return complete

    def _order(self, draft: str) -> Order:
        ca_file: Optional[str] = None
        certificates = self.plan["delivery"].get("ca")
        if certificates and draft:
            ca_file = os.path.join(draft, "ca.pem")
            write_atomic(ca_file, certificates)
        environ = self.tool.environment(self.plan, self.secrets, os.environ, ca_file)
        return Order(self.plan, self.interpreter, self.tool.program, environ, list(self.secrets.values()), draft)


@contextmanager
def _turn(path: str, waiting_for: str) -> Iterator[None]:
    """Be the one who holds the lock of ``path``; whoever comes while another does says what it waits for."""

    def say_so() -> None:
        say("waiting for %s ..." % waiting_for)

    make_folder(os.path.dirname(path))
    descriptor = flock.wait(path, busy=say_so)
    try:
        yield
    finally:
        os.close(descriptor)


def choose_tool(layout: Layout, plan: Dict[str, Any], interpreter: Interpreter, tools: Dict[str, str]) -> Tool:
    """Return what builds ``plan`` here: uv, else pip for requirements; conda or its like for packages of conda."""
    if plan["kind"] == "conda":
        name, path = conda.find_program(tools)
        return Tool(name, conda, path, conda_environment, is_relocatable=False)
    program = tools.get("uv") or which("uv")
    if program and _runs(layout, program):
        return Tool("uv", uv, program, uv_environment, is_relocatable=True)
    return Tool("pip", pip, interpreter.executable, pip_environment, is_relocatable=False)


def _runs(layout: Layout, program: str) -> bool:
    """Whether a program runs here, if a worker lent it; it stays here until this process has ended."""
    tool = layout.lent_tool(program)
    if tool is None:
        return True
    hold(tool)
    try:
        ended = run([program, "--version"], environ=dict(os.environ), secrets=(), quiet=True)
    except OSError as error:  # noexec, or a format that this machine does not know
        ended = Ended(error.errno or 1, error.strerror or str(error))
    if ended.code:
        say("warning: the %s that was sent here does not run (%s)" % (os.path.basename(program), ended.tail.strip()))
    return ended.code == 0
