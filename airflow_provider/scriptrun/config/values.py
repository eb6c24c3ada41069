"""The kinds of value that fields hold: what is taken, what it becomes, and what to write instead of what is not."""

from __future__ import annotations

import json
import math
import numbers
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic_core import core_schema

from airflow_provider.scriptrun.config.template import is_reference, is_rendered, is_template, read_text
from airflow_provider.scriptrun.config.wrong import Wrong, closest, key, shown

if TYPE_CHECKING:
    from enum import Enum

    from pydantic import GetCoreSchemaHandler, ValidationInfo

#: Takes a value and whether it was rendered; returns what the field holds. Raises :class:`Wrong`.
Check = Callable[[Any, bool], Any]

#: Variables that the supervisor sets for the script.
RESERVED_PREFIX = "SCRIPTRUN_"
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: A password in an address, or a token in place of a user (``git@`` of ssh is none); ``${NAME}`` is looked up later.
_CREDENTIALS = re.compile(r"://[^/@\s]*:(?!\$\{)[^/@\s]*@|https?://(?!\$\{)[^/@\s:]+@")
#: What a number may be rendered to when there is none.
_NO_NUMBER = ("", "None", "null")


def checked(value: Any, check: Check, *, rendered: bool) -> Any:
    """Return ``value`` checked, unless it holds a template that is still to be rendered."""
    if not rendered and is_template(value):
        return value
    if is_reference(value):
        raise Wrong("stands for what another task returns", "Only an Airflow task can look that up.")
    return check(value, rendered)


class holding:  # noqa: N801 - stands in annotations, where it reads as a word
    """The annotation of a field that holds what ``check`` takes, or a template.

    It gives pydantic the finished schema: ``PlainValidator`` would do the same, after a look at the function's
    signature and at a schema for the serializer, which are most of what a model costs when a DAG file is parsed.
    """

    def __init__(self, check: Check) -> None:
        self.check = check

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Answer pydantic."""
        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        return checked(value, self.check, rendered=is_rendered(info.context))


def optional(check: Check) -> Check:
    """Return a check that takes ``None`` as well."""
    return lambda value, rendered: None if value is None else check(value, rendered)


def text(*, example: str, pattern: str | None = None, meaning: str = "text", secret_free: bool = False) -> Check:
    """Return a check for text that is not empty.

    :param example: a good value, for messages.
    :param pattern: what the whole text must match; ``meaning`` says it in words.
    :param secret_free: credentials in an address are refused, because the field is shown and stored.
    """
    compiled = re.compile(pattern) if pattern else None

    def check(value: Any, rendered: bool) -> str:  # noqa: ARG001 - the shape of every check
        if not isinstance(value, str):
            raise Wrong(f"must be {meaning}, not {shown(value)}", f"Write for instance {example!r}.")
        if not value.strip():
            raise Wrong("is empty", f"Write for instance {example!r}.")
        if secret_free:
            refuse_credentials(value)
        if "\0" in value or (compiled and not compiled.fullmatch(value)):
            raise Wrong(f"must be {meaning}, not {shown(value)}", f"Write for instance {example!r}.")
        return value

    return check


def refuse_credentials(value: str) -> None:
    """Raise :class:`Wrong` for an address that holds a password; the message does not show it."""
    if _CREDENTIALS.search(value):
        raise Wrong(
            "holds credentials, which would be stored and shown",
            "Write ${NAME} in their place and set the variable NAME where the task runs.",
        )


def path(*, example: str) -> Check:
    """Return a check for a path, kept as text as it was written: it is read when the run is submitted."""

    def check(value: Any, rendered: bool) -> str:  # noqa: ARG001
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(value, str):
            raise Wrong(f"must be a path, not {shown(value)}", f"Write for instance {example!r}.")
        if not value.strip() or "\0" in value:
            raise Wrong("is no path" if value.strip() else "is empty", f"Write for instance {example!r}.")
        return value

    return check


def whole_number(*, at_least: int | None = None) -> Check:
    """Return a check for a whole number."""

    def check(value: Any, rendered: bool) -> int:
        number = _number(value, "a whole number", rendered)
        if not isinstance(number, numbers.Integral) and not (rendered and float(number).is_integer()):
            raise Wrong(f"must be a whole number, not {shown(value)}", "Write for instance 4.")
        if at_least is not None and number < at_least:
            raise Wrong(f"must be at least {at_least}, not {shown(value)}", f"Write {at_least} or more.")
        return int(number)

    return check


def seconds(value: Any, rendered: bool) -> int | float:
    """Check a duration: a number of seconds above 0, or a ``timedelta``."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    number = _number(value, "a number of seconds", rendered)
    if not math.isfinite(number) or number <= 0:
        raise Wrong(f"must be more than 0 seconds, not {shown(value)}", "Leave it out for no limit.")
    return int(number) if float(number).is_integer() else float(number)


