"""A remote machine that is reached over SSH: nothing is installed there beforehand but Python and an SSH server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.scriptrun.targets.host import HostTarget
from airflow_provider.scriptrun.targets.transports.ssh import SshTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider.scriptrun.targets.remembered import RememberedHosts
    from airflow_provider.scriptrun.targets.surroundings import SshDialer

DEFAULT_ROOT = "~/.scriptrun"
DEFAULT_INTERPRETER = "python3"


class SshTarget(HostTarget):
    """A Linux host with Python 3.8 or later and an SSH server.

    What was learned of the host is remembered, so that the next submission need not ask before it starts a run: it
    names the host that it expects, and another one refuses.

    :param dialer: connects to it.
    :param remembered: what earlier targets on this worker have learned of their hosts.
    :param root: the folder under which everything is kept there; ``~/`` is the user's home folder.
    :param interpreter: the Python that runs the supervisor, and that scripts get by default.

    The rest: see :class:`HostTarget`.
    """

    target_type = "ssh"

    def __init__(
        self,
        dialer: SshDialer,
        remembered: RememberedHosts,
        *,
        name: str,
        root: str = DEFAULT_ROOT,
        interpreter: str = DEFAULT_INTERPRETER,
        variables: Mapping[str, str] | None = None,
        max_runs: int | None = None,
        host_id: str | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__(
            SshTransport(dialer),
            name=name,
            root=root,
            interpreter=interpreter,
            remembered=remembered.of(dialer.host, root, interpreter),
            variables=variables,
            max_runs=max_runs,
            host_id=host_id,
            version=version,
        )
