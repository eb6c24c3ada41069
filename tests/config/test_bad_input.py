"""What is refused, with the field's path and what to write instead."""

import pytest
from config_examples import Output, config

from airflow_provider.scriptrun.config import (
    CondaDependencies,
    ContainerRegistry,
    DockerBuildContext,
    DockerConfiguration,
    Environment,
    HistoryConfiguration,
    MpiConfiguration,
    PyTorchConfiguration,
    RunConfiguration,
    ScriptRunConfig,
    SparkSection,
    with_overrides,
)
from airflow_provider.scriptrun.errors import ConfigurationError


def environment(**python):
    return {"name": "e", "python": python}


#: What is written -> where the message says it is wrong, and a part of its advice.
KEYWORDS = {
    "a misspelt keyword": ({"compute_taget": "vm"}, "config.compute_taget", "Did you mean compute_target?"),
    "a keyword in another case": ({"Script": "a.py"}, "config.Script", "Did you mean script?"),
    "azure's name of another class": ({"target": "vm"}, "config.target", "compute_target"),
    "no source directory": ({"source_directory": None}, "config.source_directory", "write it"),
    "an empty source directory": ({"source_directory": ""}, "config.source_directory is empty", "'training'"),
    "a source directory of bytes": ({"source_directory": b"x"}, "config.source_directory", "'training'"),
    "a script that is a list": ({"script": ["a.py"]}, "config.script", "'train.py'"),
    "a script above": ({"script": "../a.py"}, "config.script", "move the script there"),
    "a script above, in a roundabout way": ({"script": "a/../../b.py"}, "config.script", "folder above both"),
    "an absolute script": ({"script": "/a/b.py"}, "config.script", "relative to the source directory"),
    "an absolute script elsewhere": (
        {"source_directory": "/work/training", "script": "/work/training2/a.py"},
        "config.script",
        "move the script there",
    ),
    "a folder as script": ({"script": "a/"}, "config.script", "Name the script in it"),
    "command and script": ({"script": "a.py", "command": ["b"]}, "config.command", "Keep one of the two"),
    "neither script nor command": ({"script": None}, "config.script is missing", "command="),
    "arguments of a command": ({"command": ["a"], "arguments": ["b"]}, "config.arguments", "into the command"),
    "an empty command": ({"command": []}, "config.command", "['python', '-m', 'training']"),
    "a blank command": ({"command": "  "}, "config.command is empty", "python train.py"),
    "arguments as text": ({"arguments": "--lr 0.1"}, "config.arguments", "Write each argument as an item"),
    "arguments as a set": ({"arguments": {"a"}}, "config.arguments", "a set has no order"),
    "arguments as a dictionary": ({"arguments": {"lr": 1}}, "config.arguments", "['--lr', '0.1']"),
    "a boolean argument": ({"arguments": ["--fast", True]}, "config.arguments[1]", "'true' or '1'"),
    "none as an argument": ({"arguments": ["--x", None]}, "config.arguments[1]", "Leave it out"),
    "a nested list of arguments": ({"arguments": [["a"]]}, "config.arguments[0]", "one by one"),
    "a dictionary as an argument": ({"arguments": [{}]}, "config.arguments[0]", "json.dumps"),
    "an object as an argument": ({"arguments": [object()]}, "config.arguments[0]", "not an object. Write str(...)"),
    "a NUL in an argument": ({"arguments": ["a\0b"]}, "config.arguments[0]", "Leave it out"),
    "a target that is no text": ({"compute_target": 5}, "config.compute_target", "'local'"),
    "a target with a space": ({"compute_target": "my vm"}, "config.compute_target", "'local'"),
    "an empty target": ({"compute_target": ""}, "config.compute_target is empty", "'local'"),
    "an environment by name alone": ({"environment": "sklearn"}, "config.environment", "Environment(...)"),
    "a model in another's place": ({"environment": RunConfiguration()}, "config.environment", "Environment(...)"),
    "a variable's name with a dash": (
        {"environment_variables": {"A-B": "1"}},
        "config.environment_variables['A-B']",
        "'A_B'",
    ),
    "a variable's name that begins with a digit": (
        {"environment_variables": {"1A": "1"}},
        "config.environment_variables['1A']",
        "'_1A'",
    ),
    "a variable that is ours": (
        {"environment_variables": {"SCRIPTRUN_RUN_ID": "1"}},
        "config.environment_variables['SCRIPTRUN_RUN_ID']",
        "does not begin with SCRIPTRUN_",
    ),
    "a boolean variable": ({"environment_variables": {"A": False}}, "config.environment_variables['A']", "'false'"),
    "a variable's name that is a template": (
        {"environment_variables": {"{{ ds }}": "1"}},
        "config.environment_variables['{{ ds }}']",
        "renders values only",
    ),
    "variables as a list": ({"environment_variables": ["A=1"]}, "config.environment_variables", "{'EPOCHS': '10'}"),
    "a secret itself": ({"secret_variables": {"T": "hunter2"}}, "config.secret_variables['T']", "conn:<connection id>"),
    "a secret's reference without its part": (
        {"secret_variables": {"T": "conn:hf"}},
        "config.secret_variables['T']",
        "password",
    ),
    "a secret in both": (
        {"environment_variables": {"T": "x"}, "secret_variables": {"T": "var:t"}},
        "config.secret_variables['T']",
        "Keep one of the two",
    ),
    "a negative duration": ({"max_run_duration_seconds": -1}, "config.max_run_duration_seconds", "no limit"),
    "a duration of nothing": ({"max_run_duration_seconds": 0}, "config.max_run_duration_seconds", "no limit"),
    "a duration without end": (
        {"max_run_duration_seconds": float("inf")},
        "config.max_run_duration_seconds",
        "no limit",
    ),
    "a quoted duration": ({"max_run_duration_seconds": "60"}, "config.max_run_duration_seconds", "without quotes"),
    "tags as text": ({"tags": "a"}, "config.tags", "{'team': 'churn'}"),
    "a tag without a name": ({"tags": {"": "x"}}, "config.tags['']", "a name"),
    "a tag whose name is a number": ({"tags": {1: "x"}}, "config.tags[1]", "'1'"),
    "an input's name with a slash": ({"inputs": {"a/b": "s3://b/c"}}, "config.inputs['a/b']", "inputs/<name>"),
    "an input with a password": ({"inputs": {"a": "ftp://u:pw123@h/x"}}, "config.inputs['a']", "${NAME}"),
    "an empty run to resume from": ({"resume_from": ""}, "config.resume_from is empty", "Write"),
    "a distributed configuration that is none": (
        {"distributed_job_config": {"node_count": 2}},
        "config.distributed_job_config",
        "MpiConfiguration(node_count=2)",
    ),
    "a run configuration that a keyword contradicts": (
        {"run_config": RunConfiguration(target="a"), "compute_target": "b"},
        "config.compute_target",
        "Keep one of the two",
    ),
    "a run configuration that says the default, and a keyword does not": (
        {"run_config": RunConfiguration(target="local"), "compute_target": "b"},
        "config.compute_target",
        "Keep one of the two",
    ),
    "a run configuration with an environment of its own": (
        {"run_config": {"environment": {"name": "a"}}, "environment": Environment("b")},
        "config.environment",
        "run_config.environment",
    ),
    "a run configuration that a distributed configuration contradicts": (
        {"run_config": RunConfiguration(node_count=3), "distributed_job_config": MpiConfiguration(node_count=2)},
        "config.distributed_job_config",
        "Keep one of the two",
    ),
    "a rendered run configuration beside keywords": (
        {"run_config": Output("x")},
        "config.script",
        "fields of run_config",
    ),
    "a run configuration that is none": ({"run_config": "vm"}, "config.run_config", "RunConfiguration(...)"),
    "an unknown framework": ({"run_config": {"framework": "pyspak"}}, "config.run_config.framework", "PySpark?"),
    "an unknown communicator": ({"run_config": {"communicator": "mpi"}}, "config.run_config.communicator", "OpenMpi"),
    "no nodes": ({"run_config": {"node_count": 0}}, "config.run_config.node_count", "1 or more"),
    "half a node": ({"run_config": {"node_count": 1.5}}, "config.run_config.node_count", "4"),
    "a boolean number of nodes": ({"run_config": {"node_count": True}}, "config.run_config.node_count", "4"),
    "a flag in quotes": (
        {"run_config": {"history": {"output_collection": "no"}}},
        "config.run_config.history.output_collection",
        "without quotes",
    ),
    "azure's compute": ({"run_config": {"amlcompute": {}}}, "config.run_config.amlcompute", "outside Azure"),
    "a misspelt field deep down": (
        {"environment": {"python": {"interpeter_path": "/x"}}},
        "config.environment.python.interpeter_path",
        "Did you mean interpreter_path?",
    ),
    "a relative interpreter": (
        {"environment": environment(user_managed_dependencies=True, interpreter_path="venv/bin/python")},
        "config.environment.python.interpreter_path",
        "absolute path",
    ),
    "an interpreter with options": (
        {"environment": environment(user_managed_dependencies=True, interpreter_path="python -u")},
        "config.environment.python.interpreter_path",
        "interpreter alone",
    ),
    "an interpreter that nobody would use": (
        {"environment": environment(interpreter_path="/opt/python")},
        "config.environment.python.interpreter_path",
        "user_managed_dependencies",
    ),
    "packages that nobody would install": (
        {"environment": environment(user_managed_dependencies=True, requirements_file="r.txt")},
        "config.environment.python.requirements_file",
        "Leave them out",
    ),
    "two ways to name packages": (
        {"environment": environment(conda_dependencies_file="c.yml", requirements_file="r.txt")},
        "config.environment.python.conda_dependencies_file",
        "Keep one of the two",
    ),
    "a changed curated environment": (
        {"environment": {"curated": "a", "python": {"requirements_file": "r"}}},
        "config.environment.python",
        "of your own",
    ),
    "two images": (
        {"environment": {"docker": {"base_image": "a", "base_dockerfile": "b"}}},
        "config.environment.docker.base_dockerfile",
        "Keep one of the two",
    ),
    "a registry for nothing": (
        {"environment": {"docker": {"base_image_registry": {"address": "x"}}}},
        "config.environment.docker.base_image_registry",
        "base_image",
    ),
    "azure's docker.enabled": (
        {"environment": {"docker": {"enabled": True}}},
        "config.environment.docker.enabled",
        "use_docker",
    ),
}


