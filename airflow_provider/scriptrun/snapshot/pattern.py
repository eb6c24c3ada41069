"""One line of an ignore file, as Git reads it: see gitignore(5), and ``dir.c`` and ``wildmatch.c`` in Git's source.

Everything is bytes: for Git ``?`` is one byte, whatever letter it belongs to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPECIAL = re.compile(rb"[*?\[\\]")
_ALNUM = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_PUNCT = frozenset(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
#: POSIX classes in the C locale.
_CLASSES = {
    b"alnum": _ALNUM,
    b"alpha": frozenset(c for c in _ALNUM if chr(c).isalpha()),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset([*range(32), 127]),
    b"digit": frozenset(b"0123456789"),
    b"graph": _ALNUM | _PUNCT,
    b"lower": frozenset(b"abcdefghijklmnopqrstuvwxyz"),
    b"print": _ALNUM | _PUNCT | frozenset(b" "),
    b"punct": _PUNCT,
    b"space": frozenset(b" \t\n\v\f\r"),
    b"upper": frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
}
_SLASH = ord("/")
#: A star, in a pattern by name and in one by path.
_STAR = {False: b".*", True: b"[^/]*"}


class _NeverMatchesError(Exception):
    """The pattern is malformed; for Git such a pattern matches nothing."""


@dataclass(frozen=True)
class Pattern:
    """A pattern of an ignore file.

    ``regex`` must match a whole name when ``by_name``, else the whole path below the folder of the ignore file.
    """

    regex: bytes
    negative: bool  #: ``!``: what matches is kept
    directories_only: bool  #: ends with ``/``
    by_name: bool  #: has no other ``/``: applies at any depth
    literal: bytes | None  #: the only name that it matches, for a pattern by name without wildcards
    suffix: bytes | None  #: how the names end that it matches, for ``*suffix``


def parse_line(line: bytes, group: Iterator[int]) -> Pattern | None:
    """Return the pattern of one line (without its line end); ``None`` for a comment, an empty or a malformed one.

    ``group`` numbers what has to have a number of its own in all patterns of a file.
    """
    if line.startswith(b"#"):
        return None
    text = _without_trailing_spaces(line.split(b"\0", 1)[0])
    negative = text.startswith(b"!")
    text = text[negative:]
    directories_only = text.endswith(b"/")
    body = text[:-1] if directories_only else text
    by_name = b"/" not in body
    special = _SPECIAL.search(body)
    try:
        if by_name:
            regex, literal, suffix = _by_name(body, special is None, group)
        else:
            regex, literal, suffix = _by_path(body, special.start() if special else len(body), group), None, None
    except _NeverMatchesError:
        return None
    return Pattern(regex, negative, directories_only, by_name, literal, suffix) if body else None


def parse(content: bytes) -> list[Pattern]:
    """Return the patterns of an ignore file in order."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = (line.removesuffix(b"\r") for line in content.split(b"\n"))
    group = count()
    return [pattern for pattern in (parse_line(line, group) for line in lines) if pattern is not None]


def _without_trailing_spaces(line: bytes) -> bytes:
    stripped = line.rstrip(b" ")
    if stripped == line:
        return line
    backslashes = len(stripped) - len(stripped.rstrip(b"\\"))
    # An odd number of backslashes escapes the first of the spaces, so that this one stays.
    return stripped + b" " if backslashes % 2 else stripped


def _by_name(body: bytes, plain: bool, group: Iterator[int]) -> tuple[bytes, bytes | None, bytes | None]:
    if plain:
        return re.escape(body), body, None
    suffix = body[1:] if body[:1] == b"*" and not _SPECIAL.search(body, 1) else None
    return _translate(body, group, path=False), None, suffix


def _by_path(body: bytes, plain_length: int, group: Iterator[int]) -> bytes:
    # Git compares the part before the first wildcard by itself and hands the rest to its matcher as a pattern of its
    # own, so that `a**/b` matches `ab`: its rest begins with `**/`.
    start = 1 if body.startswith(b"/") else 0
    plain_length = max(plain_length, start)
    return re.escape(body[start:plain_length]) + _translate(body[plain_length:], group, path=True)


