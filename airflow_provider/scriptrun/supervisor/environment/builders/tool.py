"""Running a build tool: its output goes on line by line, without any secret; its last lines are kept."""

import base64
import collections
import functools
import os
import subprocess
import sys
from typing import Deque, Dict, Iterable, List, NamedTuple, Optional
from urllib.parse import unquote

from ...prctl import die_with

#: A run's failure message shows this many last lines of the tool.
TAIL_LINES = 20
#: A line that never ends is passed on in parts of this size.
LONGEST_LINE_BYTES = 64 * 1024
#: What is shorter is not looked for by itself: it would turn up in ordinary words, and hides nothing.
_SHORTEST_SECRET = 4
_MASK = b"****"


class Ended(NamedTuple):
    """How a tool ended."""

    code: int  #: exit code, or minus the signal's number
    tail: str  #: its last lines, without secrets


def run(
    argv: List[str],
    *,
    environ: Dict[str, str],
    secrets: Iterable[str],
    folder: str = "/",
    output: Optional[str] = None,
    quiet: bool = False,
) -> Ended:
    """Run a tool to its end; pass on what it prints to our standard output with ``secrets`` replaced.

    ``output`` names a file that receives its standard output instead; ``quiet`` passes nothing on. When we are
    killed, it dies at once (Linux): nobody else writes into a folder whose builder is dead. Raises ``OSError`` when
    it cannot be started.
    """
    needles = needles_of(secrets)
    tail: Deque[str] = collections.deque(maxlen=TAIL_LINES)
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600) if output else None
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if target is None else target,
            stderr=subprocess.STDOUT if target is None else subprocess.PIPE,
            env=environ,
            cwd=folder,
            preexec_fn=functools.partial(die_with, os.getpid()),  # this process has one thread
        )
    finally:
        if target is not None:
            os.close(target)
    stream = process.stdout if target is None else process.stderr
    if stream is None:
        raise OSError("%s was started without a pipe" % argv[0])
    with stream:
        while True:
            line = stream.readline(LONGEST_LINE_BYTES)
            if not line:
                break
            clean = scrub(line, needles)
            if not quiet:
                _write(clean)
            tail.append(clean.decode("utf-8", "replace").rstrip())
    return Ended(process.wait(), "\n".join(tail))


def needles_of(secrets: Iterable[str]) -> List[bytes]:
    """Return every form in which a value of ``secrets`` could be printed, longest first.

    A value ``user:password``, alone or in a URL, is also looked for as the password alone, unquoted, and as a Basic
    authorization.
    """
    found = set()
    for secret in secrets:
        user = secret.partition("://")[2].rpartition("@")[0]
        spellings = [text for whole in (secret, user) for text in (whole, unquote(whole))]
        forms = set(spellings)
        for text in spellings:
            forms.add(base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii"))
            if ":" in text:
                forms.add(text.partition(":")[2])
        found |= {text.encode("utf-8", "surrogateescape") for text in forms if len(text) >= _SHORTEST_SECRET}
    return sorted(found, key=len, reverse=True)


def scrub(line: bytes, needles: List[bytes]) -> bytes:
    """Return ``line`` with each of ``needles`` replaced."""
    for needle in needles:
        line = line.replace(needle, _MASK)
    return line


def say(text: str) -> None:
    """Print one line to the build's log, now."""
    _write((text.rstrip("\n") + "\n").encode("utf-8", "replace"))


def _write(data: bytes) -> None:
    sys.stdout.flush()
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:  # captured by a test as text
        sys.stdout.write(data.decode("utf-8", "replace"))
        return
    stream.write(data)
    stream.flush()
