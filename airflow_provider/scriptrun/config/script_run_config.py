"""What to run: a source directory, a script with arguments or a command, and where and how."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PrivateAttr

from airflow_provider.scriptrun.config.element import PART, Element
from airflow_provider.scriptrun.config.run_configuration import (
    DistributedConfiguration,
    RunConfiguration,
    distributed_fields,
)
from airflow_provider.scriptrun.config.secret import secret
from airflow_provider.scriptrun.config.template import RENDERED, is_template, read_text, templates_in
from airflow_provider.scriptrun.config.values import (
    argument,
    holding,
    input_name,
    location,
    mapping,
    optional,
    path,
    tag_name,
    text,
    variable_name,
)
from airflow_provider.scriptrun.config.wrong import Path, Wrong, joined, key, refuse, translated

if TYPE_CHECKING:
    import os
    from datetime import timedelta

    from typing_extensions import Self

    from airflow_provider.scriptrun.config.docker import DockerConfiguration
    from airflow_provider.scriptrun.config.environment import Environment

#: Keyword of ``ScriptRunConfig`` -> the field of its ``RunConfiguration`` that it is written into.
KEYWORDS = {
    "script": "script",
    "arguments": "arguments",
    "command": "command",
    "compute_target": "target",
    "environment": "environment",
    "environment_variables": "environment_variables",
    "docker_runtime_config": "docker",
    "max_run_duration_seconds": "max_run_duration_seconds",
}
_DISTRIBUTED = "distributed_job_config"
_KEYWORD_OF = {field: keyword for keyword, field in KEYWORDS.items()}


class ScriptRunConfig(Element):
    """What to run, and where and how.

    The keywords that a ``RunConfiguration`` has as well are written into ``run_config``: there is one value, under both
    names. Models that are given are copied. Each field may hold a Jinja template or another task's output until an
    Airflow task renders it.

    :param source_directory: the folder that is sent; relative to the DAG file in a task, else to the working directory.
    :param script: the script to run, relative to the source directory.
    :param arguments: its arguments, one item each; numbers and paths become text.
    :param run_config: where and how, in one piece; what a keyword says as well must be the same.
    :param command: in place of a script: a list of items, or one text for ``/bin/sh``.
    :param compute_target: an Airflow connection id, or ``local``, the default.
    :param environment: what the script runs in; default: the target's own Python, nothing installed.
    :param environment_variables: for the script; they win over the environment's.
    :param inputs: name -> address of data, which the script finds as ``inputs/<name>``.
    :param distributed_job_config: the processes of a distributed script.
    :param docker_runtime_config: how a container is run.
    :param max_run_duration_seconds: then the run is cancelled; a ``timedelta`` will do; ``None``: no limit.
    :param resume_from: the id of a run whose outputs this one goes on from.
    :param tags: for people, to find the run by.
    :param secret_variables: variable -> reference to a secret: ``conn:<connection id>/password``, ``var:<variable>``.
    :raises ConfigurationError: a field is wrong; the message has its path, and what to write instead.
    """

    PLACE = "config"
    ABSENT = {"target": "Here Azure ML calls it compute_target."}

    source_directory: Annotated[str, holding(path(example="training"))]
    run_config: Annotated[RunConfiguration, PART] = Field(default_factory=RunConfiguration)
    inputs: Annotated[
        dict[str, str], holding(mapping(input_name, location, example="{'data': 's3://bucket/data.csv'}"))
    ] = Field(default_factory=dict)
    resume_from: Annotated[
        str | None, holding(optional(text(example="churn_1700000000_0123abcd", meaning="a run's id")))
    ] = None
    tags: Annotated[dict[str, str], holding(mapping(tag_name, argument, example="{'team': 'churn'}"))] = Field(
        default_factory=dict
    )
    secret_variables: Annotated[
        dict[str, str], holding(mapping(variable_name, secret, example="{'HF_TOKEN': 'conn:hf/password'}"))
    ] = Field(default_factory=dict)

    _is_resolved: bool = PrivateAttr(False)

    def __init__(
        self,
        source_directory: str | os.PathLike[str] | Any = None,
        script: str | os.PathLike[str] | Any | None = None,
        arguments: Sequence[Any] | Any | None = None,
        run_config: RunConfiguration | Mapping[str, Any] | None = None,
        *,
        command: str | Sequence[Any] | Any | None = None,
        compute_target: str | Any | None = None,
        environment: Environment | Mapping[str, Any] | Any | None = None,
        environment_variables: Mapping[str, Any] | Any | None = None,
        inputs: Mapping[str, Any] | Any | None = None,
        distributed_job_config: DistributedConfiguration | None = None,
        docker_runtime_config: DockerConfiguration | Mapping[str, Any] | Any | None = None,
        max_run_duration_seconds: float | timedelta | str | Any | None = None,
        resume_from: str | Any | None = None,
        tags: Mapping[str, Any] | Any | None = None,
        secret_variables: Mapping[str, str] | Any | None = None,
        **unknown: Any,
    ) -> None:
        given = {
            "source_directory": source_directory,
            "script": script,
            "arguments": arguments,
            "run_config": run_config,
            "command": command,
            "compute_target": compute_target,
            "environment": environment,
            "environment_variables": environment_variables,
            "inputs": inputs,
            "distributed_job_config": distributed_job_config,
            "docker_runtime_config": docker_runtime_config,
            "max_run_duration_seconds": max_run_duration_seconds,
            "resume_from": resume_from,
            "tags": tags,
            "secret_variables": secret_variables,
        }
        super().__init__(**{name: value for name, value in given.items() if value is not None}, **unknown)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def from_rendered(cls, data: Mapping[str, Any] | str | ScriptRunConfig) -> Self:
        """Return the configuration that a rendered dictionary describes, fully checked: no text is a template now.

        Numbers, lists and dictionaries may have been rendered to text. Raises ``ConfigurationError``.
        """
        if isinstance(data, ScriptRunConfig):
            data = data._plain()
        with translated(cls.__name__, cls._default_place):
            config = cls.__pydantic_validator__.validate_python(
                _from_text(data) if isinstance(data, str) else data, context=RENDERED
            )
        config._is_resolved = True
        config._finish()
        return config  # type: ignore[no-any-return]

    def resolved(self) -> Self:
        """Return this configuration fully checked, to submit it. Raises ``ConfigurationError``, for a template too."""
        if not self._is_resolved:
            held = [self._default_place(place) for place in templates_in(self._plain())]
            if held:
                wrong = Wrong("holds a template, which only an Airflow task renders", "Write the value itself.")
                refuse(type(self).__name__, [(place, wrong) for place in held])
        return type(self).from_rendered(self._plain())

    def to_template_dict(self) -> dict[str, Any]:
        """Return what a person wrote as plain values, for an operator's template field; defaults are left out.

        Everything is checked once more (a list may have been appended to). Raises ``ConfigurationError``.
        """
        context = RENDERED if self._is_resolved else None
        return type(self).model_validate(self._plain(), context=context)._plain()

    def clone(self) -> Self:
        """Return a copy that shares nothing with this one."""
        return self._twin()

    @property
    def script_path(self) -> PurePosixPath | None:
        """The script's place in the source directory, normalised; ``None``: there is a command."""
        script = self.script
        if script is None:
            return None
        try:
            return PurePosixPath(_script_within(self.source_directory, script))
        except Wrong as wrong:
            refuse(type(self).__name__, [(self._path(wrong.at), wrong)])

    @property
    def variables(self) -> dict[str, str]:
        """The environment's variables and the run's own, which win."""
        return {**self.environment.environment_variables, **self.environment_variables}

    @property
    def script(self) -> str | None:
        """``run_config.script``."""
        return self._known_run_config.script

    @script.setter
    def script(self, value: Any) -> None:
        self._assign("script", value)

    @property
    def arguments(self) -> list[str]:
        """``run_config.arguments``."""
        return self._known_run_config.arguments

    @arguments.setter
    def arguments(self, value: Any) -> None:
        self._assign("arguments", value)

    @property
    def command(self) -> str | list[str] | None:
        """``run_config.command``."""
        return self._known_run_config.command

    @command.setter
    def command(self, value: Any) -> None:
        self._assign("command", value)

    @property
    def compute_target(self) -> str:
        """``run_config.target``."""
        return self._known_run_config.target

    @compute_target.setter
    def compute_target(self, value: Any) -> None:
        self._assign("compute_target", value)

    @property
    def environment(self) -> Environment:
        """``run_config.environment``."""
        return self._known_run_config.environment

    @environment.setter
    def environment(self, value: Any) -> None:
        self._assign("environment", value)

    @property
    def environment_variables(self) -> dict[str, str]:
        """``run_config.environment_variables``."""
        return self._known_run_config.environment_variables

    @environment_variables.setter
    def environment_variables(self, value: Any) -> None:
        self._assign("environment_variables", value)

    @property
    def docker_runtime_config(self) -> DockerConfiguration:
        """``run_config.docker``."""
        return self._known_run_config.docker

    @docker_runtime_config.setter
    def docker_runtime_config(self, value: Any) -> None:
        self._assign("docker_runtime_config", value)

    @property
    def max_run_duration_seconds(self) -> float | None:
        """``run_config.max_run_duration_seconds``."""
        return self._known_run_config.max_run_duration_seconds

    @max_run_duration_seconds.setter
    def max_run_duration_seconds(self, value: Any) -> None:
        self._assign("max_run_duration_seconds", value)

    @property
    def distributed_job_config(self) -> DistributedConfiguration | None:
        """The part of ``run_config`` that its communicator makes count."""
        return self._known_run_config.distributed_job_config

    @distributed_job_config.setter
    def distributed_job_config(self, value: Any) -> None:
        try:
            fields = distributed_fields(value)
        except Wrong as wrong:
            refuse(type(self).__name__, [(self._path((_DISTRIBUTED,)), wrong)])
        for name, content in fields.items():
            setattr(self._known_run_config, name, content)

    @property
    def _known_run_config(self) -> RunConfiguration:
        if not isinstance(self.run_config, RunConfiguration):
            wrong = Wrong("is not known before a task renders it", "Put templates into its fields, to read the others.")
            refuse(type(self).__name__, [(self._path(("run_config",)), wrong)])
        return self.run_config

    def _assign(self, keyword: str, value: Any) -> None:
        field = KEYWORDS[keyword]
        run_config = self._known_run_config
        with translated(type(self).__name__, lambda found: self._path((keyword, *found[1:]))):
            run_config.__pydantic_validator__.validate_assignment(run_config, field, value)
        run_config._settle(run_config._place)

    @classmethod
    def _known_names(cls) -> tuple[str, ...]:
        first, *rest = cls.model_fields
        return (first, *KEYWORDS, _DISTRIBUTED, *rest)

    @classmethod
    def _prepared(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the keywords into the run configuration; what both say must be the same."""
        fields = dict(data)
        keywords = {name: fields.pop(name) for name in (*KEYWORDS, _DISTRIBUTED) if name in fields}
        wanted = {KEYWORDS[name]: value for name, value in keywords.items() if name in KEYWORDS and value is not None}
        origin = {KEYWORDS[name]: name for name in keywords if name in KEYWORDS}
        if keywords.get(_DISTRIBUTED) is not None:
            try:
                implied = distributed_fields(keywords[_DISTRIBUTED])
            except Wrong as wrong:
                raise wrong.below(_DISTRIBUTED) from None
            wanted.update(implied)
            origin.update(dict.fromkeys(implied, _DISTRIBUTED))
        if not wanted:
            return fields
        fields["run_config"] = _merged(fields.get("run_config"), wanted, origin)
        return fields

    @classmethod
    def _default_place(cls, found: Path) -> str:
        if len(found) > 1 and found[0] == "run_config" and found[1] in _KEYWORD_OF:
            found = (_KEYWORD_OF[str(found[1])], *found[2:])
        return joined(cls.PLACE, found)

    def _conflicts(self) -> Iterator[Wrong]:
        run_config = self.run_config
        if not isinstance(run_config, RunConfiguration):
            return
        script, command = run_config.script, run_config.command
        if script is None and command is None:
            yield Wrong(
                "is missing, and so is command",
                "Write script='train.py', or command=['python', '-m', ...].",
                ("script",),
            )
        elif script is not None and command is not None:
            yield Wrong("cannot be used together with script", "Keep one of the two.", ("command",))
        elif command is not None and run_config.arguments:
            yield Wrong("are those of a script, and there is a command", "Write them into the command.", ("arguments",))
        elif script is not None and not is_template(script) and not is_template(self.source_directory):
            try:
                _script_within(self.source_directory, script)
            except Wrong as wrong:
                yield wrong
        if isinstance(self.secret_variables, dict) and isinstance(run_config.environment_variables, dict):
            for name in self.secret_variables:
                if name in run_config.environment_variables:
                    yield Wrong(
                        "is one of environment_variables, too", "Keep one of the two.", ("secret_variables", key(name))
                    )

    def _plain(self) -> dict[str, Any]:
        """Return what is not at its default: keywords first, then the rest of the run configuration."""
        fields = super()._plain()
        where = fields.pop("run_config", {})
        plain = {"source_directory": fields.pop("source_directory")}
        if isinstance(where, dict):
            plain.update({name: where.pop(field) for name, field in KEYWORDS.items() if field in where})
        return {**plain, **({"run_config": where} if where else {}), **fields}


def _merged(run_config: Any, wanted: dict[str, Any], origin: dict[str, str]) -> Any:
    """Return the run configuration with what the keywords want; ``origin`` says which keyword wants a field."""
    if is_template(run_config):
        name = next(iter(origin.values()))
        raise Wrong(
            "cannot be used together with a run_config that a task renders as a whole",
            "Put templates into the fields of run_config, or let the task render this one, too.",
            (name,),
        )
    if isinstance(run_config, RunConfiguration):
        said = {name: getattr(run_config, name) for name in run_config.model_fields_set | set(run_config._plain())}
    elif run_config is None or isinstance(run_config, Mapping):
        said = dict(run_config or {})
    else:
        return run_config  # no run configuration at all: its validator says so
    for field, value in wanted.items():
        if field in said and said[field] != value:
            raise Wrong(
                f"is said by run_config.{field}, too, and differently",
                "Keep one of the two.",
                (origin[field],),
            )
    return {**said, **wanted}


def _script_within(source_directory: str, script: str) -> str:
    """Return the script's path in the source directory, by its words alone. Raises :class:`Wrong`."""
    found = script
    if posixpath.isabs(script):
        if not posixpath.isabs(source_directory):
            raise Wrong(f"is {script!r}, an absolute path", "Write it relative to the source directory.", ("script",))
        found = posixpath.relpath(script, posixpath.normpath(source_directory))
    normal = posixpath.normpath(found)
    if normal == ".." or normal.startswith("../"):
        raise Wrong(
            f"is {script!r}, outside the source directory {source_directory!r}",
            "Only what is in the source directory is sent: move the script there, or name a folder above both.",
            ("script",),
        )
    if normal == "." or script.endswith("/"):
        raise Wrong(f"is {script!r}, a folder", "Name the script in it.", ("script",))
    return normal


def _from_text(data: str) -> Any:
    try:
        return read_text(data, dict)
    except Wrong as wrong:
        refuse("ScriptRunConfig", [("config", wrong)])
