"""Inputs: data that a run finds as ``inputs/<name>``; referenced, not kept: it is read where it lies."""

from __future__ import annotations

import os
import re
import stat as modes
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.scriptrun.errors import ConfigurationError, SnapshotChangedError, SnapshotError
from airflow_provider.scriptrun.runs.progress import Progress, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider.scriptrun.runs.reporter import Reporter
    from airflow_provider.scriptrun.runs.surroundings import Surroundings
    from airflow_provider.scriptrun.runs.workspace import Workspace
    from airflow_provider.scriptrun.snapshot import Address, Listed, Snapshot
    from airflow_provider.scriptrun.supervisor.protocol.manifest import Entry

FOLDER = "inputs"  #: of a run's working directory
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
#: What joins the parts of a URL within a URL, as fsspec has it: ``zip://train.csv::s3://bucket/data.zip``.
_WITHIN = "::"
_LOCAL = frozenset({"file", "local"})
#: As Airflow's ``ObjectStoragePath`` writes it; ``abfs://container@account.dfs.core.windows.net`` names none.
_BY_CONNECTION = re.compile(r"(s3a?|gs|gcs|abfs|adl|wasb)://([^@/:]+)@([^@/]+(?:/.*)?)", re.DOTALL)
_AZURE_HOST = ".core."
#: As in a requirements file.
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CHANGED_ADVICE = "Submit when nothing writes to it."
_ADVICE = (
    "Everything in an input travels: let the user that submits read it, remove what is neither file, folder nor link, "
    "and let links lead to a place inside."
)


