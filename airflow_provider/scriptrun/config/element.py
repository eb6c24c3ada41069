"""The base of every model: assigned to as freely as Azure ML's, and checked at each assignment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator
from pydantic_core import core_schema

from airflow_provider.scriptrun.config.template import is_reference, is_rendered, is_template, read_text
from airflow_provider.scriptrun.config.wrong import Path, Wrong, closest, joined, refuse, shown, translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, ValidationInfo
    from typing_extensions import Self


class Element(BaseModel):
    """A part of a configuration.

    Each part belongs to one whole: a model that is given to another one, as a keyword or by assignment, is copied, so
    that assigning to one configuration never changes another. Single fields are checked when they are set; what fields
    say together is checked when a model is made, and when a configuration is handed on.
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        defer_build=True,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )

    #: What a message calls a model that stands alone.
    PLACE: ClassVar[str] = ""
    #: Fields of Azure ML's that are not here -> what to do instead.
    ABSENT: ClassVar[dict[str, str]] = {}

    _place: str = PrivateAttr("")

    def __init__(self, *positional: Any, **data: Any) -> None:
        for name, value in zip(type(self).model_fields, positional, strict=False):
            if name in data:
                raise TypeError(f"{type(self).__name__} got two values for {name!r}")
            data[name] = value
        if len(positional) > len(type(self).model_fields):
            raise TypeError(f"{type(self).__name__} takes at most {len(type(self).model_fields)} positional arguments")
        with translated(type(self).__name__, self._default_place):
            self.__pydantic_validator__.validate_python(data, self_instance=self)
        self._finish()

    # pydantic's own mark (RootModel has it) for: parts may be made without calling this.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def model_validate(cls, obj: Any, *, context: Any | None = None, **options: Any) -> Self:
        """Return the model that a dictionary describes. Raises ``ConfigurationError``."""
        with translated(cls.__name__, cls._default_place):
            element = super().model_validate(obj, context=context, **options)
        if element is obj:
            element = obj._twin()
        element._finish()
        return element

    @model_validator(mode="before")
    @classmethod
    def _named_fields(cls, data: Any) -> Any:
        if isinstance(data, cls):
            return data
        if not isinstance(data, Mapping):
            raise Wrong(
                f"must be {'an' if cls.__name__[0] in 'AEIOU' else 'a'} {cls.__name__}, not {shown(data)}",
                f"Write {cls.__name__}(...) or a dictionary of its fields.",
            )
        known = cls._known_names()
        for name in data:
            if name not in known:
                raise cls._unknown(str(name))
        return cls._prepared(data)

    @classmethod
    def _prepared(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a person wrote as values of fields."""
        return data

    @classmethod
    def _known_names(cls) -> tuple[str, ...]:
        return tuple(cls.model_fields)

    @classmethod
    def _unknown(cls, name: str) -> Wrong:
        absent = cls.ABSENT.get(name)
        what = f"is no field of {cls.__name__}"
        return Wrong(what, absent or closest(name, cls._known_names(), f"{cls.__name__} has"), (name,))

    @classmethod
    def _default_place(cls, path: Path) -> str:
        return joined(cls.PLACE or cls.__name__, path)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self)
        if name.startswith("_"):
            super().__setattr__(name, value)
        elif name in kind.model_fields:
            with translated(kind.__name__, self._path):
                self.__pydantic_validator__.validate_assignment(self, name, value)
            self._settle(self._place)
        elif isinstance(found := getattr(kind, name, None), property):
            if found.fset is None:
                refuse(kind.__name__, [(self._path((name,)), Wrong("follows from the other fields", "Set those."))])
            found.fset(self, value)
        else:
            wrong = kind._unknown(name)
            refuse(kind.__name__, [(self._path(wrong.at), wrong)])

    def _path(self, path: Path) -> str:
        return joined(self._place or self.PLACE or type(self).__name__, path)

    def _settle(self, place: str) -> None:
        """Take note of where in a configuration this stands, for messages."""
        self._place = place
        for name, value in self.__dict__.items():
            if isinstance(value, Element):
                value._settle(self._child_place(name))

    def _child_place(self, name: str) -> str:
        return self._path((name,))

    def _finish(self) -> None:
        self._settle(self._place or self.PLACE)
        self._refuse_conflicts()

    def _refuse_conflicts(self) -> None:
        wrongs = [(element._path(wrong.at), wrong) for element, wrong in self._all_conflicts()]
        if wrongs:
            refuse(type(self).__name__, wrongs)

    def _all_conflicts(self) -> Iterator[tuple[Element, Wrong]]:
        for wrong in self._conflicts():
            yield self, wrong
        for value in self.__dict__.values():
            if isinstance(value, Element):
                yield from value._all_conflicts()

    def _conflicts(self) -> Iterator[Wrong]:
        """Yield what fields of this model say against each other, as far as they are known without a template."""
        return iter(())

    def _twin(self) -> Self:
        """Return a copy that shares nothing with this one but what stands for other tasks."""
        twin = self.model_copy()
        for name, value in twin.__dict__.items():
            twin.__dict__[name] = _copied(value)
        return twin

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self._twin()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def _plain(self) -> dict[str, Any]:
        """Return the fields that are not at their default, in the order of the fields, as plain values."""
        defaults = _defaults(type(self))
        return {
            name: _plain(getattr(self, name))
            for name in type(self).model_fields
            if name not in defaults or not _same(getattr(self, name), defaults[name])
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_shown(value)}' for name, value in self._plain().items())})"

    __str__ = __repr__


class _Part:
    """The annotation of a field that holds a model: a template passes, a dictionary becomes it, a model is copied."""

    def __init__(self, *, may_be_none: bool = False) -> None:
        self.may_be_none = may_be_none

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_wrap_validator_function(self._validate, handler(source))

    def _validate(self, value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
        return None if value is None and self.may_be_none else _part(value, handler, info)


#: A model; ``None`` is its default.
PART = _Part()
#: A model, or none.
OPTIONAL_PART = _Part(may_be_none=True)


def _part(value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
    rendered = is_rendered(info.context)
    if not rendered and is_template(value):
        return value
    if is_reference(value):
        raise Wrong("stands for what another task returns", "Only an Airflow task can look that up.")
    if rendered and isinstance(value, str):
        value = read_text(value, dict)
    made = handler({} if value is None else value)
    if made is not value:
        return made
    return handler(made._plain()) if rendered else made._twin()


@cache
def _defaults(kind: type[Element]) -> dict[str, Any]:
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _copied(value: Any) -> Any:
    if isinstance(value, Element):
        return value._twin()
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Element):
        return value._plain()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {_shown(item)}" for name, item in value.items()) + "}"
    return f"<{type(value).__name__}>" if is_reference(value) else repr(value)
