"""How containers reach the package index that this machine reaches.

A container takes the machine's name servers, so that ``--network host`` and a bridge with NAT both lead there. What it
lacks is the authority that a proxy of the machine's network may sign with: the base image has the machine's
certificates and says so in ``SSL_CERT_FILE`` and ``PIP_CERT``; its variant ``no-certificates`` has none of that, and is
for tests of a connection that brings them.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

#: The network in which builds of every test engine reach the index; a private engine has no bridge.
NETWORK = "host"


def certificates() -> str:
    """Return what this machine's programs trust, as PEM text; empty where nothing says."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_text() if file else ""


def variables() -> dict[str, str]:
    """Return the index addresses that this machine's environment names, if any: for a connection or a container."""
    names = ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
    return {name: os.environ[name] for name in names if os.environ.get(name)}