@pytest.mark.parametrize("case", KEYWORDS)
def test_a_wrong_configuration_is_refused_with_its_path_and_what_to_write(case):
    fields, place, advice = KEYWORDS[case]
    with pytest.raises(ConfigurationError) as caught:
        config(**fields)
    message = str(caught.value)
    assert message.startswith(place)
    assert advice in message
    _assert_plain(message)


@pytest.mark.parametrize("case", [case for case in KEYWORDS if "distributed_job_config" not in KEYWORDS[case][0]])
def test_a_dictionary_is_refused_like_keywords(case):
    fields, place, advice = KEYWORDS[case]
    fields = {"source_directory": "training", **({} if "command" in fields else {"script": "train.py"}), **fields}
    fields = {name: value for name, value in fields.items() if value is not None}
    with pytest.raises(ConfigurationError) as caught:
        ScriptRunConfig.model_validate(fields)
    assert str(caught.value).startswith(place)
    assert advice in str(caught.value)


#: What is called -> where the message says it is wrong, and a part of its advice.
PARTS = {
    "conda's = for pip": (
        lambda: CondaDependencies(pip_packages=["numpy=1.26"]),
        "conda_dependencies.pip_packages[0]",
        "'numpy==1.26'",
    ),
    "a space for pip": (
        lambda: CondaDependencies(pip_packages=["numpy 1"]),
        "conda_dependencies.pip_packages[0]",
        "numpy>=",
    ),
    "packages as text": (
        lambda: CondaDependencies.create(pip_packages="numpy"),
        "conda_dependencies.pip_packages",
        "Write a list",
    ),
    "an option among packages": (
        lambda: CondaDependencies().add_pip_package("-r other.txt"),
        "conda_dependencies.pip_packages[0]",
        "from_pip_requirements",
    ),
    "a package that is no conda package": (
        lambda: CondaDependencies(conda_packages=["=3"]),
        "conda_dependencies.conda_packages[0]",
        "numpy=1.26",
    ),
    "a Python version as a number": (
        lambda: CondaDependencies(python_version=3.10),
        "conda_dependencies.python_version",
        "'3.10'",
    ),
    "a Python version as words": (
        lambda: CondaDependencies().set_python_version("latest"),
        "conda_dependencies.python_version",
        "'3.11'",
    ),
    "an index with a password": (
        lambda: CondaDependencies.create(pip_indexurl="https://me:pw123@pypi.example/simple"),
        "conda_dependencies.pip_options[0]",
        "${NAME}",
    ),
    "an address with a token": (
        lambda: CondaDependencies(pip_packages=["mine @ git+https://pw123@git.example/mine.git"]),
        "conda_dependencies.pip_packages[0]",
        "${NAME}",
    ),
    "a registry's password itself": (
        lambda: ContainerRegistry(address="r.example", username="me", password="hunter2"),
        "ContainerRegistry.password",
        "conn:",
    ),
    "two sorts of packages for an image": (
        lambda: Environment.from_docker_image("e", "python", conda_specification="c", pip_requirements="r"),
        "pip_requirements",
        "Keep one of the two",
    ),
    "an image with a space": (
        lambda: Environment.from_docker_image("e", "my image"),
        "environment.docker.base_image",
        "python:3.11-slim",
    ),
    "a curated environment's name with a slash": (
        lambda: Environment.get("a/b"),
        "environment.curated",
        "scikit-learn",
    ),
    "an environment's name that is none": (lambda: Environment(5), "environment.name", "'sklearn'"),
    "a size that is none": (lambda: DockerConfiguration(shm_size="much"), "DockerConfiguration.shm_size", "'2g'"),
    "a build context without a folder": (
        lambda: DockerBuildContext(),
        "DockerBuildContext.directory is missing",
        "write it",
    ),
    "a backend that is none": (
        lambda: PyTorchConfiguration("mpi"),
        "PyTorchConfiguration.communication_backend",
        "Nccl, Gloo",
    ),
    "half a coordinate": (lambda: SparkSection(packages=["a:b"]), "spark.packages[0]", "group:artifact:version"),
    "folders as text": (lambda: HistoryConfiguration(directories_to_watch="logs"), "HistoryConfiguration", "['logs']"),
    "a misspelt field of a part": (lambda: MpiConfiguration(node_cout=2), "MpiConfiguration.node_cout", "node_count?"),
    "hosts that contradict each other": (
        lambda: RunConfiguration(communicator="OpenMpi", node_count=4, mpi=MpiConfiguration(node_count=2)),
        "run_config.node_count",
        "node_count=2",
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_a_wrong_part_is_refused_with_its_path_and_what_to_write(case):
    made, place, advice = PARTS[case]
    with pytest.raises(ConfigurationError) as caught:
        made()
    assert str(caught.value).startswith(place)
    assert advice in str(caught.value)
    _assert_plain(str(caught.value))


def _assert_plain(message: str) -> None:
    assert "pydantic" not in message
    assert " at 0x" not in message
    assert "hunter2" not in message
    assert "pw123" not in message


@pytest.mark.parametrize(
    ("assign", "place", "advice"),
    [
        (lambda c: setattr(c, "computetarget", "x"), ".computetarget", "Did you mean compute_target?"),
        (lambda c: setattr(c.run_config, "traget", "x"), ".run_config.traget", "Did you mean target?"),
        (lambda c: setattr(c.run_config, "framework", "sparky"), ".run_config.framework", "It can be Python"),
        (
            lambda c: setattr(c.environment.python, "user_managed", True),
            ".environment.python.user_managed",
            "_dependencies?",
        ),
        (
            lambda c: setattr(c.environment.python, "interpreter_path", 5),
            ".environment.python.interpreter_path",
            "/usr/bin",
        ),
        (
            lambda c: setattr(c.environment.python, "conda_dependencies", {"pip": []}),
            ".environment.python.conda_dependencies.pip",
            "pip_packages?",
        ),
        (lambda c: setattr(c, "environment", {"python": {"x": 1}}), ".environment.python.x", "PythonSection has"),
        (lambda c: setattr(c, "arguments", "a b"), ".arguments", "Write each argument as an item"),
        (lambda c: setattr(c, "script_path", "a"), ".script_path", "Set those"),
        (lambda c: setattr(c, "distributed_job_config", 5), ".distributed_job_config", "MpiConfiguration"),
        (lambda c: setattr(c.run_config.mpi, "node_count", "2"), ".run_config.mpi.node_count", "without quotes"),
    ],
)
def test_a_wrong_assignment_is_refused_with_the_whole_path(assign, place, advice):
    with pytest.raises(ConfigurationError) as caught:
        assign(config())
    assert str(caught.value).startswith(f"config{place} ")
    assert advice in str(caught.value)


def test_several_mistakes_are_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        config(arguments="x", tags=["y"], run_config={"node_count": 0})
    message = str(caught.value)
    assert message.startswith("ScriptRunConfig has 3 mistakes:")
    assert all(f"- config.{place}" in message for place in ("arguments", "tags", "run_config.node_count"))


@pytest.mark.parametrize("use", [ScriptRunConfig.to_template_dict, ScriptRunConfig.resolved])
def test_what_assignments_say_together_is_checked_when_the_configuration_is_used(use):
    taken = config()
    taken.command = ["make"]
    with pytest.raises(ConfigurationError, match=r"^config\.command cannot be used together with script"):
        use(taken)


@pytest.mark.parametrize("use", [ScriptRunConfig.to_template_dict, ScriptRunConfig.resolved])
def test_what_was_appended_to_a_list_is_checked_when_the_configuration_is_used(use):
    taken = config()
    taken.arguments.append(None)
    with pytest.raises(ConfigurationError, match=r"^config\.arguments\[0\]"):
        use(taken)


def test_overrides_are_checked():
    with pytest.raises(ConfigurationError, match=r"^config\.arguments must be a list"):
        with_overrides(config(), arguments="--lr 0.1")
    with pytest.raises(ConfigurationError, match=r"^config\.tags must be a dictionary"):
        with_overrides({"source_directory": "a", "script": "b"}, tags=["x"])


@pytest.mark.parametrize(
    "requirement",
    [
        "numpy",
        "scikit-learn>=1.3,<2; python_version > '3.9'",
        "uvicorn[standard]==0.30",
        "mine @ https://${TOKEN}@git.example/mine.whl",
        "mine @ https://me:${TOKEN}@git.example/mine.whl",
        "mine @ git+ssh://git@git.example/mine.git@v1",
        "https://files.example/mine-1.0-py3-none-any.whl",
        "numpy=={{ params.numpy }}",
    ],
)
def test_a_requirement_in_any_of_pips_forms_is_taken(requirement):
    assert CondaDependencies(pip_packages=[requirement]).pip_packages == [requirement]


def test_a_secret_never_stands_in_a_message_even_when_it_is_no_text():
    with pytest.raises(ConfigurationError) as caught:
        config(secret_variables={"T": ["hunter2"]})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
