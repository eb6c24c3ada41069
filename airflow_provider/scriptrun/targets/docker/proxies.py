"""Proxies of a connection, as variables for builds and runs: one that holds credentials is a secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A scheme may be left out. A password may hold any character, so only the last ``@`` can be told to end it.
_ADDRESS = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*://)?)(?:(.*)@)?(.*)", re.DOTALL)


def secret(proxies: Mapping[str, str]) -> dict[str, str]:
    """Return those that hold credentials."""
    return {name: address for name, address in proxies.items() if _parts(address)[1]}


def credentials(proxies: Mapping[str, str]) -> set[str]:
    """Return what they hold of them: ``user:password``, as it is written there."""
    return {found for address in proxies.values() if (found := _parts(address)[1])}


def without_credentials(proxies: Mapping[str, str]) -> dict[str, str]:
    """Return all of them, without what nobody but a proxy may see."""
    return {name: "".join(_parts(address)[::2]) for name, address in proxies.items()}


def _parts(address: str) -> tuple[str, str, str]:
    found = _ADDRESS.fullmatch(address)
    return ("", "", address) if found is None else (found[1], found[2] or "", found[3])