def _number(value: Any, meaning: str, rendered: bool) -> Any:
    if rendered and isinstance(value, str):
        try:
            return int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", value) else float(value)
        except ValueError:
            raise Wrong(f"must be {meaning}, not {shown(value)}", "Correct what the template is rendered to.") from None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        is_quoted = isinstance(value, str) and value.strip().isdigit()
        raise Wrong(
            f"must be {meaning}, not {shown(value)}",
            "Write it without quotes." if is_quoted else "Write for instance 4.",
        )
    return value


def optional_number(check: Check) -> Check:
    """Return a check that takes ``None`` as well, and what a template is rendered to when there is no number."""

    def checked_or_none(value: Any, rendered: bool) -> Any:
        if value is None or (rendered and isinstance(value, str) and value.strip() in _NO_NUMBER):
            return None
        return check(value, rendered)

    return checked_or_none


def flag(value: Any, rendered: bool) -> bool:
    """Check a yes or no."""
    if rendered and isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise Wrong(f"must be True or False, not {shown(value)}", "Write True or False, without quotes.")
    return value


def name_of(names: type[Enum]) -> Check:
    """Return a check for one of some names, in whatever case."""

    def check(value: Any, rendered: bool) -> Enum:  # noqa: ARG001
        if value is None:
            value = "None"
        if isinstance(value, str):
            try:
                return names(value.strip())
            except ValueError:
                pass
        known = [member.value for member in names]
        raise Wrong(f"is {shown(value)}, which it cannot be", closest(str(value), known, "It can be"))

    return check


