"""What an operator says over its configuration, and the form that stands in its template field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from airflow_provider.scriptrun.config.script_run_config import KEYWORDS, ScriptRunConfig
from airflow_provider.scriptrun.config.template import is_template, read_text
from airflow_provider.scriptrun.config.wrong import Wrong, refuse, shown

Config = TypeVar("Config", ScriptRunConfig, dict[str, Any])


def template_value(config: Any) -> Any:
    """Return what an operator's template field holds for ``config``.

    A configuration, or a dictionary of its fields, is checked as far as its templates allow, and becomes a dictionary
    of plain values; a template or another task's output stays as it is. Raises ``ConfigurationError``.
    """
    if is_template(config):
        return config
    if isinstance(config, ScriptRunConfig):
        return config.to_template_dict()
    return ScriptRunConfig.model_validate(config).to_template_dict()


def with_overrides(
    config: Config,
    *,
    arguments: Sequence[Any] | Any | None = None,
    compute_target: str | Any | None = None,
    environment_variables: Mapping[str, Any] | Any | None = None,
    tags: Mapping[str, Any] | Any | None = None,
) -> Config:
    """Return the configuration, or the dictionary of one, with what is not ``None`` over it.

    Arguments and target take the place of the configuration's; variables and tags are added to them and win. In a
    dictionary, variables or tags that are one template as a whole stay alone until they are rendered.
    Raises ``ConfigurationError``.
    """
    replaced = {"arguments": arguments, "compute_target": compute_target}
    merged = {"environment_variables": environment_variables, "tags": tags}
    if isinstance(config, ScriptRunConfig):
        twin = config.clone()
        for name, value in replaced.items():
            if value is not None:
                setattr(twin, name, value)
        for name, value in merged.items():
            if value is not None:
                setattr(twin, name, {**_mapping(getattr(twin, name), name), **_mapping(value, name)})
        return twin
    fields = dict(_mapping(config, "config"))
    for name, value in {**replaced, **merged}.items():
        if value is None:
            continue
        said = _taken_out(fields, name)
        if name in replaced:
            fields[name] = value
        else:
            fields[name] = said if _is_unknown(said) else {**_mapping(said, name), **_mapping(value, name)}
    return fields


def _taken_out(fields: dict[str, Any], name: str) -> Any:
    """Remove and return what the dictionary says under this keyword, at the top or in its run configuration."""
    said = fields.pop(name, None)
    field, run_config = KEYWORDS.get(name), fields.get("run_config")
    if isinstance(run_config, Mapping) and field in run_config:
        fields["run_config"] = {key: value for key, value in run_config.items() if key != field}
        return run_config[field] if said is None else said
    return said


def _is_unknown(value: Any) -> bool:
    """Whether ``value`` is a template that has not been rendered: rendered text may hold braces, too."""
    if not isinstance(value, str):
        return is_template(value)
    try:
        read_text(value, dict)
    except Wrong:
        return is_template(value)
    return False


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if value is None or isinstance(value, Mapping):
        return value or {}
    wrong = Wrong(f"must be a dictionary, not {shown(value)}", "Write for instance {'name': 'value'}.")
    if isinstance(value, str):
        try:
            return cast("Mapping[str, Any]", read_text(value, dict))
        except Wrong as error:
            wrong = error
    return refuse("ScriptRunConfig", [(name if name == "config" else f"config.{name}", wrong)])
