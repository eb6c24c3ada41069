"""From what a check found to what it warns of: a pure function. Nothing here keeps a run from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.scriptrun.targets.findings import GIGABYTE, TargetWarning, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider.scriptrun.targets.findings import Details
    from airflow_provider.scriptrun.targets.status import TargetFacts

#: A round trip hides some of a difference, and nobody minds less. Nothing of ours depends on two clocks that agree;
#: certificates, package indexes and people who compare logs do.
CLOCK_TOLERANCE_S = 60.0
#: Room for an environment and a run's outputs; on a large disk, the part at which file systems begin to suffer.
MIN_FREE_BYTES, MIN_FREE_PART = 1_000_000_000, 0.05
#: More than this is enough, however large a part of the disk it is not.
AMPLE_FREE_BYTES = 50_000_000_000
#: An environment with its working copy has tens of thousands of files.
MIN_FREE_INODES = 50_000
#: File systems of other machines, as Linux names them.
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "glusterfs", "fuse.glusterfs"}
    | {"fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.ceph", "beegfs"}
)


def judge(facts: TargetFacts, details: Details, *, uv_can_be_sent: bool) -> tuple[TargetWarning, ...]:
    """Return what will bite later on this host, the worst first.

    :param uv_can_be_sent: whether the worker has a ``uv`` that runs there.
    """
    return (
        *_logout(facts, details),
        *_disk(facts, details),
        *_mounts(facts, details),
        *_builder(facts, details, uv_can_be_sent),
        *_clock(details),
    )


def _logout(facts: TargetFacts, details: Details) -> Iterator[TargetWarning]:
    if details.login.kills and details.login.in_session:
        lingering = "" if details.login.lingers else f" (loginctl enable-linger {facts.user} alone does not help)"
        yield TargetWarning(
            Trouble.LOGOUT_KILLS,
            "systemd-logind kills what a login leaves behind (KillUserProcesses=yes): runs end with the connection",
            f"Write KillExcludeUsers=root {facts.user} into /etc/systemd/logind.conf there, and restart "
            f"systemd-logind{lingering}.",
        )


def _disk(facts: TargetFacts, details: Details) -> Iterator[TargetWarning]:
    disk = details.disk
    is_little = disk.free_bytes < MIN_FREE_BYTES or (
        disk.free_bytes < MIN_FREE_PART * disk.bytes and disk.free_bytes < AMPLE_FREE_BYTES
    )
    if is_little:
        yield TargetWarning(
            Trouble.LITTLE_SPACE,
            f"Only {disk.free_bytes / GIGABYTE:.1f} of {disk.bytes / GIGABYTE:.1f} GB are free under {facts.root}",
            "Free some space there, clean the target, or name another root in the connection.",
        )
    if disk.inodes and disk.free_inodes < MIN_FREE_INODES:
        yield TargetWarning(
            Trouble.FEW_INODES,
            f"Only {disk.free_inodes} more files fit on the file system of {facts.root}",
            "Remove files there that nobody needs, or name another root in the connection.",
        )


def _mounts(facts: TargetFacts, details: Details) -> Iterator[TargetWarning]:
    root, home, temporary = (details.mounts.get(name) for name in ("root", "home", "temporary"))
    if root is not None and root.type in NETWORK_TYPES:
        yield TargetWarning(
            Trouble.NETWORK_ROOT,
            f"The root {facts.root} is on {root.type}: locks and news of files are slow there or missing, and every "
            "run depends on another machine",
            "Name a root on a disk of the host in the connection, for instance /var/tmp/scriptrun.",
        )
    elif home is not None and home.type in NETWORK_TYPES:
        yield TargetWarning(
            Trouble.NETWORK_HOME,
            f"The home folder {home.folder} is on {home.type}: the caches of uv, pip and conda are slow there",
            "Set UV_CACHE_DIR and PIP_CACHE_DIR for that user to a disk of the host.",
        )
    if root is not None and "noexec" in root.options:
        yield TargetWarning(
            Trouble.NOEXEC_ROOT,
            f"{root.path} is mounted noexec: programs and compiled packages under {facts.root} cannot be executed",
            "Name a root elsewhere in the connection, or mount it exec.",
        )
    if temporary is not None and "noexec" in temporary.options:
        yield TargetWarning(
            Trouble.NOEXEC_TEMPORARY,
            f"{temporary.path} is mounted noexec: packages that are compiled in {temporary.folder} fail to build",
            "Set TMPDIR for that user to a folder elsewhere, or use packages that come as wheels.",
        )


def _builder(facts: TargetFacts, details: Details, uv_can_be_sent: bool) -> Iterator[TargetWarning]:
    has_pip = details.venv and (details.ensurepip or "pip" in details.versions)
    if "uv" not in facts.tools and not uv_can_be_sent and not has_pip:
        minor = ".".join(facts.python.split(".")[:2])
        yield TargetWarning(
            Trouble.NO_BUILDER,
            f"There is no uv, and {facts.interpreter} lacks {'ensurepip' if details.venv else 'venv'}: environments "
            "from pip requirements cannot be built",
            f"Install uv there, or the modules (Debian, Ubuntu: apt install python{minor}-venv).",
        )


def _clock(details: Details) -> Iterator[TargetWarning]:
    ahead = details.clock_ahead_s
    if abs(ahead) > CLOCK_TOLERANCE_S:
        yield TargetWarning(
            Trouble.CLOCK,
            f"Its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours: times in records and logs "
            "do not compare, and certificates may be refused",
            "Have both hosts set their clocks from the network (timedatectl set-ntp true).",
        )
