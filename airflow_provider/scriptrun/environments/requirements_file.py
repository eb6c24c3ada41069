"""Requirements files as pip reads them, with every file that they name merged into one list.

The format is pip's (documentation, "Requirements File Format"): comments, continued lines, ``-r``, ``-c``, options,
``--hash``. What a target could not follow (a local path) or what uv does not know is refused by name.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from packaging.requirements import InvalidRequirement, Requirement

from airflow_provider.scriptrun.environments.credentials import VARIABLE, Vault
from airflow_provider.scriptrun.environments.suggestion import suggestion
from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: A larger file is no requirements file; it is read into memory whole.
MAX_FILE_BYTES = 4 * 1024 * 1024
_COMMENT = re.compile(r"(^|\s+)#.*$")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_HASH = re.compile(r"\s--hash[=\s]\s*(\S+)")
_ARCHIVE = re.compile(r"\.(whl|zip|tar\.(gz|bz2|xz)|tgz)$", re.IGNORECASE)
_REMOTE = ("https://", "http://")


@dataclass
class Requirements:
    """What some requirements files ask for, together. Lines hold no credentials and no paths."""

    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    index_url: str | None = None
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    trusted_hosts: list[str] = field(default_factory=list)
    no_index: bool = False
    pre: bool = False
    require_hashes: bool = False
    no_binary: list[str] = field(default_factory=list)
    only_binary: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """Where a line stands, for messages; and which files lead there, to notice a circle."""

    path: Path
    number: int
    trail: tuple[Path, ...]
    is_constraint: bool

    def __str__(self) -> str:
        return f"{self.path}, line {self.number}"


def read(path: Path, requirements: Requirements, vault: Vault) -> None:
    """Add what the file at ``path``, and every file it names, asks for. Raises ``ConfigurationError``."""
    _Reader(requirements, vault).file(path, (), is_constraint=False, named_in=None)


def add(lines: list[str], origin: Path, requirements: Requirements, vault: Vault) -> None:
    """Add ``lines`` as if they stood in a requirements file named ``origin``. Raises ``ConfigurationError``."""
    _Reader(requirements, vault).lines("\n".join(lines), origin, (origin,), is_constraint=False)


class _Reader:
    def __init__(self, requirements: Requirements, vault: Vault) -> None:
        self.requirements, self.vault = requirements, vault
        self.done: set[tuple[Path, bool]] = set()

    def file(self, path: Path, trail: tuple[Path, ...], *, is_constraint: bool, named_in: _Place | None) -> None:
        where = f" (named in {named_in})" if named_in else ""
        real = path.resolve()
        if real in trail:
            circle = " -> ".join(str(p) for p in (*trail[trail.index(real) :], real))
            raise ConfigurationError(f"These requirements files include each other in a circle: {circle}.")
        if (real, is_constraint) in self.done:
            return
        self.done.add((real, is_constraint))
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigurationError(f"The file {path}{where} is too large for a requirements file.")
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise ConfigurationError(
                f"There is no requirements file {path}{where}.",
                advice="A relative path starts at the DAG file's folder in a task, at the working directory in plain "
                "Python, and at the file that names it.",
            ) from None
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"The requirements file {path}{where} is not UTF-8: {error}.") from None
        except OSError as error:
            raise ConfigurationError(f"The requirements file {path}{where} cannot be read: {error}.") from error
        self.lines(text, path, (*trail, real), is_constraint=is_constraint)

    def lines(self, text: str, path: Path, trail: tuple[Path, ...], *, is_constraint: bool) -> None:
        for number, line in logical_lines(text):
            self.line(line, _Place(path, number, trail, is_constraint))

    def line(self, line: str, place: _Place) -> None:
        try:
            if line.startswith("-"):
                self.option(line, place)
            else:
                self.requirement(line, place)
        except KeyError as error:
            raise ConfigurationError(
                f"{place}: the variable {error.args[0]} is not set.",
                advice="It is looked up where the task runs: set it there, or write an address without it.",
            ) from None

    def requirement(self, line: str, place: _Place) -> None:
        text, hashes = self.split_hashes(line, place)
        clean = self.checked(text, place)
        whole = " ".join([clean, *(f"--hash={value}" for value in hashes)])
        self.requirements.require_hashes |= bool(hashes) and not place.is_constraint
        wanted = self.requirements.constraints if place.is_constraint else self.requirements.lines
        if whole not in wanted:
            wanted.append(whole)

    def split_hashes(self, line: str, place: _Place) -> tuple[str, list[str]]:
        hashes = _HASH.findall(line)
        text = _HASH.sub("", line).strip()
        other = re.search(r"\s(--[a-z-]+)", text)
        if other:
            _refuse(place, f"the option {other.group(1)} after a requirement", "Only --hash is understood there.")
        return text, hashes

    def checked(self, text: str, place: _Place) -> str:
        name, at, target = text.partition("@")
        is_named_url = bool(at) and re.match(r"[A-Za-z0-9._-]+\s*(\[[^]]*\])?\s*$", name) is not None
        target = target.strip() if is_named_url else text
        if _is_local(target) and (is_named_url or _is_local(text)):
            _refuse(
                place,
                f"{text!r}, a file or folder of this machine, which a target does not have",
                "Put it on an index, or name an https:// address; your own modules belong in the source directory.",
            )
        if _URL.match(target if is_named_url else text):
            self.vault.expand(_URL.sub("", text))
            return _URL.sub(lambda match: self.vault.take(match.group()), text, count=1)
        self.vault.expand(text)
        if is_named_url:
            raise ConfigurationError(
                f"{place}: {text!r} is no requirement: {target!r} is no address.", advice="Write name @ https://..."
            )
        if not VARIABLE.search(text):
            _check_requirement(text, place)
        return text

    def option(self, line: str, place: _Place) -> None:
        name, value = _split_option(line, place)
        handlers = _OPTIONS.get(name)
        if handlers is None:
            reason = _NOT_UNDERSTOOD.get(name)
            advice = reason or suggestion(name, _OPTIONS, "Options here are")
            _refuse(place, f"the option {name}", advice)
        takes_value, handler = handlers
        if takes_value and not value:
            _refuse(place, f"{name} without a value", f"Write {name} VALUE.")
        if not takes_value and value:
            _refuse(place, f"{value!r} after {name}", f"{name} takes no value.")
        handler(self, value, place)

    def include(self, value: str, place: _Place, *, is_constraint: bool) -> None:
        if _URL.match(value):
            _refuse(
                place, f"a requirements file at {value}", "Only files beside this one can be included: download it."
            )
        path = place.path.parent / VARIABLE.sub(lambda match: self.vault.variables[match.group(1)], value)
        self.file(path, place.trail, is_constraint=is_constraint or place.is_constraint, named_in=place)

    def index(self, value: str, place: _Place) -> None:
        self.requirements.index_url = self.address(value, place)

    def extra_index(self, value: str, place: _Place) -> None:
        _append(self.requirements.extra_index_urls, self.address(value, place))

    def links(self, value: str, place: _Place) -> None:
        if not _URL.match(value):
            _refuse(
                place,
                f"--find-links {value}, a folder of this machine",
                "Name an address (https://, file:// on the target).",
            )
        _append(self.requirements.find_links, self.address(value, place))

    def address(self, value: str, place: _Place) -> str:
        if not _URL.match(value):
            _refuse(place, f"the index {value!r}", "Write an address: https://...")
        return self.vault.take(value)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, content): lines that end in a backslash joined, comments and blanks left out."""
    parts: list[str] = []
    first = 0
    physical = [*text.splitlines(), ""]
    for number, line in enumerate(physical, start=1):
        is_comment = line.lstrip().startswith("#")
        first = first or number
        if line.endswith("\\") and not is_comment:
            parts.append(line[:-1].strip() if parts else line[:-1].rstrip())
            continue
        if not is_comment or not parts:
            parts.append(line.strip())
        joined = _COMMENT.sub("", " ".join(part for part in parts if part)).strip()
        if joined:
            yield first, joined
        parts, first = [], 0


