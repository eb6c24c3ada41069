"""What stands in a field until an Airflow task renders it: a Jinja template, or an XComArg; told without Airflow."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from airflow_provider.scriptrun.config.wrong import Path, Wrong, key, shown

#: Validation context of what has been rendered: text is final, and numbers may be text.
RENDERED: dict[str, Any] = {"rendered": True}
_JINJA = ("{{", "{%")


def is_rendered(context: Any) -> bool:
    """Whether what is validated has been rendered, so that nothing in it is a template any more."""
    return context is not None and bool(context.get("rendered"))


def is_reference(value: Any) -> bool:
    """Whether ``value`` stands for what another task returns: Airflow's XComArg and its kin.

    They are known by what Airflow itself looks for (``templater.py``: a ``resolve`` that is not a path's).
    """
    kind = type(value)
    return (
        callable(getattr(kind, "resolve", None))
        and callable(getattr(kind, "iter_references", None))
        and not isinstance(value, (os.PathLike, BaseModel))
    )


def is_template(value: Any) -> bool:
    """Whether ``value`` is not known before a task renders it."""
    if isinstance(value, str):
        return any(mark in value for mark in _JINJA)
    return is_reference(value)


def holds_template(value: Any) -> bool:
    """Whether ``value``, or something in it, is not known before a task renders it."""
    return next(templates_in(value), None) is not None


def templates_in(value: Any) -> Iterator[Path]:
    """Yield the place of each template in plain values."""
    return _places(value, is_template)


def references_in(value: Any) -> Iterator[Path]:
    """Yield the place of each stand-in for what another task returns, in plain values."""
    return _places(value, is_reference)


def _places(value: Any, is_wanted: Callable[[Any], bool], at: Path = ()) -> Iterator[Path]:
    if is_wanted(value):
        yield at
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _places(item, is_wanted, (*at, name if str(name).isidentifier() else key(name)))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _places(item, is_wanted, (*at, number))
    elif isinstance(value, BaseModel):
        yield from _places(value.__dict__, is_wanted, at)


def read_text(text: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """Return the list or dictionary that a template has been rendered to as text: JSON, or Python's own form."""
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, kind):
            return value
    noun = "list" if kind is list else "dictionary"
    raise Wrong(
        f"was rendered to {shown(text)}, which is no {noun}",
        "Let the template end in `| tojson`, or hand over another task's output itself.",
    )
