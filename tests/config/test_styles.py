"""Keywords and assignment, and copies."""

import copy
import numbers
import pickle
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from config_examples import Output, config

from airflow_provider.scriptrun.config import (
    Communicator,
    CondaDependencies,
    DockerConfiguration,
    Environment,
    EnvironmentKind,
    Framework,
    MpiConfiguration,
    PyTorchConfiguration,
    RunConfiguration,
    ScriptRunConfig,
    TensorflowConfiguration,
)
from airflow_provider.scriptrun.errors import ConfigurationError


def test_positional_arguments_are_those_of_azure():
    run_config = RunConfiguration(target="vm")
    taken = ScriptRunConfig("dir", "train.py", ["--a", "1"], run_config)
    assert (taken.source_directory, taken.script, taken.arguments) == ("dir", "train.py", ["--a", "1"])
    assert taken.compute_target == "vm"


def test_keywords_and_assignment_mean_the_same():
    by_keyword = ScriptRunConfig(
        source_directory="training",
        script="train.py",
        arguments=["--lr", 0.1],
        compute_target="vm",
        environment=Environment("mine", python={"user_managed_dependencies": True, "interpreter_path": "/opt/python"}),
        environment_variables={"EPOCHS": 3},
        max_run_duration_seconds=60,
        docker_runtime_config=DockerConfiguration(use_docker=True),
        run_config=RunConfiguration(framework="pyspark", node_count=2),
        tags={"team": "churn"},
    )
    by_assignment = ScriptRunConfig("training", "other.py")
    by_assignment.script = "train.py"
    by_assignment.run_config.arguments = ["--lr", 0.1]
    by_assignment.run_config.target = "vm"
    by_assignment.run_config.framework = "PySpark"
    by_assignment.run_config.node_count = 2
    by_assignment.run_config.environment.name = "mine"
    by_assignment.run_config.environment.python.user_managed_dependencies = True
    by_assignment.environment.python.interpreter_path = "/opt/python"
    by_assignment.run_config.environment_variables = {"EPOCHS": "3"}
    by_assignment.max_run_duration_seconds = timedelta(minutes=1)
    by_assignment.run_config.docker.use_docker = True
    by_assignment.tags = {"team": "churn"}
    assert by_assignment == by_keyword
    assert by_assignment.to_template_dict() == by_keyword.to_template_dict()
    assert by_assignment.resolved() == by_keyword.resolved()


@pytest.mark.parametrize(
    ("keyword", "field", "value"),
    [
        ("script", "script", "a.py"),
        ("arguments", "arguments", ["x"]),
        ("compute_target", "target", "vm"),
        ("environment", "environment", Environment("e")),
        ("environment_variables", "environment_variables", {"A": "1"}),
        ("docker_runtime_config", "docker", DockerConfiguration(shm_size="4g")),
        ("max_run_duration_seconds", "max_run_duration_seconds", 5),
        ("command", "command", ["echo"]),
    ],
)
def test_a_keyword_and_the_run_configuration_are_one_value(keyword, field, value):
    taken = config()
    setattr(taken, keyword, value)
    assert getattr(taken.run_config, field) == getattr(taken, keyword) == value
    setattr(taken.run_config, field, getattr(config().run_config, field))
    assert getattr(taken, keyword) == getattr(config(), keyword)


def test_a_keyword_joins_a_run_configuration_that_says_nothing_about_it():
    taken = config(run_config=RunConfiguration(framework="python", node_count=3), compute_target="vm")
    assert (taken.compute_target, taken.run_config.node_count) == ("vm", 3)


def test_a_keyword_may_repeat_what_the_run_configuration_says():
    assert config(run_config=RunConfiguration(target="vm"), compute_target="vm").compute_target == "vm"


def test_a_run_configuration_shared_by_two_configurations_is_copied():
    shared = RunConfiguration(target="vm")
    first, second = config(run_config=shared), config(run_config=shared)
    first.run_config.target = "other"
    first.environment.python.user_managed_dependencies = True
    first.run_config.environment_variables["A"] = "1"
    shared.node_count = 7
    assert second == config(compute_target="vm")
    assert shared == RunConfiguration(target="vm", node_count=7)


def test_an_environment_is_copied_when_it_is_assigned():
    environment = Environment("shared")
    taken = config()
    taken.environment = environment
    environment.name = "changed"
    assert taken.environment.name == "shared"


