"""A DAG's ``params`` from a script's arguments: Airflow's trigger form, filled in with what the configuration says."""

from __future__ import annotations

import copy
import itertools
import re
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from airflow_provider.scriptrun.config import ScriptRunConfig
from airflow_provider.scriptrun.config.template import is_template
from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TARGET = "compute_target"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHOLE, _DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)"), re.compile(r"-?[0-9]+\.[0-9]*([eE]-?[0-9]+)?|-?[0-9]+[eE]-?[0-9]+")
#: Python type of a default -> JSON schema's name for it.
_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
#: How a description says it -> JSON schema's name for it.
_BOUNDS = {"at least": "minimum", "at most": "maximum"}


class ScriptRunParams(dict[str, Param]):
    """What a DAG takes as ``params``; and the templates that hand the values on to an operator.

    :ivar arguments: a template for the operator's ``arguments``: ``--name value`` for each, a flag alone where it is
        true, nothing for one that is empty.
    :ivar compute_target: a template for the operator's ``compute_target``.
    """

    def __init__(self, params: Mapping[str, Param], options: Mapping[str, str]) -> None:
        super().__init__(params)
        self.arguments = _template(params, options)
        self.compute_target = f"{{{{ params.{TARGET} }}}}"
        self._options = dict(options)

    def grid(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what to expand a mapped task over: each target with each combination of the arguments.

        ::

            @task
            def grid(params=None):
                return form.grid(params)

            ScriptRunOperator.partial(task_id="train", config=config).expand_kwargs(grid())

        :param params: as a person filled them in; a list counts as several values, one for each instance.
        """
        names = [name for name in self if name != TARGET]
        axes = [_several(params[name]) for name in names]
        return [
            {
                TARGET: target,
                "arguments": [
                    word for name, value in zip(names, values, strict=True) for word in self._words(name, value)
                ],
            }
            for target in _several(params[TARGET])
            for values in itertools.product(*axes)
        ]

    def _words(self, name: str, value: Any) -> list[str]:
        """Return what the script gets of an argument, as the template has it."""
        if value is None or value is False:
            return []
        return [self._options[name]] if value is True else [self._options[name], str(value)]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def script_run_params(
    config: ScriptRunConfig | Mapping[str, Any] | None = None,
    *,
    targets: Iterable[str] = (),
    arguments: Mapping[str, Any] | None = None,
    section: str | None = None,
    many_targets: bool = False,
) -> ScriptRunParams:
    """Make a DAG's ``params`` from a configuration and the script's arguments.

    ::

        form = script_run_params(config, targets=["local", "gpu1"], arguments={"lr": Param(0.1, maximum=1)})
        with DAG("churn", params=form):
            ScriptRunOperator(task_id="train", config=config, arguments=form.arguments,
                              compute_target=form.compute_target)

    Whoever triggers the DAG, or triggers it again with the same configuration, picks a target and other values.

    :param config: its target is the default one, and ``--name value`` pairs of its arguments become fields.
    :param targets: what the drop-down offers; the first one is the default where there is no configuration.
    :param arguments: name (without ``--``) -> a default, or an Airflow ``Param`` with bounds, a description, choices.
        An underscore in a name is a hyphen in the option, unless the configuration spells it otherwise. Where a
        ``Param`` has no title or description, the field says which option it is.
    :param section: the form's heading of the arguments, which Airflow shows folded. Default: none, so that they stand
        under the target in the part that Airflow shows first. A ``Param`` may have a section of its own.
    :param many_targets: let a person pick several targets, for :meth:`ScriptRunParams.grid`; the first one is picked.
    :raises ConfigurationError: a name is no name, or a default of a type that no field has.
    """
    found = config if isinstance(config, ScriptRunConfig) or config is None else ScriptRunConfig.model_validate(config)
    options, defaults = _said(found)
    for name, value in (arguments or {}).items():
        plain = _checked(name.lstrip("-").replace("-", "_"))
        options.setdefault(plain, name if name.startswith("-") else f"--{plain.replace('_', '-')}")
        defaults[plain] = value
    params = {TARGET: _target(found, list(targets), many=many_targets)}
    params.update({name: _field(name, value, options[name], section) for name, value in defaults.items()})
    return ScriptRunParams(params, options)


def _said(config: ScriptRunConfig | None) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the options and defaults of the ``--name value`` pairs in a configuration's arguments."""
    options: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    items = config.arguments if config is not None and isinstance(config.arguments, list) else []
    position = 0
    while position < len(items):
        item, follower = items[position], items[position + 1] if position + 1 < len(items) else None
        name = item[2:].replace("-", "_") if isinstance(item, str) and item.startswith("--") else ""
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"script_run_params: the argument {item!r:.100} of the configuration has no name",
                advice="Leave the configuration out and name each of them in arguments={...}.",
            )
        is_flag = follower is None or (isinstance(follower, str) and follower.startswith("--"))
        options[name], defaults[name] = item, True if is_flag else _number(follower)
        position += 1 if is_flag else 2
    return options, defaults


