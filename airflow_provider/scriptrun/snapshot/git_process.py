"""Running Git so that it does not ask, does not wait for ever, writes nothing and starts no hooks or monitors.

Filters do run where Git asks itself whether a file changed: without them every file of Git LFS would be dirty.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

#: One command of Git on a large repository takes a second or two; a hanging file system must not hold up a run.
TIMEOUT_SECONDS = 20.0

#: Configuration over the repository's own: what Git starts or fetches by it is of no use here, and may hang.
_HARMLESS = {
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "submodule.recurse": "false",
    "advice.addEmbeddedRepo": "false",
    "core.safecrlf": "false",
    "protocol.allow": "never",  # a partial clone would fetch what it lacks
}
#: What another Git (we may run below one of its hooks) left for its children, and would lead ours elsewhere.
_FOREIGN = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_ASKPASS",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DIR",
        "GIT_EXTERNAL_DIFF",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)


class GitError(Exception):
    """Git is not there, refused, or took too long; the argument says which, as a sentence without its full stop."""


class GitProcess:
    """A command of Git at work in a directory; several may be at work at once."""

    def __init__(
        self,
        directory: Path,
        arguments: Iterable[str],
        *,
        configuration: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        errors: int = subprocess.PIPE,
    ) -> None:
        """Start it. Raises ``GitError`` when there is no Git."""
        options: list[str] = []
        for key, value in {**_HARMLESS, **(configuration or {})}.items():
            options += ["-c", f"{key}={value}"]
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in _FOREIGN and not name.startswith("GIT_TRACE")
        }
        environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(variables or {})}
        try:
            self._process = subprocess.Popen(
                ["git", "--no-pager", *options, *arguments],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # so that what it starts can be ended with it
            )
        except FileNotFoundError as error:
            missing = "git is not installed" if error.filename == "git" else "the source directory is not there"
            raise GitError(missing) from error
        except OSError as error:
            raise GitError(f"git cannot be started: {error.strerror}") from error

    def output(self, *, also: int | None = None) -> bytes:
        """Return what it printed. ``also``: an exit code that is no failure. Raises ``GitError``."""
        try:
            output, errors = self._process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise GitError(f"git did not answer within {TIMEOUT_SECONDS:g} seconds") from error
        finally:
            self.end()
        if self._process.returncode not in (0, also):
            raise GitError(_reason(errors.decode("utf-8", "replace"), self._process.returncode))
        return output

    def output_up_to(self, limit_bytes: int) -> bytes | None:
        """Return what it printed; ``None``, and it is ended, when that is more than the limit. Raises ``GitError``."""
        stream = self._process.stdout
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(TIMEOUT_SECONDS, give_up)
        timer.start()
        try:
            output = stream.read(limit_bytes + 1) if stream else b""
            if len(output) > limit_bytes:
                return None
            code = self._process.wait()
        finally:
            timer.cancel()
            self.end()
        if late.is_set():
            raise GitError(f"git did not answer within {TIMEOUT_SECONDS:g} seconds")
        if code != 0:
            raise GitError(_reason("", code))
        return output

    def end(self) -> None:
        """See it gone, with what it started."""
        if self._process.poll() is None:
            self._kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


#: What Git says (in the C locale), and what a run record says about it.
_KNOWN = {
    "not a git repository": "the source directory is in no Git repository",
    "detected dubious ownership": "the repository belongs to another user and Git's safe.directory does not list it",
    "unsafe repository": "the repository belongs to another user and Git's safe.directory does not list it",
    "must be run in a work tree": "the source directory is inside a bare repository",
}


def _reason(errors: str, code: int) -> str:
    for text, reason in _KNOWN.items():
        if text in errors:
            return reason
    first = next((line for line in errors.splitlines() if line.startswith(("fatal:", "error:"))), "")
    return f"git failed with exit code {code}" + (f" ({first})" if first else "")