@dataclass(frozen=True)
class Input:
    """One input, hashed; what is sent of it names the field of the configuration when it is another by then."""

    name: str
    uri: str  #: where it lies: an absolute path, or a URL without credentials
    is_file: bool
    content: Snapshot | Listed

    @property
    def id(self) -> str:
        """The id of its snapshot."""
        return self.content.id

    @property
    def manifest(self) -> bytes:
        """Its canonical manifest."""
        return self.content.manifest

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What the manifest says."""
        return self.content.entries

    def open_blob(self, sha256: str) -> Iterator[bytes]:
        """Yield the content of one file. Raises :class:`SnapshotError` by name when it cannot be had any more."""
        with _named(self.name):
            yield from self.content.open_blob(sha256)

    def document(self) -> dict[str, Any]:
        """Return what is told of it."""
        return {
            "uri": self.uri,
            "id": self.id,
            "file": self.is_file,
            "files": self.content.files,
            "bytes": self.content.bytes,
            "sent_files": 0,
            "sent_bytes": 0,
        }


@dataclass(frozen=True)
class Inputs:
    """Looks at and hashes the inputs of a configuration.

    :param workspace: whose outputs may be named by their URL, with whatever opened it.
    """

    workspace: Workspace
    surroundings: Surroundings
    reporter: Reporter

    def take(self, wanted: Mapping[str, str]) -> dict[str, Input]:
        """Return each input of ``config.inputs``, name -> path or URL.

        Raises :class:`ConfigurationError`: there is no such thing; :class:`SnapshotError`: it cannot be captured. Both
        name the field.
        """
        return {name: self._take(name, source) for name, source in wanted.items()}

    def _take(self, name: str, source: str) -> Input:
        url = _URL.match(source)
        is_url = url is not None or _WITHIN in source
        with _named(name):
            if url is not None and url[1].lower() in _LOCAL and _WITHIN not in source:
                from urllib.parse import unquote, urlsplit

                found = self._take_path(name, Path(unquote(urlsplit(source).path)))
            else:
                found = self._take_url(name, source) if is_url else self._take_path(name, self._base / source)
        what = "1 file" if found.is_file else f"{found.content.files} files"
        self.reporter.note(f"Input {name} is {found.uri}: {what}, {readable(found.content.bytes)}.")
        return found

    @property
    def _base(self) -> Path:
        return self.surroundings.base_directory

    @property
    def _cache(self) -> Path:
        return Path(self.surroundings.settings.cache_directory)

    def _take_path(self, name: str, given: Path) -> Input:
        from airflow_provider.scriptrun.snapshot import Limits, take, take_file

        path = Path(os.path.abspath(given))  # noqa: PTH100  (links in it are kept: messages name it as it was given)
        kind = _kind(name, path, self._base)
        progress = self._progress(name, path)
        content: Snapshot | Listed
        if modes.S_ISREG(kind):
            content = take_file(path, cache_directory=self._cache, progress=lambda _files, count: progress.reach(count))
        else:
            content = take(
                path,
                cache_directory=self._cache,
                limits=Limits(0, 0, 0),
                progress=lambda _files, count: progress.reach(count),
                everything=True,
            )
        progress.finish()
        return Input(name, str(path), modes.S_ISREG(kind), content)

    def _take_url(self, name: str, source: str) -> Input:
        from airflow_provider.scriptrun.snapshot import take_url

        address = self._address(name, source)
        progress = self._progress(name, address.name)
        listed = take_url(address, cache_directory=self._cache, progress=lambda _files, count: progress.reach(count))
        progress.finish()
        return Input(name, address.name, listed.is_file, listed)

    def _address(self, name: str, source: str) -> Address:
        from airflow_provider.scriptrun.snapshot import Address
        from airflow_provider.scriptrun.snapshot.remote import without_credentials

        by_connection = _BY_CONNECTION.fullmatch(source)
        if by_connection and _AZURE_HOST not in by_connection[3].partition("/")[0]:
            kind, connection, path = by_connection.groups()
            return Address(self.surroundings.file_system(kind, connection), path, source)
        variables = [_variable(name, variable) for variable in _VARIABLE.findall(source)]
        for secret in variables:
            self.surroundings.mask(secret)
        url = _VARIABLE.sub(lambda match: os.environ[match[1]], source)
        shown = _WITHIN.join(without_credentials(part) if "://" in part else part for part in source.split(_WITHIN))
        secrets = tuple(filter(None, (*variables, url.partition("?")[2])))
        file_system, path = self.workspace.objects.locate(url) or self._open(name, url, shown, secrets)
        return Address(file_system, path, shown, secrets)

    def _open(self, name: str, url: str, shown: str, secrets: Iterable[str]) -> tuple[Any, str]:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # fsspec has no types

        from airflow_provider.scriptrun.snapshot.address import without

        # The file system that the workspace is on is opened as the workspace is, elsewhere in it, too.
        kind, ours = _URL.match(url), _URL.match(self.workspace.url)
        is_ours = kind is not None and ours is not None and kind[1] == ours[1]
        options = self.surroundings.settings.storage_options if is_ours else {}
        try:
            file_system, path = url_to_fs(url, **options)
        except (ImportError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"config.inputs[{name!r}]: {shown} cannot be opened",
                why=without(secrets, str(error)),
                advice="Install the fsspec package for this kind of URL",
            ) from None
        except Exception as error:  # noqa: BLE001  (some connect at once, and have errors of their own)
            raise SnapshotError(f"{shown} cannot be reached", why=without(secrets, str(error))) from None
        return file_system, str(path)

    def _progress(self, name: str, where: str | Path) -> Progress:
        return Progress(self.reporter, f"Hashing input {name} ({where})", is_terminal=self.surroundings.is_terminal)


def refuse_clashes(inputs: Iterable[str], snapshot: Snapshot) -> None:
    """Raise :class:`ConfigurationError` where the source directory itself has what an input is to be."""
    folder = snapshot.root / FOLDER
    suspects = [name for name in inputs if os.path.lexists(folder / name)]
    if not suspects and (not os.path.lexists(folder) or (folder.is_dir() and not folder.is_symlink())):
        return
    paths = {entry.path for entry in snapshot.entries}  # what an ignore rule leaves out is in nobody's way
    if FOLDER.encode() in paths and not (folder.is_dir() and not folder.is_symlink()):
        raise ConfigurationError(
            f"config.inputs: {folder} is no folder, and inputs are to stand in it",
            advice="Rename it, or name it in .amlignore or .gitignore.",
        )
    for name in suspects:
        place = f"{FOLDER}/{name}".encode()
        if any(path == place or path.startswith(place + b"/") for path in paths):
            raise ConfigurationError(
                f"config.inputs[{name!r}]: the source directory has {FOLDER}/{name} itself ({folder / name})",
                advice="Give the input another name, or name the path in .amlignore or .gitignore.",
            )


def _kind(name: str, path: Path, base: Path) -> int:
    """Return the type of the file or folder at ``path``."""
    try:
        kind = modes.S_IFMT(path.stat().st_mode)
    except OSError as error:
        raise ConfigurationError(
            f"config.inputs[{name!r}]: there is nothing at {path} that can be read",
            why=error.strerror,
            advice=f"Correct the path; a relative one starts at {base}.",
        ) from error
    if not (modes.S_ISREG(kind) or modes.S_ISDIR(kind)):
        raise ConfigurationError(
            f"config.inputs[{name!r}]: {path} is neither a file nor a folder",
            advice="Name a file, a folder or a URL.",
        )
    return kind


def _variable(name: str, variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise ConfigurationError(
            f"config.inputs[{name!r}]: the variable {variable} is not set",
            advice="Set it where the task runs.",
        )
    return value


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say of what cannot be captured which field it is of."""
    try:
        yield
    except SnapshotError as error:
        advice = _CHANGED_ADVICE if isinstance(error, SnapshotChangedError) else _ADVICE
        raise type(error)(f"config.inputs[{name!r}]: {error.what}", why=error.why, advice=advice) from error.__cause__
