"""A network of its own for a server: a namespace that one pair of virtual interfaces connects to this machine."""

from __future__ import annotations

import functools
import ipaddress
import os
import random
import shutil
import subprocess
from pathlib import Path

from tests.network import owner, processes

#: Set aside for tests of networks (RFC 2544), so that it is nobody's own network.
NETWORK = ipaddress.ip_network("198.18.0.0/15")
#: Each pair has four addresses: the network, our end, the other end, the broadcast.
_PREFIX_LENGTH = 30
_PAIRS = 2 ** (_PREFIX_LENGTH - NETWORK.prefixlen)
_ATTEMPTS = 20
_FOLDER = Path("/run/netns")


class Namespace:
    """A network namespace that reaches this machine and nothing else. Only root can make one.

    ``address`` is that of its end, ``host_address`` that of ours.
    """

    def __init__(self) -> None:
        self.name = owner.new_name()
        _ip("netns", "add", self.name)
        pair = self._connect()
        self.interface = f"{owner.PREFIX}{pair}"
        ours, theirs = list(ipaddress.ip_network((int(NETWORK.network_address) + 4 * pair, _PREFIX_LENGTH)).hosts())
        self.host_address, self.address = str(ours), str(theirs)
        _ip("address", "add", f"{ours}/{_PREFIX_LENGTH}", "dev", self.interface)
        _ip("link", "set", self.interface, "up")
        _ip("-n", self.name, "address", "add", f"{theirs}/{_PREFIX_LENGTH}", "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")
        _ip("-n", self.name, "link", "set", "lo", "up")

    def _connect(self) -> int:
        """Return the number of a pair that nobody else has: the interface's name is taken by one only."""
        for pair in random.sample(range(_PAIRS), _ATTEMPTS):
            peer = ["peer", "name", "eth0", "netns", self.name]
            made = subprocess.run(
                ["ip", "link", "add", f"{owner.PREFIX}{pair}", "type", "veth", *peer], capture_output=True, text=True
            )
            if made.returncode == 0:
                return pair
        raise AssertionError(f"no pair of interfaces can be made: {made.stderr}")

    def remove(self) -> None:
        """End what runs in it; remove it and the pair."""
        _remove(self.name)


def enter(name: str, user_id: int = 0, group_id: int = 0) -> list[str]:
    """Return the words before a command that run it in a namespace; unlike with ``ip netns exec``, mounts stay."""
    return ["nsenter", f"--net={_FOLDER / name}", f"--setuid={user_id}", f"--setgid={group_id}", "--"]


@functools.cache
def why_impossible() -> str | None:
    """Return why no namespace can be made here, or ``None``."""
    if os.geteuid() != 0:
        return "only root can make a network namespace"
    if lacking := [program for program in ("ip", "nsenter") if shutil.which(program) is None]:
        return f"not installed: {', '.join(lacking)}"
    try:
        Namespace().remove()
    except (AssertionError, subprocess.CalledProcessError):
        return "the kernel does not let us make a network namespace"
    return None


def sweep() -> None:
    """Remove the namespaces of test runs that were killed."""
    for path in _FOLDER.glob(f"{owner.PREFIX}-*"):
        if owner.is_orphan(path.name):
            _remove(path.name)


def _remove(name: str) -> None:
    def inside() -> list[processes.Process]:
        answer = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
        pids = set(map(int, answer.stdout.split()))
        return [process for process in processes.processes() if process.pid in pids]

    processes.kill(inside)
    # the pair is gone when this returns; with the namespace alone it would go some time later
    subprocess.run(["ip", "-n", name, "link", "delete", "eth0"], capture_output=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
