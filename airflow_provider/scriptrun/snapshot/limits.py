"""How large a snapshot may be before somebody should look at it, and when it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import SnapshotTooLargeError
from .naming import in_words, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Azure ML's own limits, at which it refused; here they warn.
WARN_BYTES = 300 * 1024 * 1024
WARN_FILES = 2000

_ADVICE = (
    "Name what the script does not need in .amlignore, or in a .gitignore inside the source directory "
    "(ignore files of the folders above it do not count)."
)


@dataclass(frozen=True)
class Limits:
    """Soft limits warn, the hard one refuses. 0 switches a limit off.

    :param warn_bytes: warn when all files together are larger (bytes).
    :param warn_files: warn when more files than these are new or changed since the last snapshot of the same directory.
    :param max_bytes: refuse with ``SnapshotTooLargeError`` when all files together are larger (bytes).
    """

    warn_bytes: int = WARN_BYTES
    warn_files: int = WARN_FILES
    max_bytes: int = 0

    def refuse(self, total: int, largest: Callable[[], Iterable[tuple[int, str]]]) -> None:
        """Raise ``SnapshotTooLargeError`` when ``total`` bytes are over the hard limit. ``largest``: (size, path)."""
        if 0 < self.max_bytes < total:
            raise SnapshotTooLargeError(
                f"The snapshot has {in_words(total)}, and no more than {in_words(self.max_bytes)} are allowed",
                why=_name(largest()),
                advice=f"{_ADVICE} The limit is snapshot_max_bytes in the section [scriptrun] of the configuration.",
            )

    def warnings(
        self,
        total: int,
        largest: Iterable[tuple[int, str]],
        changed: int,
        largest_changed: Callable[[], Iterable[tuple[int, str]]],
    ) -> list[str]:
        """Return a sentence for each soft limit that was passed."""
        found = []
        if 0 < self.warn_bytes < total:
            found.append(
                f"The snapshot has {in_words(total)}, more than the {in_words(self.warn_bytes)} of "
                f"snapshot_warn_bytes. {_name(largest)} {_ADVICE}"
            )
        if 0 < self.warn_files < changed:
            found.append(
                f"{changed} files are new or changed since the last snapshot, more than the {self.warn_files} of "
                f"snapshot_warn_files. {_name(largest_changed())} {_ADVICE}"
            )
        return found


def _name(largest: Iterable[tuple[int, str]]) -> str:
    return "The largest: " + ", ".join(f"{shown(path)} ({in_words(size)})" for size, path in largest) + "."
