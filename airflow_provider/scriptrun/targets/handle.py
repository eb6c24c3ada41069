"""Everything needed to come back to a run, as small plain JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Handle:
    """Everything needed to come back to a run, in any process, later: small plain JSON, no secrets.

    :param target: the target's type, for instance ``local``.
    :param connection: the Airflow connection id that names it, or ``local``.
    :param host_id: of the host that the run is on; empty until the target has answered once.
    :param root: the folder under which the target keeps it.
    :param supervisor: version that started it.
    :param protocol: number of the protocol that version speaks.
    """

    target: str
    connection: str
    host_id: str
    root: str
    run_id: str
    lineage: str
    supervisor: str
    protocol: int

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return dict(self.__dict__)

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(self.document(), sort_keys=True)

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | str) -> Handle:
        """Read what :meth:`document` or :meth:`to_json` made; unknown fields are a later release's, and are ignored.

        Raises :class:`ConfigurationError`.
        """
        try:
            values = json.loads(document) if isinstance(document, str) else document
            known = {name: values[name] for name in cls.__dataclass_fields__}
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"This is no handle of a run: {document!r:.200}", why=repr(error)) from None
        for name, value in known.items():
            if not isinstance(value, int if name == "protocol" else str):
                raise ConfigurationError(f"This is no handle of a run: {name} is {value!r:.200}")
        return cls(**known)
