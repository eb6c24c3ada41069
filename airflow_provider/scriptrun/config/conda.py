"""Packages by name, for pip and for conda, with the Python they need: Azure ML's CondaDependencies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from airflow_provider.scriptrun.config.element import Element
from airflow_provider.scriptrun.config.template import is_template
from airflow_provider.scriptrun.config.values import holding, listing, optional, refuse_credentials, text
from airflow_provider.scriptrun.config.wrong import Wrong, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIP_NAME = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?P<rest>.*)", re.DOTALL)
_PIP_REST = re.compile(r"|[@;(].*|(?:===|==|~=|!=|<=|>=|<|>).+", re.DOTALL)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_CONDA_NAME = re.compile(r"(?:[\w./-]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(?P<rest>[=<>!~\s\[].*)?")
_EXACT_PYTHON = re.compile(r"python\s*={0,2}\s*(?P<version>\d+(?:\.\d+){0,2}|\{\{.*\}\})", re.DOTALL)
_PIP_EXAMPLE = "numpy>=1.26,<3"
_CONDA_EXAMPLE = "numpy=1.26"


def pip_package(value: Any, rendered: bool) -> str:  # noqa: ARG001 - the shape of every check
    """Check a requirement as pip writes it, as far as that goes without a parser; the rest is checked at submit."""
    line = _line(value, "a requirement for pip", _PIP_EXAMPLE)
    if line.startswith("-"):
        raise Wrong(
            f"is {shown(line)}, an option", "Write options with set_pip_option, and files with from_pip_requirements."
        )
    if _ADDRESS.fullmatch(line):
        return line
    found = _PIP_NAME.fullmatch(line)
    if found is None or not _PIP_REST.fullmatch(found["rest"]):
        single = found and re.fullmatch(r"=(?!=)\s*(\S+)", found["rest"])
        example = f"{found['name']}=={single[1]}" if found and single else _PIP_EXAMPLE
        raise Wrong(f"is {shown(line)}, which is no requirement for pip", f"Write for instance {example!r}.")
    return line


def conda_package(value: Any, rendered: bool) -> str:  # noqa: ARG001
    """Check a package as conda writes it."""
    line = _line(value, "a package for conda", _CONDA_EXAMPLE)
    if not _CONDA_NAME.fullmatch(line):
        raise Wrong(f"is {shown(line)}, which is no package for conda", f"Write for instance {_CONDA_EXAMPLE!r}.")
    return line


def pip_option(value: Any, rendered: bool) -> str:  # noqa: ARG001
    """Check an option of a requirements file."""
    line = _line(value, "an option of pip", "--pre")
    if not line.startswith("-"):
        raise Wrong(f"is {shown(line)}, which is no option of pip", "Write for instance '--pre'.")
    return line


def version_number(value: Any, rendered: bool) -> str:  # noqa: ARG001
    """Check a Python version, at most three numbers."""
    if isinstance(value, float):
        raise Wrong(
            f"is the number {value!r}, which would make 3.10 into 3.1", "Write it in quotes, for instance '3.10'."
        )
    if not isinstance(value, str) or not re.fullmatch(r"\d+(\.\d+){0,2}", value.strip()):
        raise Wrong(f"must be a Python version, not {shown(value)}", "Write for instance '3.11'.")
    return value.strip()


def _line(value: Any, meaning: str, example: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value.splitlines()) > 1:
        raise Wrong(f"must be {meaning}, not {shown(value)}", f"Write for instance {example!r}.")
    refuse_credentials(value)
    return value.strip()


class CondaDependencies(Element):
    """Packages by name. Needs conda on the target only where it names conda packages.

    :param pip_packages: requirements as pip writes them.
    :param conda_packages: packages as conda writes them, python not among them.
    :param python_version: for instance ``3.11``; ``None``: whichever Python the target has.
    :param channels: conda's, the first one wins; none: the target's own configuration.
    :param pip_options: options of a requirements file, for instance ``--pre``.
    """

    PLACE = "conda_dependencies"

    pip_packages: Annotated[list[str], holding(listing(pip_package, example="['numpy>=1.26,<3']"))] = Field(
        default_factory=list
    )
    conda_packages: Annotated[list[str], holding(listing(conda_package, example="['numpy=1.26']"))] = Field(
        default_factory=list
    )
    python_version: Annotated[str | None, holding(optional(version_number))] = None
    channels: Annotated[
        list[str], holding(listing(text(example="conda-forge", secret_free=True), example="['conda-forge']"))
    ] = Field(default_factory=list)
    pip_options: Annotated[list[str], holding(listing(pip_option, example="['--pre']"))] = Field(default_factory=list)

    @classmethod
    def create(
        cls,
        pip_packages: Iterable[str] | None = None,
        conda_packages: Iterable[str] | None = None,
        python_version: str | None = None,
        pip_indexurl: str | None = None,
        channels: Iterable[str] | None = None,
    ) -> CondaDependencies:
        """Return dependencies on these packages. A python among the conda packages is the Python version."""
        dependencies = cls(python_version=python_version, channels=list(channels or []))
        for package in _each(pip_packages, "pip_packages"):
            dependencies.add_pip_package(package)
        for package in _each(conda_packages, "conda_packages"):
            dependencies.add_conda_package(package)
        if pip_indexurl is not None:
            dependencies.set_pip_option(f"--index-url {pip_indexurl}")
        return dependencies

    def add_pip_package(self, pip_package: str) -> None:
        """Add a requirement; it takes the place of one of the same name."""
        self.pip_packages = _replaced(self.pip_packages, pip_package, _pip_key)

    def remove_pip_package(self, pip_package: str) -> None:
        """Remove the requirement of this name, whatever version it asks for."""
        self.pip_packages = [line for line in self.pip_packages if _pip_key(line) != _pip_key(pip_package)]

    def set_pip_requirements(self, pip_requirements: Iterable[str]) -> None:
        """Replace all requirements for pip."""
        self.pip_packages = list(pip_requirements)

    def add_conda_package(self, conda_package: str) -> None:
        """Add a conda package; it takes the place of one of the same name. ``python=3.11`` sets the Python version."""
        if isinstance(conda_package, str) and (exact := _EXACT_PYTHON.fullmatch(conda_package)):
            self.set_python_version(exact["version"])
            return
        if _conda_key(conda_package) == "python":
            self.python_version = None
        self.conda_packages = _replaced(self.conda_packages, conda_package, _conda_key)

    def remove_conda_package(self, conda_package: str) -> None:
        """Remove the conda package of this name, whatever version it asks for."""
        self.conda_packages = [line for line in self.conda_packages if _conda_key(line) != _conda_key(conda_package)]

    def add_channel(self, channel: str) -> None:
        """Add a channel behind those that are there."""
        self.channels = [*(known for known in self.channels if known != channel), channel]

    def remove_channel(self, channel: str) -> None:
        """Remove a channel."""
        self.channels = [known for known in self.channels if known != channel]

    def set_python_version(self, version: str) -> None:
        """Set the Python version, for instance ``3.11``; what the conda packages say about it is dropped."""
        self.python_version = version
        self.remove_conda_package("python")

    def set_pip_option(self, pip_option: str) -> None:
        """Set an option of pip; it takes the place of the same option, but for those that may be repeated."""
        self.pip_options = (
            [*self.pip_options, pip_option]
            if _option_key(pip_option) in _REPEATED_OPTIONS
            else _replaced(self.pip_options, pip_option, _option_key)
        )

    def remove_pip_option(self, pip_option: str) -> None:
        """Remove an option of pip, whatever its value."""
        self.pip_options = [line for line in self.pip_options if _option_key(line) != _option_key(pip_option)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return self == CondaDependencies()

    @property
    def needs_conda(self) -> bool:
        """Whether packages are named that only conda can install."""
        return any(_conda_key(line) not in ("python", "pip") for line in self.conda_packages)

    def as_specification(self) -> dict[str, Any]:
        """Return the content of a conda specification file that asks for the same."""
        dependencies: list[Any] = [f"python={self.python_version}"] if self.python_version else []
        dependencies += self.conda_packages
        if self.pip_packages or self.pip_options:
            dependencies += [*([] if _names(self.conda_packages, "pip") else ["pip"])]
            dependencies.append({"pip": [*self.pip_options, *self.pip_packages]})
        return {**({"channels": list(self.channels)} if self.channels else {}), "dependencies": dependencies}


_REPEATED_OPTIONS = frozenset({"--extra-index-url", "--find-links", "-f", "--trusted-host"})


def _each(packages: Any, name: str) -> Iterable[Any]:
    if isinstance(packages, str) and not is_template(packages):
        CondaDependencies(**{name: packages})  # refuses a text, and says where
    return packages or ()


def _names(packages: list[str], name: str) -> bool:
    return any(_conda_key(line) == name for line in packages)


def _replaced(lines: Any, line: Any, key: Any) -> list[Any]:
    if is_template(line):
        return [*lines, line]
    kept = [one for one in lines if is_template(one) or key(one) != key(line)]
    return [*kept, line]


def _pip_key(line: Any) -> str:
    found = _PIP_NAME.match(line) if isinstance(line, str) and not _ADDRESS.match(line) else None
    return re.sub(r"[-_.]+", "-", found["name"]).lower() if found else str(line)


def _conda_key(line: Any) -> str:
    found = _CONDA_NAME.match(line) if isinstance(line, str) else None
    return found["name"].lower() if found else str(line)


def _option_key(line: Any) -> str:
    return re.split(r"[\s=]", str(line), maxsplit=1)[0]
