"""What is wrong with a field, where it stands, and what to write instead: from pydantic's words to ours."""

from __future__ import annotations

import difflib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError

from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: More of a wrong value than this, in characters, says nothing more about it.
SHOWN_CHARACTERS = 60

#: A field's place below a model: names of fields, numbers of items, keys in brackets.
Path = tuple["str | int", ...]


class Wrong(ValueError):  # noqa: N818 - it becomes part of an error, and is none of those that leave this package
    """A validator's refusal; becomes part of a :class:`ConfigurationError` at the model's edge.

    :param what: continues the field's path: "must be a whole number, not 'x'".
    :param advice: what to write instead.
    :param at: where below the validated field.
    """

    def __init__(self, what: str, advice: str | None = None, at: Path = ()) -> None:
        super().__init__(what)
        self.what, self.advice, self.at = what, advice, at

    def below(self, *at: str | int) -> Wrong:
        """Return the same, found below ``at``."""
        return Wrong(self.what, self.advice, (*at, *self.at))


def shown(value: Any) -> str:
    """Return ``value`` as a message may show it: short, and without an object's address."""
    if value is None or isinstance(value, (str, int, float, bool, bytes, list, tuple, dict, set, frozenset)):
        text = repr(value)
        if " at 0x" not in text:
            return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def closest(wrong: str, known: Iterable[str], introduction: str) -> str:
    """Return advice for an unknown name: the closest valid one where one is close, and all there are."""
    names = list(known)
    lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wrong.lower(), lower, n=1) or [name for name in lower if wrong.lower() in name]
    listed = f"{introduction} {', '.join(names)}."
    return f"Did you mean {lower[close[0]]}? {listed}" if close else listed


def joined(place: str, path: Path) -> str:
    """Return ``path`` below ``place`` as a person would write it: ``config.arguments[2]``."""
    for part in path:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part.startswith("["):
            place += part
        else:
            place += f".{part}" if place else part
    return place


def key(name: object) -> str:
    """Return the part of a path that stands for the key ``name`` of a dictionary."""
    return f"[{name!r}]"


def refuse(model: str, wrongs: list[tuple[str, Wrong]]) -> NoReturn:
    """Raise :class:`ConfigurationError` for mistakes at these places of the ``model``; there is at least one."""
    if len(wrongs) == 1:
        place, wrong = wrongs[0]
        raise ConfigurationError(f"{place} {wrong.what}", advice=wrong.advice)
    lines = [f"- {ConfigurationError(f'{place} {wrong.what}', advice=wrong.advice)}" for place, wrong in wrongs]
    raise ConfigurationError("\n".join([f"{model} has {len(wrongs)} mistakes:", *lines]))


@contextmanager
def translated(model: str, place: Callable[[Path], str]) -> Iterator[None]:
    """Turn pydantic's error into ours.

    :param place: says a path below the model as a person would.
    """
    wrongs: list[tuple[str, Wrong]] = []
    try:
        yield
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            wrong = _wrong(detail)
            wrongs.append((place((*detail["loc"], *wrong.at)), wrong))
    if wrongs:
        refuse(model, wrongs)


def _wrong(detail: Any) -> Wrong:
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Wrong):
        return cause
    if detail["type"] == "missing":
        return Wrong("is missing", "It has no default: write it.")
    return Wrong(f"is wrong: {detail['msg']}")
