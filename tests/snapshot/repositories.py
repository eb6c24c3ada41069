"""Real Git repositories for tests: asked, changed, and looked at."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.snapshot.trees import write


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=where, check=True, capture_output=True, text=True, errors="surrogateescape"
    ).stdout.strip()


def everything(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return what would tell that anything in a folder was touched."""
    facts = {}
    for path in [root, *root.rglob("*")]:
        found = path.lstat()
        facts[str(path)] = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    return facts


def change_everything(repository: Path) -> None:
    code = repository / "code"
    write(code / "train.py", "print(2)\n")
    write(code / "data.bin", bytes(range(256))[::-1] * 20)
    (code / "old.py").unlink()
    write(code / "new/untracked.py", "new\n")
    write(code / "new/binary", bytes(range(255, -1, -1)))
    write(code / "odd name\n\xe9", "odd\n")
    (code / "link").symlink_to("train.py")
    write(code / "tool", "#!/bin/sh\n").chmod(0o755)
    write(code / "empty", "")
    write(code / "staged.py", "staged\n")
    git(repository, "add", "code/staged.py")
    write(code / "big.ignored", "left out\n")