def _number(value: Any) -> Any:
    """Return what a configuration's text says, as the number that it is where it is one."""
    if is_template(value):
        raise ConfigurationError(
            f"script_run_params: {value!r:.100} is a template, which no form can show",
            advice="Write a value into the configuration; the operator gets form.arguments in its place.",
        )
    if isinstance(value, str):
        kind = int if _WHOLE.fullmatch(value) else float if _DECIMAL.fullmatch(value) else str
        return kind(value)
    return value if type(value) in _TYPES else str(value)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name == TARGET:
        raise ConfigurationError(f"script_run_params: {name!r:.100} cannot be the name of an argument")
    return name


def _target(config: ScriptRunConfig | None, targets: list[str], *, many: bool) -> Param:
    said = config.compute_target if config is not None else None
    default = said if isinstance(said, str) and not is_template(said) else (targets[0] if targets else "local")
    offered = list(dict.fromkeys([default, *targets]))
    if many:
        return Param(
            [default],
            type="array",
            items={"type": "string"},
            examples=offered,  # which makes Airflow's field one of several choices
            title="Compute targets",
            description="The Airflow connections that name where the script runs, or local.",
        )
    choice: dict[str, Any] = {"enum": offered} if targets else {}
    return Param(
        default,
        type="string",
        title="Compute target",
        description="The Airflow connection that names where the script runs, or local.",
        **choice,
    )


def _field(name: str, value: Any, option: str, section: str | None) -> Param:
    """Return the form's field of an argument: the person's own ``Param``, with what it does not say itself."""
    param = copy.copy(value) if isinstance(value, Param) else _param(name, value)
    said = {"title": name.replace("_", " ").strip().capitalize(), **({"section": section} if section else {})}
    param.schema = said | param.schema
    if not param.description and not param.schema.get("description_md"):
        param.description = _description(option, param.schema)
    return param


def _description(option: str, schema: Mapping[str, Any]) -> str:
    """Return what the field is for the script; and its bounds, to which Airflow corrects a value without a word."""
    said = schema.get("type")
    kinds = [said] if isinstance(said, str) else said or []
    if "boolean" in kinds:
        return f"The script gets {option} when this is on."
    bounds = [f"{word} {schema[bound]}" for word, bound in _BOUNDS.items() if bound in schema]
    text = f"The script gets it as {option}{'; empty: not at all' if 'null' in kinds else ''}."
    return f"{text} {' and '.join(bounds).capitalize()}." if bounds else text


def _param(name: str, value: Any) -> Param:
    if value is None:
        return Param(None, type=["null", "string"])
    if type(value) not in _TYPES:
        raise ConfigurationError(
            f"script_run_params: {name} has the default {value!r:.100}, for which the form has no field",
            advice="Write a text, a number, True or False, None, or a Param with a type of its own.",
        )
    return Param(value, type=_TYPES[type(value)])


def _template(params: Mapping[str, Param], options: Mapping[str, str]) -> str:
    parts = []
    for name in params:
        if name == TARGET:
            continue
        option, value = repr(options[name]), f"params.{name}"
        parts.append(
            f"([{option}] if {value} is true else [] if {value} is none or {value} is false"
            f" else [{option}, {value} | string])"
        )
    return f"{{{{ ({' + '.join(parts) or '[]'}) | tojson }}}}"
