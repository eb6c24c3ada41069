"""The run record: the JSON that says what happened. The XCom value, and ``record.json`` in the workspace.

A pure function of its parts. Whatever they hold, the record stays under 16 KB, and what was left out is counted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Raised by one when a field changes its meaning; new fields leave it alone.
RECORD_VERSION = 1
#: XCom values live in Airflow's metadata database.
MAX_RECORD_BYTES = 16 * 1024 - 256
MAX_TEXT, MAX_MESSAGE, MAX_ITEM = 512, 2048, 256
MAX_METRICS, MAX_COMMAND_ITEMS, MAX_OUTPUT_FILES, MAX_INPUTS = 100, 50, 50, 50
_SHORTENED = " [...]"

#: The fields of the design's "Run record", in its order, with what stands there when nothing is known.
_FIELDS: dict[str, Any] = {
    "run_id": None,
    "experiment": None,
    "status": None,
    "reason": None,
    "message": None,
    "target": dict.fromkeys(("name", "type", "host")),
    "snapshot": dict.fromkeys(("id", "files", "bytes", "sent_files", "sent_bytes")),
    "inputs": {},
    "environment": dict.fromkeys(("name", "id", "reused", "python", "packages_uri")),
    "git": dict.fromkeys(("commit", "branch", "repository", "dirty", "patch_uri")),
    "airflow": {},
    "command": [],
    "started_at": None,
    "ended_at": None,
    "phases": {},
    "exit_code": None,
    "signal": None,
    "metrics": {},
    "outputs": {"uri": None, "count": 0, "bytes": 0, "files": []},
    "log": dict.fromkeys(("uri", "bytes")),
}


def make_record(
    parts: Mapping[str, Any], *, output_files: int = MAX_OUTPUT_FILES, not_brought: int = 0
) -> dict[str, Any]:
    """Return the record of ``parts``, a mapping of the fields above (missing ones are filled in, others refused).

    :param output_files: at most so many outputs are named; ``outputs.count`` says how many there are.
    :param not_brought: how many outputs are not among them, since they cannot be brought: ``left_out.not_brought``.
    """
    unknown = set(parts) - set(_FIELDS)
    if unknown:
        raise KeyError(f"no field of a run record: {sorted(unknown)}")
    record: dict[str, Any] = {"version": RECORD_VERSION}
    for name, empty in _FIELDS.items():
        value = parts.get(name)
        record[name] = {**empty, **(value or {})} if isinstance(empty, dict) else (empty if value is None else value)
    limits = {"metrics": MAX_METRICS, "command": MAX_COMMAND_ITEMS, "outputs": output_files, "inputs": MAX_INPUTS}
    limits["text"] = MAX_TEXT
    small = _bounded(record, limits, not_brought)
    while size_of(small) > MAX_RECORD_BYTES:
        largest = max(("metrics", "command", "outputs", "inputs"), key=lambda name: size_of(small[name]))
        if limits[largest] > 0 and size_of(small[largest]) > MAX_TEXT:
            limits[largest] //= 2
        else:
            limits["text"] //= 2
        small = _bounded(record, limits, not_brought)
    return small


def size_of(value: Any) -> int:
    """Return how many bytes a value takes as JSON."""
    return len(json.dumps(value))


def _bounded(record: Mapping[str, Any], limits: Mapping[str, int], not_brought: int) -> dict[str, Any]:
    text = limits["text"]
    small: dict[str, Any] = {}
    for name, value in record.items():
        small[name] = _shorten(value, min(text * 4, MAX_MESSAGE) if name == "message" else text)
    metrics, command, files = record["metrics"], record["command"], record["outputs"]["files"]
    inputs = list(record["inputs"].items())[: limits["inputs"]]
    small["inputs"] = {_shorten(name, MAX_ITEM): _shorten(facts, text) for name, facts in inputs}
    small["metrics"] = {
        _shorten(name, MAX_ITEM): _shorten(value, min(text, MAX_ITEM))
        for name, value in list(metrics.items())[: limits["metrics"]]
        if size_of(value) <= text or not isinstance(value, (list, dict))
    }
    small["command"] = [_shorten(item, min(text, MAX_ITEM)) for item in command[: limits["command"]]]
    small["outputs"]["files"] = [_shorten(file, text) for file in files[: limits["outputs"]]]
    left_out = {
        "metrics": len(metrics) - len(small["metrics"]),
        "command": len(command) - len(small["command"]),
        "inputs": len(record["inputs"]) - len(small["inputs"]),
        "outputs": record["outputs"]["count"] - len(small["outputs"]["files"]),
        "not_brought": not_brought,
    }
    small["left_out"] = {name: count for name, count in left_out.items() if count > 0}
    return small


def _shorten(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        # PostgreSQL's JSONB takes neither NUL nor lone surrogates (names that are not UTF-8).
        value = value.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode()
        # Measured as JSON, where a character may take twelve bytes.
        while len(json.dumps(value)) - 2 > limit:
            value = value[
                : max(0, min(len(value) - 1, len(value) * limit // (len(json.dumps(value)) - 2)) - len(_SHORTENED))
            ]
            if len(json.dumps(value)) - 2 + len(_SHORTENED) <= limit or not value:
                return value + _SHORTENED
        return value
    if isinstance(value, dict):
        return {_shorten(name, MAX_ITEM): _shorten(item, limit) for name, item in list(value.items())[:MAX_METRICS]}
    if isinstance(value, list):
        return [_shorten(item, limit) for item in value[:MAX_METRICS]]
    if isinstance(value, int) and value.bit_length() > 1024:
        return _shorten(hex(value), limit)
    return value
