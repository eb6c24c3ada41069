"""The document that a target carries out, built from what was read; its form is described here and nowhere else.

::

    schema        1
    kind          default | user_managed | pip | conda | existing_conda
    interpreter   path or name on the target (user_managed), else null
    python        PEP 440 specifier for the interpreter's version, or null
    requirements  lines as in a requirements file, every included file merged
    constraints   the same
    options       pre, require_hashes: bool; no_binary, only_binary: names
    index         url (null: what the target is configured for), extra, find_links: addresses in order; no_index: bool
    conda         {"channels", "packages"} (conda), {"environment": name or path} (existing_conda), else null
    image         what ``image.py`` describes; absent where the environment has none. All the rest is within it then
    delivery      never part of a key:
        name              the environment's name, for messages
        variables         for the script
        lock_max_age_s    seconds, or null: what was resolved stays for ever
        refresh           bool
        ca                PEM text, or null
        trusted_hosts     hosts whose certificate is not checked
        credentials       address without credentials -> {"user": name, "query": name} of secrets
        git_credentials   address of a repository -> name of a secret

All but ``delivery`` names the recipe on a target (with its Python and platform). Secrets travel beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider.scriptrun.environments.requirements_file import Requirements

SCHEMA = 1


@dataclass
class Recipe:
    """What was read of an environment, before it becomes a document."""

    kind: str
    name: str | None = None
    interpreter: str | None = None
    python: str | None = None
    requirements: Requirements = field(default_factory=Requirements)
    conda: dict[str, Any] | None = None
    variables: dict[str, str] = field(default_factory=dict)
    image: dict[str, Any] | None = None


@dataclass(frozen=True)
class Delivery:
    """How the target gets at packages, and for how long what it resolved stays good."""

    lock_max_age_s: float | None
    refresh: bool
    ca: str | None
    credentials: dict[str, dict[str, str]]
    git_credentials: dict[str, str]


def document(recipe: Recipe, delivery: Delivery) -> dict[str, Any]:
    """Return the plan document."""
    asked = recipe.requirements
    return {
        "schema": SCHEMA,
        "kind": recipe.kind,
        "interpreter": recipe.interpreter,
        "python": recipe.python,
        "requirements": list(asked.lines),
        "constraints": list(asked.constraints),
        "options": {
            "pre": asked.pre,
            "require_hashes": asked.require_hashes,
            "no_binary": list(asked.no_binary),
            "only_binary": list(asked.only_binary),
        },
        "index": {
            "url": asked.index_url,
            "extra": list(asked.extra_index_urls),
            "find_links": list(asked.find_links),
            "no_index": asked.no_index,
        },
        "conda": recipe.conda,
        **({} if recipe.image is None else {"image": recipe.image}),
        "delivery": {
            "name": recipe.name,
            "variables": dict(recipe.variables),
            "lock_max_age_s": delivery.lock_max_age_s,
            "refresh": delivery.refresh,
            "ca": delivery.ca,
            "trusted_hosts": list(asked.trusted_hosts),
            "credentials": delivery.credentials,
            "git_credentials": delivery.git_credentials,
        },
    }
