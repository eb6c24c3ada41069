"""The local target: runs on the host that the worker is on, and live as long as that host (or container, or pod)."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.targets.host import HostTarget
from airflow_provider.scriptrun.targets.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_ROOT = "~/.scriptrun"


class LocalTarget(HostTarget):
    """This host.

    :param root: the folder under which everything is kept.
    :param interpreter: the Python that runs the supervisor, and that scripts get by default; ``None``: the one that
        runs us, with what is installed in it.
    :param inherit: names and patterns of our variables that scripts may ask for.
    :param variables: for every script; a request's own win.
    :param max_runs: see :class:`HostTarget`.
    """

    target_type = "local"

    def __init__(
        self,
        root: str | Path = DEFAULT_ROOT,
        interpreter: str | None = None,
        *,
        name: str = "local",
        inherit: Iterable[str] = (),
        variables: Mapping[str, str] | None = None,
        max_runs: int | None = None,
        host_id: str | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__(
            LocalTransport(inherit),
            name=name,
            root=_absolute(root),
            interpreter=_absolute(interpreter) if interpreter else sys.executable,
            tools=own_tools(),
            variables=variables,
            max_runs=max_runs,
            host_id=host_id,
            version=version,
        )


def _absolute(path: str | Path) -> str:
    """Return an absolute path; what is relative would depend on where a worker happens to be started."""
    expanded = Path(path).expanduser()
    if not expanded.is_absolute():
        raise ConfigurationError(f"{str(path)!r} is no absolute path", advice="Write it from / or from ~/.")
    return str(expanded)


@cache
def own_tools() -> dict[str, str]:
    """Return the programs that this package's requirements bring: ``uv``."""
    try:
        from uv import find_uv_bin
    except ImportError:
        return {}
    try:
        return {"uv": find_uv_bin()}
    except FileNotFoundError:
        return {}
