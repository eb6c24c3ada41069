"""From a configuration to the argv that the target executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider.scriptrun.config import ScriptRunConfig

SHELL = "/bin/sh"


def argv(config: ScriptRunConfig) -> tuple[str, ...]:
    """Return what is executed: ``python script arguments``, the command's items, or a shell with the command's text.

    A command that is one text is the user's own shell text: it goes to ``/bin/sh -c`` as a single item. Items stay
    items: nothing is split, joined or quoted.
    """
    if isinstance(config.command, str):
        return (SHELL, "-c", config.command)
    if config.command is not None:
        return tuple(config.command)
    return ("python", str(config.script_path), *config.arguments)
