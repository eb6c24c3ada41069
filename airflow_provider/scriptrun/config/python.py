"""The Python of an environment: an interpreter of the user's, or packages to install."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from airflow_provider.scriptrun.config.conda import CondaDependencies
from airflow_provider.scriptrun.config.element import PART, Element
from airflow_provider.scriptrun.config.names import EnvironmentKind
from airflow_provider.scriptrun.config.template import holds_template
from airflow_provider.scriptrun.config.values import Flag, holding, optional, path, text
from airflow_provider.scriptrun.config.wrong import Wrong, shown

if TYPE_CHECKING:
    from collections.abc import Iterator


def interpreter(value: Any, rendered: bool) -> str:
    """Check the path of an interpreter on the target: absolute, below the home directory, or a bare name."""
    found = str(path(example="/usr/bin/python3.11")(value, rendered))
    if "/" in found and not found.startswith(("/", "~/")):
        raise Wrong(
            f"is {shown(found)}, a relative path, and nobody knows to what on the target",
            "Write an absolute path, one that begins with ~/, or a bare name such as 'python3.11'.",
        )
    if re.search(r"\s-", found):
        raise Wrong(f"is {shown(found)}, with options", "Write the interpreter alone.")
    return found


class PythonSection(Element):
    """Which Python a script gets. Nothing set: the target's own interpreter, with nothing installed.

    :param user_managed_dependencies: the user sees to the packages; nothing is installed.
    :param interpreter_path: on the target, when user managed; ``None``: the target's own interpreter.
    :param conda_dependencies: packages by name.
    :param requirements_file: a requirements file, read at submit; its packages come beside those by name.
    :param pip_version: pip itself, as a package of the environment; ``None``: none is put there.
    :param conda_dependencies_file: a conda specification, read at submit.
    :param base_conda_environment: a conda environment that the target has already, by name or absolute path.
    """

    PLACE = "python"
    ABSENT = {"conda_environment_name": "Azure ML calls it base_conda_environment."}

    user_managed_dependencies: Flag = False
    interpreter_path: Annotated[str | None, holding(optional(interpreter))] = None
    conda_dependencies: Annotated[CondaDependencies, PART] = Field(default_factory=CondaDependencies)
    requirements_file: Annotated[str | None, holding(optional(path(example="training/requirements.txt")))] = None
    pip_version: Annotated[
        str | None, holding(optional(text(example="24.2", pattern=r"\d[\w.]*", meaning="a version of pip")))
    ] = None
    conda_dependencies_file: Annotated[str | None, holding(optional(path(example="training/conda.yml")))] = None
    base_conda_environment: Annotated[
        str | None, holding(optional(text(example="my-environment", pattern=r"[^\s:#]+", meaning="a name or a path")))
    ] = None

    @property
    def kind(self) -> EnvironmentKind:
        """What it is made from; meaningful once no template is left."""
        if self.user_managed_dependencies:
            return EnvironmentKind.USER_MANAGED
        if self.base_conda_environment:
            return EnvironmentKind.EXISTING_CONDA
        if self.conda_dependencies_file or self.conda_dependencies.needs_conda:
            return EnvironmentKind.CONDA
        if self.requirements_file or self.pip_version or not self.conda_dependencies.is_empty:
            return EnvironmentKind.PIP
        return EnvironmentKind.DEFAULT

    def _sources(self) -> dict[str, bool]:
        """Return the ways to name packages -> whether it is used; what holds a template may turn out to be nothing."""
        ways = ("conda_dependencies", "requirements_file", "conda_dependencies_file", "base_conda_environment")
        used = {name: getattr(self, name) for name in ways}
        return {
            name: not holds_template(value) and value is not None and value != CondaDependencies()
            for name, value in used.items()
        }

    def _conflicts(self) -> Iterator[Wrong]:
        used = [name for name, is_used in self._sources().items() if is_used]
        if self.user_managed_dependencies is True and used:
            yield Wrong(
                "names packages, which are not installed where user_managed_dependencies is True",
                "Leave them out, or set user_managed_dependencies to False.",
                (used[0],),
            )
        elif self.user_managed_dependencies is False:
            if self.interpreter_path is not None and not holds_template(self.interpreter_path):
                yield Wrong(
                    "is used only where user_managed_dependencies is True",
                    "Set that too, or leave this out; to install a Python, set conda_dependencies.python_version.",
                    ("interpreter_path",),
                )
            for alone in ("conda_dependencies_file", "base_conda_environment"):
                if alone in used and len(used) > 1:
                    other = next(name for name in used if name != alone)
                    yield Wrong(f"cannot be used together with {other}", "Keep one of the two.", (alone,))
                    break
