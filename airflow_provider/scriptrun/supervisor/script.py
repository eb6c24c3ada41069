"""Starting a program as a child that dies with its supervisor, in a session of its own, with nothing of ours."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from . import prctl

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Callable, Dict, List, NoReturn, Optional

    from .identity import Identity

FAILED_EXIT_CODE = 127


class LaunchError(Exception):
    """The command could not be executed; the message says why and what to check."""


def fork(body: Callable[[], None], output: int, keep: Optional[int] = None) -> int:
    """Fork a child that runs ``body``: session leader, no input, both outputs into ``output``; return its pid.

    Signals are as a login shell has them. ``body`` gets no descriptor of ours but ``keep``; it either executes a
    program or returns, which ends the child. It dies with this process, by the kernel (see ``prctl``).
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = FAILED_EXIT_CODE
    try:
        signal.set_wakeup_fd(-1)
        prctl.die_with(parent)
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        close_all_but({0, 1, 2} if keep is None else {0, 1, 2, keep})
        default_signals()
        body()
        code = 0
    except BaseException:  # noqa: BLE001  # a child must never go on as its parent
        import traceback

        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(code)


def execute(
    command: List[str], variables: Dict[str, str], folder: str, output: int, user: Optional[Identity] = None
) -> int:
    """Start ``command`` in ``folder``, as ``user``, and return its pid once it runs.

    Raises ``LaunchError`` when it cannot.

    Text goes to the program as UTF-8 whatever the locale here; bytes that were not come back as they were (PEP 383).
    """
    news, failed = os.pipe()  # closed by a successful exec: descriptors do not survive it (PEP 446)
    arguments = [_encode(item) for item in command]
    environment = {_encode(name): _encode(value) for name, value in variables.items()}

    def body() -> None:
        try:
            if user is not None:
                user.assume()
            os.chdir(folder)
            os.execvpe(arguments[0], arguments, environment)  # noqa: S606  # what all of this is for
        except OSError as error:
            os.write(failed, b"%d" % (error.errno or 0))
        except ValueError as error:  # a zero byte in an argument
            os.write(failed, b"0 " + str(error).encode("utf-8", "replace"))
        os._exit(FAILED_EXIT_CODE)

    try:
        pid = fork(body, output, failed)
    finally:
        os.close(failed)
    try:
        said = b""
        while True:
            block = os.read(news, 4096)
            if not block:
                break
            said += block
    finally:
        os.close(news)
    if said:
        os.waitpid(pid, 0)
        raise LaunchError(_explain(command[0], folder, said, variables.get("PATH", "")))
    return pid


def close_all_but(keep: "set[int]") -> None:
    """Close every descriptor but these."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if int(name) not in keep:
                with contextlib.suppress(OSError):  # the one that listed the folder
                    os.close(int(name))
        return


def default_signals() -> None:
    """Undo every handler, ignored signal and mask: Python ignores SIGPIPE and SIGXFSZ, and we some more."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(OSError, ValueError):  # the C library keeps some for itself
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # another lone surrogate than those of PEP 383
        return text.encode("utf-8", "surrogatepass")


def _explain(program: str, folder: str, said: bytes, path: str) -> str:
    number, _, text = said.partition(b" ")
    code = int(number)
    if code == 0:
        return "%r cannot be executed: %s." % (program, text.decode("utf-8", "replace"))
    message = "%r cannot be executed: %s." % (program, os.strerror(code))
    place = os.path.join(folder, program)
    if code == 2 and "/" not in program:  # ENOENT
        hint = "There is no such program on the PATH %s." % path
        if os.path.exists(place):
            hint += " There is one in the source directory: write ./%s." % program
    elif code == 2 and os.path.exists(place):
        hint = "The file is there, so it is the interpreter that its first line names which is not."
    elif code == 13 and os.path.exists(place):  # EACCES
        hint = "Is it executable? Try chmod +x, or name the interpreter in the command."
    elif code == 8:  # ENOEXEC
        hint = "Has it a first line such as #!/bin/sh, and is it for this kind of machine (%s)?" % os.uname().machine
    else:
        return message
    return "%s %s" % (message, hint)


def end(code: int) -> "NoReturn":
    """Leave a forked process without the tidying up that belongs to its parent."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
