"""From a configuration to what is executed, where, and with which variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ConfigurationError, NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider.scriptrun.config import ScriptRunConfig

SHELL = "/bin/sh"


def argv(config: ScriptRunConfig) -> list[str]:
    """Return what is executed: ``python script arguments``, the command's items, or a shell with the command's text.

    A command that is one text is the user's own shell text: it goes to ``/bin/sh -c`` as a single item.
    Raises :class:`NotSupportedError` for a framework that has no launcher yet, :class:`ConfigurationError` for an
    argument that is no text or number.
    """
    framework = config.run_config.framework.lower()
    if framework != "python":
        raise NotSupportedError(
            f"run_config.framework = {config.run_config.framework!r} cannot be launched yet",
            advice='Write "python", or give a command',
        )
    if isinstance(config.command, str) and config.command:
        return [SHELL, "-c", config.command]
    if config.command:
        return _items("command", config.command)
    return ["python", str(config.script), *_items("arguments", config.arguments or ())]


def _items(field: str, values: Iterable[Any]) -> list[str]:
    """Return each value as the one argv item that it is: nothing is split, joined or quoted."""
    items = []
    for number, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ConfigurationError(
                f"{field}[{number}] is {_described(value)}, which no command line can hold",
                advice="Write a text or a number; the path of a file that holds the rest, for instance as JSON",
            )
        text = str(value)
        if "\0" in text:
            raise ConfigurationError(f"{field}[{number}] holds a NUL character, which no command line can hold")
        items.append(text)
    return items


def _described(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, bool) else f"a {type(value).__name__} ({value!r:.80})"