def _translate(glob: bytes, group: Iterator[int], *, path: bool) -> bytes:
    """Return the regular expression of a glob. ``path``: no wildcard but ``**`` between slashes matches a slash."""
    parts: list[bytes] = []
    stars: list[int] = []  # where in ``parts`` the stars stand that match no slash, or that of a pattern by name
    position = 0
    while position < len(glob):
        byte = glob[position : position + 1]
        if byte == b"*":
            part, position = _stars(glob, position, path)
            stars += [len(parts)] if part == _STAR[path] else []
        elif byte == b"?":
            part, position = (b"[^/]" if path else b"."), position + 1
        elif byte == b"[":
            members, position = _bracket(glob, position + 1)
            part = _one_of(members - {_SLASH} if path else members)
        elif byte == b"\\":
            if position + 1 == len(glob):
                raise _NeverMatchesError
            part, position = re.escape(glob[position + 1 : position + 2]), position + 2
        else:
            part, position = re.escape(byte), position + 1
        parts.append(part)
    # What stands between two such stars may be taken where it comes first, and need not be looked for again: without
    # that, a pattern of many stars takes for ever. Python 3.10 has no atomic groups; this is what they are short for.
    for star, following in pairwise(stars):
        name = b"g%d" % next(group)
        parts[star] = b"(?=(?P<%b>%b?" % (name, _STAR[path])
        parts[following - 1] += b"))(?P=%b)" % name
    return b"".join(parts)


def _stars(glob: bytes, start: int, path: bool) -> tuple[bytes, int]:
    end = start
    while glob[end : end + 1] == b"*":
        end += 1
    between_slashes = (start == 0 or glob[start - 1] == _SLASH) and (
        end == len(glob) or glob[end] == _SLASH or glob[end : end + 2] == b"\\/"
    )
    if not path or end - start == 1 or not between_slashes:
        return _STAR[path], end
    if glob[end : end + 1] == b"/":
        return b"(?:.*/)?", end + 1
    return b".{0,}", end


def _bracket(glob: bytes, position: int) -> tuple[frozenset[int], int]:
    """Return the bytes that a bracket expression matches, and where it ends; ``position`` is behind its ``[``."""
    negated = glob[position : position + 1] in (b"!", b"^")
    position += negated
    members: set[int] = set()
    previous = 0  # a range needs a start: a byte that was no end of a range and no class
    first = True
    while first or _byte(glob, position) != ord("]"):
        first = False
        byte = _byte(glob, position)
        if byte == ord("\\"):
            position += 1
            previous = _byte(glob, position)
            members.add(previous)
        elif byte == ord("-") and previous and glob[position + 1 : position + 2] not in (b"", b"]"):
            position += 1
            if _byte(glob, position) == ord("\\"):
                position += 1
            members.update(range(previous, _byte(glob, position) + 1))
            previous = 0
        elif glob[position : position + 2] == b"[:":
            close = glob.find(b"]", position + 2)
            if close < 0:
                raise _NeverMatchesError
            if close - 1 >= position + 2 and glob[close - 1] == ord(":"):
                name = glob[position + 2 : close - 1]
                if name not in _CLASSES:
                    raise _NeverMatchesError
                members |= _CLASSES[name]
                position, previous = close, 0
            else:
                members.add(byte)
                previous = byte
        else:
            members.add(byte)
            previous = byte
        position += 1
    return (frozenset(range(1, 256)) - members if negated else frozenset(members)), position + 1


def _byte(glob: bytes, position: int) -> int:
    if position >= len(glob):
        raise _NeverMatchesError  # the bracket is never closed
    return glob[position]


def _one_of(members: frozenset[int]) -> bytes:
    if not members:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % member for member in sorted(members)) + b"]"
