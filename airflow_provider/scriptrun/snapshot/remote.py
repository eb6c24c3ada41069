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
    if scheme.lower() in _KEEPS_USER:
        authority, slash, path = rest.partition("/")
        user, at, host = authority.rpartition("@")
        if _HOST.fullmatch(host) and (at or "@" not in path):
            return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{path}"
    # A password may hold any character, a slash or a question mark too, so only the last `@` can be told to end it.
    address = re.split("[?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    host = address.partition("/")[0]
    return f"{scheme}://{address if _HOST.fullmatch(host) else ''}"


def _without_scheme(url: str) -> str:
    if _SSH_SHORT.match(url) or "@" not in url or ":" not in url.rpartition("@")[0]:
        return url
    return url.rpartition("@")[2]
