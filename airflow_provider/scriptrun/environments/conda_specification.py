"""Conda specifications: one that asks for python and pip alone needs no conda; one with more does, and says so."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from airflow_provider.scriptrun.environments.suggestion import suggestion
from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

#: conda's keys, as conda itself reads them; ``prefix`` and ``name`` mean nothing here.
_KEYS = ("name", "channels", "dependencies", "prefix", "variables")
_PACKAGE = re.compile(r"(?:[\w./-]+::)?(?P<name>[A-Za-z0-9_.-]+)\s*(?P<version>[=<>!~\s].*)?$")
_CREDENTIALS = re.compile(r"://[^/]*@|/t/[^/]+/")
_VERSION = r"\d+(?:\.\d+)*"


@dataclass
class CondaSpecification:
    """What a conda specification asks for."""

    channels: list[str] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)  #: conda's, python among them, as written
    pip: list[str] = field(default_factory=list)  #: lines of its pip section
    variables: dict[str, str] = field(default_factory=dict)
    python: str | None = None  #: PEP 440 specifier for the interpreter; ``None``: any
    pip_version: str | None = None  #: ``==23.1``: somebody pinned pip itself
    needs_conda: bool = False


def read(path: Path) -> CondaSpecification:
    """Read the file at ``path``. Raises ``ConfigurationError``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no conda specification {path}.",
            advice="A relative path starts at the DAG file's folder in a task, and at the working directory in plain "
            "Python.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The conda specification {path} cannot be read: {error}.") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"The conda specification {path} is no YAML: {_in_one_line(error)}.") from error
    return parse(content, str(path))


def _in_one_line(error: yaml.YAMLError) -> str:
    """Return what the parser found wrong, and in which line, without its drawing of the text."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None or mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def parse(content: Any, origin: str) -> CondaSpecification:
    """Return what the YAML ``content`` asks for; ``origin`` stands in messages. Raises ``ConfigurationError``."""
    if not isinstance(content, dict):
        raise ConfigurationError(f"{origin}: a conda specification is a mapping with a list of dependencies.")
    for key in content:
        if key not in _KEYS:
            raise ConfigurationError(
                f"{origin}: {key!r} is no key of a conda specification.",
                advice=suggestion(str(key), _KEYS, "There are"),
            )
    found = CondaSpecification(variables=_variables(content.get("variables"), origin))
    found.channels = _texts(content.get("channels"), f"{origin}: channels")
    for channel in found.channels:
        if _CREDENTIALS.search(channel):
            raise ConfigurationError(
                f"{origin}: a channel's address holds credentials.",
                advice="Put them into .condarc on the target, and name the channel without them.",
            )
    for dependency in _listed(content.get("dependencies"), f"{origin}: dependencies"):
        _add(found, dependency, origin)
    return found


def _add(found: CondaSpecification, dependency: Any, origin: str) -> None:
    if isinstance(dependency, dict):
        unknown = [key for key in dependency if key != "pip"]
        if unknown:
            raise ConfigurationError(f"{origin}: conda knows no section {unknown[0]!r} among dependencies, only pip.")
        found.pip += _texts(dependency["pip"], f"{origin}: pip")
        return
    match = _PACKAGE.match(dependency.strip()) if isinstance(dependency, str) else None
    if match is None:
        raise ConfigurationError(
            f"{origin}: {dependency!r} is no dependency.", advice="Write for instance: python=3.11"
        )
    found.packages.append(dependency.strip())
    version = (match["version"] or "").strip()
    name = match["name"].lower()
    if name == "python":
        found.python, is_plain = _specifier(version)
    elif name == "pip":
        found.pip_version, is_plain = _specifier(version)
    else:
        is_plain = False
    found.needs_conda |= not is_plain


def _specifier(version: str) -> tuple[str | None, bool]:
    """Return conda's ``version`` as a PEP 440 specifier, and whether it could be said so (a build or ``|`` cannot).

    ``3.10``, ``=3.10`` and ``3.10.*`` are 3.10.*; ``==3.10`` is exactly 3.10. Source: conda's "Package match
    specifications" (the form with a space, ``python 3.10``, is exact there, which nobody means: read as ``=``).
    """
    if version in ("", "*"):
        return None, True
    fuzzy = re.fullmatch(rf"=?\s*({_VERSION})(?:\.\*|\*)?", version)
    if fuzzy:
        return f"=={fuzzy[1]}.*" if fuzzy[1].count(".") < 2 else f"=={fuzzy[1]}", True
    clauses = [clause.strip() for clause in version.split(",")]
    if all(re.fullmatch(rf"(==|!=|>=|<=|>|<|~=)\s*{_VERSION}(\.\*)?", clause) for clause in clauses):
        return ",".join(re.sub(r"\s+", "", clause) for clause in clauses), True
    return None, False


def _listed(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ConfigurationError(f"{where} must be a list.")
    return value


def _texts(value: Any, where: str) -> list[str]:
    texts = _listed(value, where)
    for text in texts:
        if not isinstance(text, str):
            raise ConfigurationError(f"{where}: {text!r} must be a text.")
    return texts


def _variables(value: Any, origin: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{origin}: variables must be a mapping.")
    return {str(name): str(content) for name, content in value.items()}
