"""Credentials in URLs: taken out of them, and kept under names that depend on nothing but the rest of the URL."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: A query parameter with such a name makes the whole query a credential: a shared access signature, a token.
_SECRET_PARAMETER = re.compile(r"sig|token|secret|passw|pwd|key|credential|auth", re.IGNORECASE)
#: What uv and pip replace in a requirements file: upper-case POSIX names in braces.
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")


@dataclass
class Vault:
    """The credentials of one plan. What it returns in their place is the same with other credentials, or none.

    :param variables: where ``${NAME}`` is looked up.
    :param look_up: returns what a reference to a secret (``conn:registry/password``) names.
    """

    variables: Mapping[str, str]
    look_up: Callable[[str], str] | None = None
    secrets: dict[str, str] = field(default_factory=dict)  #: name -> value
    urls: dict[str, dict[str, str]] = field(default_factory=dict)  #: URL without them -> {"user": name, "query": name}
    repositories: dict[str, str] = field(default_factory=dict)  #: address of a Git repository -> name

    def take(self, url: str) -> str:
        """Return ``url`` without credentials; they are kept. Raises ``KeyError`` for a variable that is not set."""
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        is_secret_user = bool(at) and not (parts.scheme.endswith("ssh") and ":" not in user)  # git@host names no secret
        query = parts.query if _holds_secret(parts.query) else ""
        clean = urlunsplit(
            (
                parts.scheme,
                host if is_secret_user else parts.netloc,
                parts.path,
                "" if query else parts.query,
                parts.fragment,
            )
        )
        self.expand(clean)
        key, _, fragment = clean.partition("#")
        user = self._whole(user)
        if is_secret_user and parts.scheme.startswith("git+http"):
            repository = urlunsplit((parts.scheme.removeprefix("git+"), host, parts.path.partition("@")[0], "", ""))
            self.repositories[repository] = self._keep("GIT", repository, user)
        elif is_secret_user or query:
            names = {}
            if is_secret_user:
                names["user"] = self._keep("USER", key, user)
            if query:
                names["query"] = self._keep("QUERY", key, self._whole(query))
            self.urls[key] = names
        return f"{key}#{fragment}" if fragment else key

    def refer(self, name: str, reference: str) -> None:
        """Keep under ``name`` what a reference to a secret names. Raises ``ConfigurationError``."""
        if self.look_up is None:
            raise ConfigurationError(
                f"The secret {reference!r} cannot be looked up here", advice="Only a run's submission knows secrets."
            )
        self.secrets[name] = self.look_up(reference)

    def expand(self, text: str) -> None:
        """Keep the value of every ``${NAME}`` in ``text``. Raises ``KeyError`` for one that is not set."""
        for name in VARIABLE.findall(text):
            self.secrets[name] = self.variables[name]

    def _whole(self, text: str) -> str:
        return VARIABLE.sub(lambda match: self.variables[match.group(1)], text)

    def _keep(self, kind: str, url: str, value: str) -> str:
        name = f"SCRIPTRUN_{kind}_{hashlib.sha256(url.encode()).hexdigest()[:12].upper()}"
        self.secrets[name] = value
        return name


def spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return every text that no log may show: the secrets, and the passwords within them, quoted and not."""
    found = {text for value in secrets for text in (value, unquote(value))}
    passwords = {text.partition(":")[2] for text in found if ":" in text}
    return tuple(sorted(text for text in found | passwords if text))


def _holds_secret(query: str) -> bool:
    return any(_SECRET_PARAMETER.search(name) for name, _ in parse_qsl(query, keep_blank_values=True))
