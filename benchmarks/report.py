"""One line of a benchmark, and how a table of them is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Row:
    """Ours and the peer's, measured in turns in one run (milliseconds); ``target`` is the largest ratio we promise."""

    name: str
    ours_ms: float
    peer: str
    peer_ms: float | None
    ratio: float | None
    target: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the promise is kept; ``None`` where nothing is promised or the peer was not there."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target


def row(name: str, ours_ms: float, peer: str, peer_ms: float | None, target: float | None = None) -> Row:
    """Return a row with its ratio worked out."""
    return Row(name, ours_ms, peer, peer_ms, ours_ms / peer_ms if peer_ms else None, target)


_COLUMNS = ("what", "ours, ms", "peer", "peer, ms", "ratio", "at most", "")


def _cells(line: Row) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    verdict = {True: "reached", False: "MISSED", None: ""}[line.reached]
    return (
        line.name,
        number(line.ours_ms, ".1f"),
        line.peer,
        number(line.peer_ms, ".1f"),
        number(line.ratio, ".2f"),
        number(line.target, ".2f"),
        verdict,
    )


def text(rows: Iterable[Row]) -> str:
    """Return the table in aligned columns, for a terminal."""
    lines = [_COLUMNS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numbers = {1, 3, 4, 5}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(rows: Iterable[Row]) -> str:
    """Return the table for a page of the documentation."""
    lines = [_COLUMNS, ("---", "---:", "---", "---:", "---:", "---:", "---"), *map(_cells, rows)]
    # a name may hold a pipe, which would be a column's end
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