def test_defaults_are_not_shared():
    first, second = config(), config()
    first.arguments.append("x")
    first.tags["a"] = "b"
    first.run_config.spark.configuration["a"] = "b"
    first.run_config.history.directories_to_watch.append("more")
    assert second == config()


def test_a_clone_is_deep_and_leaves_other_tasks_outputs_alone():
    output = Output("upstream")
    original = config(arguments=["--data", output], environment_variables={"A": "1"})
    for twin in (original.clone(), copy.deepcopy(original)):
        assert twin == original
        assert twin.arguments[1] is output
        twin.arguments.append("x")
        twin.environment_variables["B"] = "2"
        twin.environment.python.conda_dependencies.add_pip_package("numpy")
        assert original == config(arguments=["--data", output], environment_variables={"A": "1"})


def test_cloning_an_environment_renames_it_and_forgets_its_version():
    original = Environment("one", version="3", environment_variables={"A": "1"})
    twin = original.clone("two")
    assert (twin.name, twin.version, twin.environment_variables) == ("two", None, {"A": "1"})
    twin.environment_variables["B"] = "2"
    assert original.environment_variables == {"A": "1"}


def test_a_configuration_can_be_pickled():
    original = config(environment=Environment.get("scikit-learn"))
    assert pickle.loads(pickle.dumps(original)) == original


def test_paths_become_text_as_they_were_written():
    taken = config(source_directory=Path("a/b"), script=Path("c/d.py"), arguments=[Path("/data"), 3, 0.5])
    assert (taken.source_directory, taken.script) == ("a/b", "c/d.py")
    assert taken.arguments == ["/data", "3", "0.5"]


def test_numbers_of_other_libraries_become_text_as_python_numbers_do():
    class Int64:  # numpy registers its scalars in the same way
        def __str__(self):
            return "3"

    numbers.Integral.register(Int64)
    assert config(arguments=[Int64(), Decimal("0.10")]).arguments == ["3", "0.10"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("train.py", "train.py"),
        ("./a/../b/train.py", "b/train.py"),
        ("..train.py", "..train.py"),
        ("/work/training/a.py", "a.py"),
    ],
)
def test_a_scripts_place_in_the_source_directory_is_normalised(script, expected):
    assert str(config(source_directory="/work/training", script=script).script_path) == expected


def test_a_command_has_no_script_path():
    assert config(command="make train").script_path is None
    assert config(command=["make", "train"]).command == ["make", "train"]


@pytest.mark.parametrize("written", ["pyspark", "PySpark", "PYSPARK", Framework.PYSPARK])
def test_a_framework_is_read_in_any_case(written):
    assert RunConfiguration(framework=written).framework is Framework.PYSPARK


@pytest.mark.parametrize("written", [None, "None", "none", Communicator.NONE])
def test_no_communicator_may_be_written_in_any_way(written):
    assert RunConfiguration(communicator=written).communicator is Communicator.NONE


@pytest.mark.parametrize(
    ("distributed", "framework", "communicator", "node_count"),
    [
        (MpiConfiguration(2, 3), Framework.PYTHON, Communicator.OPEN_MPI, 3),
        (PyTorchConfiguration("gloo", node_count=2), Framework.PYTORCH, Communicator.GLOO, 2),
        (TensorflowConfiguration(4, 2), Framework.TENSORFLOW, Communicator.PARAMETER_SERVER, 4),
    ],
)
def test_a_distributed_configuration_is_written_into_the_run_configuration(
    distributed, framework, communicator, node_count
):
    by_keyword = config(distributed_job_config=distributed)
    by_assignment = config()
    by_assignment.distributed_job_config = distributed
    assert by_keyword == by_assignment
    run_config = by_keyword.run_config
    assert (run_config.framework, run_config.communicator, run_config.node_count) == (
        framework,
        communicator,
        node_count,
    )
    assert by_keyword.distributed_job_config == distributed
    assert config().distributed_job_config is None


def _with_pip() -> Environment:
    environment = Environment("e")
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["numpy"])
    return environment


def _user_managed() -> Environment:
    environment = Environment("e")
    environment.python.user_managed_dependencies = True
    return environment


