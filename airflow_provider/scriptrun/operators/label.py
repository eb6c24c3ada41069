"""What a mapped task's instance is called: what tells it from its siblings, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Of a mapped task that names none.
MAP_INDEX_TEMPLATE = "{{ task.label }}"
#: Airflow's database keeps at most 250 of an instance's name.
MAX_CHARACTERS = 120
LOCAL = "local"


def label(config: Mapping[str, Any], own_variables: Any) -> str:
    """Return the name of a run of ``config``, a rendered dictionary: its arguments, and its target if not ``local``.

    Without arguments: its variables, else what is run.

    :param own_variables: those that the operator adds to the config's.
    """
    run_config = config.get("run_config")
    below = run_config if isinstance(run_config, Mapping) else {}
    own = _pairs(own_variables)
    words = _items(config.get("arguments") or below.get("arguments"))
    if not words and not own:
        words = (
            _pairs(config.get("environment_variables") or below.get("environment_variables"))
            or _items(config.get("command") or below.get("command"))
            or _items(config.get("script") or below.get("script"))
        )
    target = config.get("compute_target") or below.get("target")
    where = [f"on {target}"] if target and target != LOCAL else []
    return shortened(" ".join([*words, *own, *where]))


def shortened(text: str) -> str:
    """Return what Airflow can keep of a name, without a secret: it keeps names as they are."""
    text = _masked(text)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def pairs(values: Mapping[str, Any]) -> list[str]:
    """Return each as ``name=value``, the value masked where Airflow calls the name sensitive."""
    return [f"{name}={_masked(str(content), str(name))}" for name, content in values.items()]


def _masked(text: str, name: str | None = None) -> str:
    from airflow.sdk.log import redact  # type: ignore[attr-defined]  # beside mask_secret, which is exported

    return str(redact(text, name))


def _items(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    return [str(value)] if value else []


def _pairs(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return pairs(value)
    return [str(value)] if value else []
