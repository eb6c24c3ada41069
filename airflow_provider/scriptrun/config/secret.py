"""A secret by reference: where the worker finds it. The secret itself never stands in a configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from airflow_provider.scriptrun.config.wrong import Wrong

#: The parts of a connection that a reference may name; anything else is a key of its extras.
CONNECTION_PARTS = ("password", "login", "host", "schema", "port")
FORMS = "conn:<connection id>/<password, login, host, schema, port or a key of its extras>, or var:<variable>"
#: In front of a key of the extras, for one that has the name of a part.
EXTRA = "extra."
_CONNECTION = re.compile(r"conn:(?P<id>[\w.:#!()\\-]+(?:/[\w.:#!()\\-]+)*)/(?P<field>[\w.-]+)")
_VARIABLE = re.compile(r"var:(?P<key>\S+)")


@dataclass(frozen=True)
class SecretReference:
    """Where a secret is kept.

    :param kind: ``conn``, an Airflow connection, or ``var``, an Airflow variable.
    :param name: the connection's id or the variable's key.
    :param field: of a connection: one of ``CONNECTION_PARTS``, else a key of its extras, after ``extra.`` or bare.
    """

    kind: str
    name: str
    field: str | None = None

    @classmethod
    def parse(cls, text: str) -> SecretReference:
        """Return what ``text`` refers to. Raises :class:`Wrong`, which does not show the text: it may be the secret."""
        if found := _CONNECTION.fullmatch(text):
            return cls("conn", found["id"], found["field"])
        if found := _VARIABLE.fullmatch(text):
            return cls("var", found["key"])
        raise Wrong("is no reference to a secret (its value is not shown here, in case it is one)", f"Write {FORMS}.")

    @property
    def extra_key(self) -> str | None:
        """The key of the connection's extras that is meant; ``None``: a part of the connection, or a variable."""
        if self.field is None or self.field in CONNECTION_PARTS:
            return None
        return self.field.removeprefix(EXTRA)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.field is None else f"{self.kind}:{self.name}/{self.field}"


def secret(value: Any, rendered: bool) -> str:  # noqa: ARG001 - the shape of every check
    """Check a reference to a secret. Raises :class:`Wrong`, without the value."""
    if not isinstance(value, str):
        raise Wrong(f"must be a reference to a secret, not a {type(value).__name__}", f"Write {FORMS}.")
    SecretReference.parse(value)
    return value