def _with_conda() -> Environment:
    return Environment("e", python={"conda_dependencies": CondaDependencies.create(conda_packages=["gdal=3"])})


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        (Environment("e"), EnvironmentKind.DEFAULT),
        (Environment("e", environment_variables={"A": "1"}), EnvironmentKind.DEFAULT),
        (_user_managed(), EnvironmentKind.USER_MANAGED),
        (_with_pip(), EnvironmentKind.PIP),
        (Environment.from_pip_requirements("e", "r.txt"), EnvironmentKind.PIP),
        (_with_conda(), EnvironmentKind.CONDA),
        (Environment.from_conda_specification("e", "c.yml"), EnvironmentKind.CONDA),
        (Environment.from_existing_conda_environment("e", "base"), EnvironmentKind.EXISTING_CONDA),
        (Environment.get("scikit-learn"), EnvironmentKind.CURATED),
        (Environment.from_docker_image("e", "python:3.11"), EnvironmentKind.DOCKER_IMAGE),
        (Environment.from_dockerfile("e", "FROM python\nRUN true\n"), EnvironmentKind.DOCKERFILE),
        (Environment.from_docker_build_context("e", "image"), EnvironmentKind.DOCKER_BUILD_CONTEXT),
    ],
)
def test_an_environment_is_of_one_kind(environment, kind):
    assert environment.kind is kind


def test_an_image_is_user_managed_unless_packages_are_named():
    assert Environment.from_docker_image("e", "python:3.11").python.kind is EnvironmentKind.USER_MANAGED
    with_packages = Environment.from_docker_image("e", "python:3.11", pip_requirements="r.txt")
    assert with_packages.python.kind is EnvironmentKind.PIP


def test_variables_of_the_run_win_over_those_of_the_environment():
    taken = config(
        environment=Environment("e", environment_variables={"A": "1", "B": "1"}), environment_variables={"B": "2"}
    )
    assert taken.variables == {"A": "1", "B": "2"}


def test_a_package_added_again_takes_the_place_of_the_first():
    dependencies = CondaDependencies.create(
        pip_packages=["scikit_learn==1.3", "numpy"],
        conda_packages=["python=3.11", "gdal=3.8"],
        pip_indexurl="https://pypi.example/simple",
    )
    dependencies.add_pip_package("Scikit-Learn>=1.4")
    dependencies.add_conda_package("conda-forge::gdal=3.9")
    dependencies.add_channel("conda-forge")
    dependencies.set_pip_option("--index-url https://other.example/simple")
    assert dependencies.python_version == "3.11"
    assert dependencies.as_specification() == {
        "channels": ["conda-forge"],
        "dependencies": [
            "python=3.11",
            "conda-forge::gdal=3.9",
            "pip",
            {"pip": ["--index-url https://other.example/simple", "numpy", "Scikit-Learn>=1.4"]},
        ],
    }
    dependencies.remove_pip_package("scikit-learn")
    dependencies.remove_conda_package("gdal")
    dependencies.remove_channel("conda-forge")
    dependencies.remove_pip_option("--index-url")
    assert dependencies == CondaDependencies(pip_packages=["numpy"], python_version="3.11")


@pytest.mark.parametrize(
    ("package", "version", "packages"),
    [
        ("python=3.11", "3.11", []),
        ("python==3.11.4", "3.11.4", []),
        ("python 3.11", "3.11", []),
        ("python={{ params.python }}", "{{ params.python }}", []),
        ("python>=3.9", None, ["python>=3.9"]),
        ("python-dateutil=2.9", "3.10", ["python-dateutil=2.9"]),
    ],
)
def test_a_python_among_conda_packages_is_the_python_version_where_it_is_exact(package, version, packages):
    dependencies = CondaDependencies(python_version="3.10")
    dependencies.add_conda_package(package)
    assert (dependencies.python_version, dependencies.conda_packages) == (version, packages)
    dependencies.set_python_version("3.12")
    assert "python>=3.9" not in dependencies.conda_packages


def test_only_packages_beyond_python_and_pip_need_conda():
    assert not CondaDependencies(conda_packages=["python>=3.9", "pip"]).needs_conda
    assert CondaDependencies(conda_packages=["python>=3.9", "gdal"]).needs_conda


def test_packages_by_name_and_a_python_version_may_join_a_requirements_file():
    environment = Environment.from_pip_requirements("e", "r.txt", pip_version="24.2")
    environment.python.conda_dependencies.set_python_version("3.11")
    environment.python.conda_dependencies.add_pip_package("numpy")
    assert config(environment=environment).environment.kind is EnvironmentKind.PIP


def test_a_refused_assignment_changes_nothing():
    taken = config(compute_target="vm")
    with pytest.raises(ConfigurationError):
        taken.compute_target = 5
    with pytest.raises(ConfigurationError):
        taken.run_config.node_count = "two"
    assert taken == config(compute_target="vm")
