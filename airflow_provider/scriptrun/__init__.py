"""Describe a training script once, and run it unchanged on any compute target that an Airflow connection names.

Every public name is here, and is imported when it is used: a DAG file pays for what it names, and for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider.scriptrun.errors import ScriptRunError as ScriptRunError

__version__ = "0.1.0"

#: Public name -> module of this package that defines it.
_HOMES: dict[str, str] = {
    "ScriptRunError": "errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
