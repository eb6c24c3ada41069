"""The URL of a repository without what opens it."""

from __future__ import annotations

import re

#: A user name in front of such a host is how one logs in at all, and no secret; anywhere else it may be a token.
_KEEPS_USER = frozenset({"ssh", "git+ssh", "ssh+git", "sftp"})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_HELPER = re.compile(r"([A-Za-z0-9][A-Za-z0-9+.-]*)::(.*)", re.DOTALL)
#: ``git@host:path``, with nothing before the host that could be a password.
_SSH_SHORT = re.compile(r"[^@:/\s]+@[^@:/\s]+:")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(:[0-9]*)?")


def without_credentials(url: str) -> str:
    """Return the URL of a remote without passwords and tokens, in whatever of Git's forms it is written.

    Rather too much is taken away than too little: also the query, and all that stands before a stray ``@``.
    """
    url = url.strip()
    helper = _HELPER.fullmatch(url)
    if helper:
        # `ext::` and the like take a command line, in which anything may stand.
        return f"{helper[1]}::{without_credentials(helper[2])}" if "://" in helper[2] else f"{helper[1]}::"
    found = _SCHEME.fullmatch(url)
    if not found:
        return _without_scheme(url)
    scheme, rest = found[1], found[2]
    if scheme.lower() == "file":
        return url
    rest = re.split(r"[?#]", rest, maxsplit=1)[0] if "@" not in _after(rest, "?#") else rest
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if not _HOST.fullmatch(host):
        # A slash in the password cut it in two: `https://user:pass/word@host/path`.
        _, at, rest = rest.rpartition("@")
        if not at:
            return f"{scheme}://"
        return f"{scheme}://{re.split('[?#]', rest, maxsplit=1)[0]}"
    if at and scheme.lower() in _KEEPS_USER:
        name = user.partition(":")[0]
        return f"{scheme}://{name}@{host}{slash}{path}"
    return f"{scheme}://{host}{slash}{path}"


def _after(text: str, marks: str) -> str:
    position = min((text.find(mark) for mark in marks if mark in text), default=len(text))
    return text[position:]


def _without_scheme(url: str) -> str:
    if _SSH_SHORT.match(url) or "@" not in url or ":" not in url.rpartition("@")[0]:
        return url
    return url.rpartition("@")[2]
