"""Who logs in: a user of this machine that lives as long as a test, or, where none can be made, whoever runs it."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

from tests.network import owner, processes

#: Where the folders of accounts are made. Not below pytest's own, which no other user may enter.
FOLDERS = Path(tempfile.gettempdir())


class Account(ABC):
    """A user with a home folder (mode 0700) that was empty, in a folder that goes with it."""

    user: str
    user_id: int
    group_id: int

    def __init__(self, shell: str) -> None:
        self.shell = shell
        self.name = owner.new_name()
        self.folder = FOLDERS / self.name
        self.home = self.folder / "home"
        self.folder.mkdir()
        self.folder.chmod(0o755)  # whatever the umask: the user has to get through
        self.home.mkdir(mode=0o700)

    @abstractmethod
    def processes(self) -> list[processes.Process]:
        """Return what runs on this account."""

    def remove(self) -> None:
        """End its processes; remove the account and the folder."""
        processes.kill(self.processes)
        shutil.rmtree(self.folder, ignore_errors=True)


class TemporaryAccount(Account):
    """An unprivileged system user that logs in with a key; with a password too, where one is given.

    Only root can make one.

    :param shell: its login shell, an absolute path.
    """

    def __init__(self, shell: str = "/bin/bash", password: str | None = None) -> None:
        super().__init__(shell)
        self.user = self.name
        # `*` is an account without a password; `!`, which is the default, is a locked one, and sshd refuses it
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--password", "*"]
        with owner.one_at_a_time("users"):
            subprocess.run([*command, "--home-dir", self.home, "--shell", shell, self.user], check=True)
            if password is not None:
                subprocess.run(["chpasswd"], input=f"{self.user}:{password}\n", text=True, check=True)
        entry = pwd.getpwnam(self.user)
        self.user_id, self.group_id = entry.pw_uid, entry.pw_gid
        os.chown(self.home, self.user_id, self.group_id)

    def processes(self) -> list[processes.Process]:
        return processes.of_user(self.user_id)

    def remove(self) -> None:
        _remove_user(self.user)
        super().remove()


class OwnAccount(Account):
    """The user who runs the tests. ``HOME`` names another folder; only where a session begins is the user's own."""

    def __init__(self) -> None:
        entry = pwd.getpwuid(os.getuid())
        super().__init__(entry.pw_shell or "/bin/sh")
        self.user, self.user_id, self.group_id = entry.pw_name, entry.pw_uid, entry.pw_gid

    def processes(self) -> list[processes.Process]:
        return processes.naming(self.name, self.user_id)


def why_impossible() -> str | None:
    """Return why no user can be made here, or ``None``."""
    if os.geteuid() != 0:
        return "only root can make a user"
    lacking = [program for program in ("useradd", "userdel", "chpasswd") if shutil.which(program) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else None


def sweep() -> None:
    """Remove the accounts of test runs that were killed."""
    for name in [entry.pw_name for entry in pwd.getpwall() if owner.is_orphan(entry.pw_name)]:
        _remove_user(name)
    for folder in FOLDERS.glob(f"{owner.PREFIX}-*"):
        if owner.is_orphan(folder.name):
            processes.kill(functools.partial(processes.naming, folder.name, os.getuid()))
            shutil.rmtree(folder, ignore_errors=True)


def _remove_user(name: str) -> None:
    with owner.one_at_a_time("users"):
        try:
            user_id = pwd.getpwnam(name).pw_uid
        except KeyError:  # another sweep was faster
            return
        processes.kill(lambda: processes.of_user(user_id))
        subprocess.run(["userdel", "--force", name], check=True, stderr=subprocess.DEVNULL)  # it warns of a mail folder
