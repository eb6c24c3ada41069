"""``partial().expand()`` of the operator: what is mapped over is checked when the DAG is parsed, one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.mappedoperator import OperatorPartial

from airflow_provider.scriptrun.config import template_value
from airflow_provider.scriptrun.config.template import is_reference, references_in
from airflow_provider.scriptrun.config.wrong import joined
from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk.definitions.mappedoperator import MappedOperator

KWARGS = "expand_kwargs"


class ScriptRunPartial(OperatorPartial):
    """Airflow's, with a look at each item that a person wrote; what another task returns is checked when it runs."""

    def expand(self, **mapped_kwargs: Any) -> MappedOperator:
        """Map over lists, as Airflow does. Raises ``ConfigurationError`` for an item that cannot be run."""
        self._expand_called = True  # "was never mapped" beside an error would say nothing
        known = {name: self._items(name, value) for name, value in mapped_kwargs.items()}
        return super().expand(**known)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        """Map over a list of arguments, as Airflow does. Raises ``ConfigurationError`` as :meth:`expand` does."""
        self._expand_called = True
        if isinstance(kwargs, Sequence):
            kwargs = [
                self._fields(f"{KWARGS}[{number}]", "", item) if isinstance(item, Mapping) else item
                for number, item in enumerate(kwargs)
            ]
        return super().expand_kwargs(kwargs, strict=strict)

    def _items(self, name: str, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        return [self._fields(f"{name}[{number}]", name, {name: item})[name] for number, item in enumerate(value)]

    def _fields(self, place: str, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the operator's arguments of one instance, a configuration among them as a dictionary.

        :param name: of the only one, which ``place`` stands for; empty: ``place`` stands for all of them.
        """
        from airflow_provider.scriptrun.operators.scriptrun import refuse_mistakes

        known = dict(fields)
        try:
            if known.get("config") is not None and not is_reference(known["config"]):
                known["config"] = template_value(known["config"])
            refuse_mistakes({**self.kwargs, **known})
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}: {error.what}", why=error.why, advice=error.advice) from None
        for where in references_in(known):
            raise ConfigurationError(
                f"{joined(place, where[1:] if name else where)} is another task's output",
                why="Airflow would not wait for that task",
                advice="Give it to partial(...), or let a task return the list, and expand over that task's output.",
            )
        return known