def _split_option(line: str, place: _Place) -> tuple[str, str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        _refuse(place, f"{line!r} ({error})", "Close the quotation.")
    first = words[0]
    if first.startswith("--"):
        name, equals, value = first.partition("=")
        rest = ([value] if equals else []) + words[1:]
    else:
        name, rest = first[:2], [part for part in (first[2:].lstrip("="), *words[1:]) if part]
    if len(rest) > 1:
        _refuse(place, f"more than one value after {name}", "Write one option a line.")
    return name, rest[0] if rest else ""


def _check_requirement(text: str, place: _Place) -> None:
    try:
        Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"{place}: {text!r} is no requirement: {reason}.", advice="Write for instance: numpy>=1.26,<3"
        ) from None


def _is_local(text: str) -> bool:
    if text.startswith((".", "/", "~", "file:", "\\")):
        return True
    bare = re.split(r"[\s;\[]", text, maxsplit=1)[0]
    return not _URL.match(text) and bool(_ARCHIVE.search(bare) or "/" in bare)


def _refuse(place: _Place, what: str, advice: str) -> NoReturn:
    raise ConfigurationError(f"{place}: {what} is not understood.", advice=advice)


def _append(values: list[str], value: str) -> None:
    if value not in values:
        values.append(value)


def _set(name: str) -> Callable[[_Reader, str, _Place], None]:
    return lambda reader, _value, _place: setattr(reader.requirements, name, True)


