"""The ``check`` request: all that a person who sets a target up would want to know of it. Slower than ``hello``.

It only looks. What it finds is judged on the worker: this side has no opinions. Whatever cannot be found out is null.
"""

from __future__ import annotations

import os
import time

from .. import hello

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Any, Dict

    from ..layout import Layout
    from ..serve import Channel


def check(request: Dict[str, Any], channel: Channel) -> None:  # noqa: ARG001  # every handler is called alike
    """Answer the ``check`` request: what ``hello`` says, and ``details``.

    ``details.clock`` says when the request came and when it was answered, by this host's clock.
    """
    came_at = time.time()
    answer = hello.facts(channel.layout)
    details = _details(channel.layout, answer["tools"])
    details["clock"] = {"came_at": came_at, "answered_at": time.time()}
    answer["details"] = details
    channel.writer.json(answer)


def _details(layout: Layout, tools: Dict[str, Any]) -> Dict[str, Any]:
    from . import logins, machine, mounts, programs

    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # only looked at
    return {
        "machine": machine.facts(),
        "disk": machine.disk(layout.root),
        "mounts": mounts.of({"root": layout.root, "home": os.path.expanduser("~"), "temporary": temporary}),
        "login": logins.facts(),
        "programs": programs.versions(tools),
        "locale": machine.locale_name(os.environ),
    }
