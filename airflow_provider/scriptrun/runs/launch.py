"""From a configuration to the argv that the target executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError, NotSupportedError

if TYPE_CHECKING:
    from airflow_provider.scriptrun.config import ScriptRunConfig


def argv(config: ScriptRunConfig) -> list[str]:
    """Return what is executed: ``python script arguments``, the command's items, or a shell with the command's text.

    A command that is one text is the user's own shell text: it goes to ``/bin/sh -c`` as a single item.
    Raises :class:`NotSupportedError` for a framework that has no launcher yet.
    """
    raise NotImplementedError
