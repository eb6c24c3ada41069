"""What a script runs in: its Python and packages, its variables, its image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from airflow_provider.scriptrun.config.docker import ContainerRegistry, DockerBuildContext, DockerSection
from airflow_provider.scriptrun.config.element import PART, Element
from airflow_provider.scriptrun.config.names import EnvironmentKind
from airflow_provider.scriptrun.config.python import PythonSection
from airflow_provider.scriptrun.config.spark import SparkSection
from airflow_provider.scriptrun.config.template import is_template
from airflow_provider.scriptrun.config.values import Variables, holding, optional, text
from airflow_provider.scriptrun.config.wrong import Wrong, refuse

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

#: The name of the environment of a run for which none was given.
DEFAULT_NAME = "default-environment"
_OUTSIDE_AZURE = "It has no meaning outside Azure: leave it out."


class Environment(Element):
    """The packages, variables and image that a script runs in. With a name alone it is the default environment.

    :param name: for people; two environments of the same content are one on a target, whatever their names.
    :param version: for people.
    :param environment_variables: for every run in it; those of the run's own configuration win.
    :param curated: an environment that comes with the provider, by name; looked up at submit.
    """

    PLACE = "environment"
    ABSENT = {
        "databricks": _OUTSIDE_AZURE,
        "r": "R is not supported: run Rscript as a command in an environment or image that has it.",
        "inferencing_stack_version": _OUTSIDE_AZURE,
        "asset_id": _OUTSIDE_AZURE,
    }

    name: Annotated[str, holding(text(example="sklearn", pattern=r"[^\x00-\x1f]{1,255}", meaning="a name"))] = (
        DEFAULT_NAME
    )
    version: Annotated[str | None, holding(optional(text(example="1")))] = None
    environment_variables: Variables = Field(default_factory=dict)
    python: Annotated[PythonSection, PART] = Field(default_factory=PythonSection)
    docker: Annotated[DockerSection, PART] = Field(default_factory=DockerSection)
    spark: Annotated[SparkSection, PART] = Field(default_factory=SparkSection)
    curated: Annotated[
        str | None,
        holding(
            optional(
                text(
                    example="scikit-learn",
                    pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*",
                    meaning="a curated environment's name",
                )
            )
        ),
    ] = None

    @classmethod
    def get(cls, name: str) -> Environment:
        """Return the curated environment of this name; whether there is one is known at submit."""
        return cls(name=name, curated=name)

    @classmethod
    def from_pip_requirements(
        cls, name: str, file_path: str | os.PathLike[str], pip_version: str | None = None
    ) -> Environment:
        """Return an environment with the packages of a requirements file.

        :param file_path: read at submit; relative to the DAG file in a task, else to the working directory.
        :param pip_version: put this version of pip into it.
        """
        return cls(name=name, python={"requirements_file": file_path, "pip_version": pip_version})

    @classmethod
    def from_conda_specification(cls, name: str, file_path: str | os.PathLike[str]) -> Environment:
        """Return an environment with the packages of a conda specification, read at submit."""
        return cls(name=name, python={"conda_dependencies_file": file_path})

    @classmethod
    def from_existing_conda_environment(cls, name: str, conda_environment_name: str) -> Environment:
        """Return the conda environment of this name (or absolute path) that the target has already."""
        return cls(name=name, python={"base_conda_environment": conda_environment_name})

    @classmethod
    def from_docker_image(
        cls,
        name: str,
        image: str,
        container_registry: ContainerRegistry | None = None,
        conda_specification: str | os.PathLike[str] | None = None,
        pip_requirements: str | os.PathLike[str] | None = None,
    ) -> Environment:
        """Return an image, with the packages of a file in it, or as it is (then it is user managed)."""
        docker = {"base_image": image, "base_image_registry": container_registry}
        return cls(name=name, docker=docker, python=_packages(conda_specification, pip_requirements))

    @classmethod
    def from_dockerfile(
        cls,
        name: str,
        dockerfile: str | os.PathLike[str],
        conda_specification: str | os.PathLike[str] | None = None,
        pip_requirements: str | os.PathLike[str] | None = None,
    ) -> Environment:
        """Return an image built from a Dockerfile (a path, or its text), with the packages of a file or as it is."""
        return cls(
            name=name, docker={"base_dockerfile": dockerfile}, python=_packages(conda_specification, pip_requirements)
        )

    @classmethod
    def from_docker_build_context(
        cls, name: str, docker_build_context: DockerBuildContext | str | os.PathLike[str]
    ) -> Environment:
        """Return an image built from a folder that holds a Dockerfile; it is used as it is."""
        if not isinstance(docker_build_context, DockerBuildContext):
            docker_build_context = DockerBuildContext.from_local_directory(docker_build_context)
        return cls(
            name=name, docker={"build_context": docker_build_context}, python={"user_managed_dependencies": True}
        )

    def clone(self, new_name: str) -> Environment:
        """Return a copy under another name, without a version."""
        twin = self._twin()
        twin.name, twin.version = new_name, None
        return twin

    @property
    def kind(self) -> EnvironmentKind:
        """What it is made from, once no template is left. With an image, ``python.kind`` says what is added."""
        if self.curated is not None:
            return EnvironmentKind.CURATED
        return self.docker.kind or self.python.kind

    def _conflicts(self) -> Iterator[Wrong]:
        if self.curated is None or is_template(self.curated):
            return
        for name, untouched in (("python", PythonSection()), ("docker", DockerSection())):
            if getattr(self, name) != untouched:
                yield Wrong(
                    f"cannot be changed: {self.curated} is a curated environment",
                    "Make an environment of your own, for instance with CondaDependencies.create(pip_packages=[...]).",
                    (name,),
                )


def _packages(
    conda_specification: str | os.PathLike[str] | None, pip_requirements: str | os.PathLike[str] | None
) -> dict[str, object]:
    if conda_specification is not None and pip_requirements is not None:
        wrong = Wrong("cannot be used together with conda_specification", "Keep one of the two.")
        refuse("Environment", [("pip_requirements", wrong)])
    if conda_specification is not None:
        return {"conda_dependencies_file": conda_specification}
    if pip_requirements is not None:
        return {"requirements_file": pip_requirements}
    return {"user_managed_dependencies": True}