def argument(value: Any, rendered: bool) -> str:
    """Check one item of a command line, or the value of a variable: text, or a number or path, which becomes text.

    What another task returned may be a dictionary or a list, too, which becomes JSON.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if rendered and isinstance(value, (Mapping, Sequence)) and not isinstance(value, (str, bytes)):
        return _json(value)
    if isinstance(value, str):
        if "\0" in value:
            raise Wrong("holds a NUL character, which no process can be given", "Leave it out.")
        return value
    if isinstance(value, numbers.Number) and not isinstance(value, bool):
        return str(value)
    raise Wrong(f"must be text or a number, not {shown(value)}", _argument_advice(value))


def _json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    try:
        return json.dumps(value if isinstance(value, Mapping) else list(value))
    except (TypeError, ValueError) as error:
        raise Wrong(f"cannot be written as JSON: {error}", "Let the task before return text.") from None


def _argument_advice(value: Any) -> str:
    if isinstance(value, bool):
        return f"Write the text that the script expects, for instance {str(value).lower()!r} or {str(int(value))!r}."
    if value is None:
        return "Leave it out, or write the text that the script expects, for instance ''."
    if isinstance(value, (list, tuple)):
        return "Write its items one by one, or join them to one text."
    if isinstance(value, Mapping):
        return "Write it as text, for instance json.dumps(...)."
    return "Write str(...) of it."


def listing(item: Check, *, example: str, text_advice: str = "Write a list.") -> Check:
    """Return a check for a list of items, each of which may hold a template.

    :param text_advice: for whoever wrote one text where a list is meant.
    """

    def check(value: Any, rendered: bool) -> list[Any]:
        if rendered and isinstance(value, str):
            value = read_text(value, list)
        if isinstance(value, str):
            raise Wrong(f"must be a list, not the text {shown(value)}", f"{text_advice} For instance {example}.")
        if isinstance(value, (set, frozenset)):
            raise Wrong("must be a list: a set has no order", f"Write for instance {example}.")
        if not isinstance(value, (list, tuple)):
            raise Wrong(f"must be a list, not {shown(value)}", f"Write for instance {example}.")
        items = []
        for number, one in enumerate(value):
            with found_at(number):
                items.append(checked(one, item, rendered=rendered))
        return items

    return check


def mapping(name: Callable[[str], None], item: Check, *, example: str) -> Check:
    """Return a check for a dictionary; ``name`` refuses a key, and each value may hold a template."""

    def check(value: Any, rendered: bool) -> dict[str, Any]:
        if value is None:
            return {}
        if rendered and isinstance(value, str):
            value = read_text(value, dict)
        if not isinstance(value, Mapping):
            raise Wrong(f"must be a dictionary, not {shown(value)}", f"Write for instance {example}.")
        items = {}
        for one, content in value.items():
            with found_at(key(one)):
                _check_name(one, name, rendered=rendered)
                items[one] = checked(content, item, rendered=rendered)
        return items

    return check


@contextmanager
def found_at(place: str | int) -> Iterator[None]:
    """Say of what is refused within that it stands at ``place``."""
    try:
        yield
    except Wrong as wrong:
        raise wrong.below(place) from None


def _check_name(name: Any, refuse: Callable[[str], None], *, rendered: bool) -> None:
    if not isinstance(name, str):
        raise Wrong("is no text, as a name must be", f"Write {str(name)!r}.")
    if not rendered and is_template(name):
        raise Wrong("has a template in its name", "Airflow renders values only: write the name itself.")
    refuse(name)


def variable_name(name: str) -> None:
    """Refuse what is no name of an environment variable, and the names that the provider sets itself."""
    if not _VARIABLE_NAME.fullmatch(name):
        fixed = re.sub(r"\W", "_", name, flags=re.ASCII)
        fixed = f"_{fixed}" if not fixed or fixed[0].isdigit() else fixed
        raise Wrong("is no name of an environment variable", f"Letters, digits and _ only: {fixed!r}.")
    if name.startswith(RESERVED_PREFIX):
        raise Wrong(
            "is a name that the provider keeps for itself", f"Take one that does not begin with {RESERVED_PREFIX}."
        )


def tag_name(name: str) -> None:
    """Refuse an empty name."""
    if not name.strip():
        raise Wrong("is an empty name", "Give the tag a name.")


def input_name(name: str) -> None:
    """Refuse what cannot be the name of a folder under ``inputs/``."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}", name):
        advice = "Letters, digits, _, - and . only, at most 255: the script finds it as inputs/<name>."
        raise Wrong("is no name of an input", advice)


def location(value: Any, rendered: bool) -> str:
    """Check where an input lies: an address or a path, whatever object stands for it; or a run, which has outputs.

    A run is named by its record, or by the field ``outputs`` of that.
    """
    if isinstance(value, os.PathLike) or hasattr(value, "protocol"):  # ObjectStoragePath and fsspec's paths
        value = str(value)
    if rendered and isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(Wrong):  # else it is a path
            value = read_text(value, dict)
    if isinstance(value, Mapping):
        value = _outputs_uri(value)
    return str(text(example="s3://bucket/data.csv", secret_free=True)(value, rendered))


def _outputs_uri(value: Mapping[str, Any]) -> str:
    outputs = value.get("outputs", value)
    uri = outputs.get("uri") if isinstance(outputs, Mapping) else None
    if not isinstance(uri, str) or not uri:
        raise Wrong(
            f"is the dictionary {shown(dict(value))}, which names no run's outputs",
            "Write train.output['outputs'] of the task that trains, a path or a URL.",
        )
    return uri


Flag = Annotated[bool, holding(flag)]
Count = Annotated[int, holding(whole_number(at_least=1))]
OptionalCount = Annotated[int | None, holding(optional_number(whole_number(at_least=1)))]
OptionalWhole = Annotated[int | None, holding(optional_number(whole_number()))]
OptionalSeconds = Annotated[float | None, holding(optional_number(seconds))]
Variables = Annotated[dict[str, str], holding(mapping(variable_name, argument, example="{'EPOCHS': '10'}"))]
