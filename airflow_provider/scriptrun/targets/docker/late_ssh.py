"""Docker's SDK without what only its own way over SSH needs: that loads paramiko, longer than all the rest takes.

Our ways to an engine never use it. Whoever does, in the same process, gets the real one when they connect.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

#: The module of the SDK that loads paramiko, and its one public name.
_MODULE, _NAME = "docker.transport.sshconn", "SSHHTTPAdapter"


def load_ssh_late() -> None:
    """Let an import of ``docker`` leave its SSH for later; nothing happens where it was imported before."""
    if "docker" in sys.modules or _MODULE in sys.modules:
        return
    stand_in = types.ModuleType(_MODULE, "Stands in for the module of this name until somebody connects over SSH.")
    setattr(stand_in, _NAME, _LateAdapter)
    sys.modules[_MODULE] = stand_in


class _LateAdapter:
    """Makes what the real one makes. Raises ``ImportError`` where paramiko is missing."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        if getattr(sys.modules.get(_MODULE), _NAME, None) is cls:
            del sys.modules[_MODULE]
        return getattr(importlib.import_module(_MODULE), _NAME)(*arguments, **options)