def _names(name: str) -> Callable[[_Reader, str, _Place], None]:
    def extend(reader: _Reader, value: str, _place: _Place) -> None:
        for package in value.split(","):
            _append(getattr(reader.requirements, name), package.strip())

    return extend


def _host(reader: _Reader, value: str, _place: _Place) -> None:
    _append(reader.requirements.trusted_hosts, value)


def _editable(_reader: _Reader, value: str, place: _Place) -> None:
    _refuse(
        place,
        f"-e {value}, an editable installation",
        "A target gets a copy: put the code in the source directory, or name a package by version or Git address.",
    )


_Handler = tuple[bool, "Callable[[_Reader, str, _Place], None]"]
#: Option -> whether it takes a value, and what it does.
_OPTIONS: dict[str, _Handler] = {
    "--requirement": (True, lambda reader, value, place: reader.include(value, place, is_constraint=False)),
    "--constraint": (True, lambda reader, value, place: reader.include(value, place, is_constraint=True)),
    "--index-url": (True, lambda reader, value, place: reader.index(value, place)),
    "--extra-index-url": (True, lambda reader, value, place: reader.extra_index(value, place)),
    "--find-links": (True, lambda reader, value, place: reader.links(value, place)),
    "--trusted-host": (True, _host),
    "--no-index": (False, _set("no_index")),
    "--pre": (False, _set("pre")),
    "--require-hashes": (False, _set("require_hashes")),
    "--no-binary": (True, _names("no_binary")),
    "--only-binary": (True, _names("only_binary")),
    "--editable": (True, _editable),
}
_SHORT = {
    "-r": "--requirement",
    "-c": "--constraint",
    "-i": "--index-url",
    "-f": "--find-links",
    "-e": "--editable",
    "--pypi-url": "--index-url",
}
_OPTIONS.update({short: _OPTIONS[name] for short, name in _SHORT.items()})
_NOT_UNDERSTOOD = {
    "--prefer-binary": "uv has no such option: write --only-binary NAME for the packages that may not be compiled.",
    "--use-feature": "It switches pip's own trials on; leave it out.",
    "--config-settings": "Packages that need build settings are best put on an index as wheels.",
    "--global-option": "Packages that need build settings are best put on an index as wheels.",
}
