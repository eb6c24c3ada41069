"""Metrics and tags as a script logs them: JSON lines, one message each, from any language.

``{"metric": "rmse", "value": 1.0, "step": 3, "time": 1700000000.5}`` or ``{"tag": "stage", "value": "warm-up"}``.
A metric's value is a number, a text, a truth value, ``null``, a list of those, or an object of those (a row).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

#: A longer line is counted as bad and left alone: nothing that a script writes may fill the worker's memory.
MAX_MESSAGE_BYTES = 64 * 1024
MAX_NAME_LENGTH = 256
#: More distinct names than this are counted, not kept.
MAX_NAMES = 2000
MAX_LIST_ITEMS = 1000


@dataclass
class Messages:
    """What a run has logged so far; fed with bytes cut anywhere.

    :param keep_series: keep every value of a metric, not only the last.
    """

    keep_series: bool = False
    last: dict[str, Any] = field(default_factory=dict)  #: metric name -> its last value
    series: dict[str, list[Any]] = field(default_factory=dict)  #: metric name -> every value, in order
    tags: dict[str, str] = field(default_factory=dict)
    bad_lines: int = 0  #: lines that are no message
    left_out: int = 0  #: messages with a new name, after MAX_NAMES of them
    _pending: bytes = field(default=b"", repr=False)
    _skipping: bool = field(default=False, repr=False)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of ``messages.jsonl``."""
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
                continue
            self._take(line)
        if len(self._pending) > MAX_MESSAGE_BYTES:
            self.bad_lines += not self._skipping
            self._skipping, self._pending = True, b""

    def finish(self) -> None:
        """Take a last line that has no newline."""
        line, self._pending = self._pending, b""
        if not self._skipping:
            self._take(line)

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        message = _parse(line) if len(line) <= MAX_MESSAGE_BYTES else None
        if message is None:
            self.bad_lines += 1
            return
        kind, name, value = message
        known: dict[str, Any] = self.tags if kind == "tag" else self.last
        if name not in known and len(known) >= MAX_NAMES:
            self.left_out += 1
            return
        known[name] = value
        if kind == "metric" and self.keep_series:
            self.series.setdefault(name, []).append(value)


def _parse(line: bytes) -> tuple[str, str, Any] | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    kind = "metric" if "metric" in message else "tag"
    name = message.get(kind)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        return None
    value = message.get("value")
    if kind == "tag":
        return kind, name, "" if value is None else str(value)
    valid, value = _value(value, depth=0)
    return (kind, name, value) if valid else None


def _value(value: Any, depth: int) -> tuple[bool, Any]:
    """Return whether a metric may have this value, and the value as plain JSON: ``nan`` and ``inf`` become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return True, str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return True, value
    if depth or not isinstance(value, (list, dict)) or len(value) > MAX_LIST_ITEMS:
        return False, None
    if isinstance(value, list):
        items = [_value(item, 1) for item in value]
        return all(valid for valid, _ in items), [item for _, item in items]
    columns = {name: _value(item, 1) for name, item in value.items()}
    return all(valid for valid, _ in columns.values()), {name: item for name, (_, item) in columns.items()}
