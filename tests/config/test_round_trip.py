"""Any configuration, as the dictionary of a template field and back, is the same configuration."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from config_examples import Output, config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.config import Environment, RunConfiguration, ScriptRunConfig
from airflow_provider.scriptrun.config.names import Communicator, Framework

REPOSITORY = Path(__file__).parents[2]

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: "{{" not in text and "{%" not in text
)
names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: not name.startswith("SCRIPTRUN_"))
words = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
paths = st.lists(words, min_size=1, max_size=3).map("/".join)
items = texts | st.integers() | st.floats(allow_nan=False) | paths.map(Path)
variables = st.dictionaries(names, items, max_size=3)
references = words.map("var:{}".format) | st.tuples(words, words).map(lambda both: f"conn:{both[0]}/{both[1]}")


def environments():
    python = st.one_of(
        st.just({}),
        st.fixed_dictionaries({"user_managed_dependencies": st.just(True)}, optional={"interpreter_path": words}),
        st.fixed_dictionaries({"requirements_file": paths}, optional={"pip_version": st.just("24.2")}),
        st.fixed_dictionaries({"conda_dependencies_file": paths}),
        st.fixed_dictionaries(
            {
                "conda_dependencies": st.fixed_dictionaries(
                    {},
                    optional={
                        "pip_packages": st.lists(words, max_size=2),
                        "conda_packages": st.lists(words, max_size=2),
                        "python_version": st.sampled_from(["3", "3.11"]),
                    },
                )
            }
        ),
    )
    docker = st.just({}) | st.fixed_dictionaries({"base_image": words}) | st.just({"build_context": {"directory": "x"}})
    own = st.builds(Environment, name=words, python=python, docker=docker, environment_variables=variables)
    return own | words.map(Environment.get)


run_configs = st.fixed_dictionaries(
    {},
    optional={
        "framework": st.sampled_from(list(Framework)),
        "communicator": st.sampled_from([Communicator.NONE, Communicator.NCCL, "openmpi"]),
        "node_count": st.integers(1, 9),
        "priority": st.none() | st.integers(),
        "history": st.fixed_dictionaries({}, optional={"directories_to_watch": st.lists(paths, max_size=2)}),
        "spark": st.fixed_dictionaries({"configuration": st.dictionaries(words, items, max_size=2)}),
    },
).map(lambda fields: RunConfiguration(**fields))
what = st.one_of(
    st.fixed_dictionaries({"script": paths}, optional={"arguments": st.lists(items, max_size=4)}),
    st.fixed_dictionaries({"command": st.lists(words, min_size=1, max_size=3) | words}),
)
rest = st.fixed_dictionaries(
    {"source_directory": paths | paths.map(Path), "run_config": run_configs},
    optional={
        "compute_target": words,
        "environment": environments(),
        "environment_variables": variables,
        "inputs": st.dictionaries(words, words, max_size=2),
        "max_run_duration_seconds": st.integers(1) | st.floats(0.1, 1e9),
        "resume_from": words,
        "tags": st.dictionaries(words, items, max_size=2),
    },
)
configurations = st.builds(lambda one, other: ScriptRunConfig(**one, **other), what, rest)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(configurations)
def test_a_configuration_survives_its_template_dictionary(taken):
    data = taken.to_template_dict()
    assert json.loads(json.dumps(data)) == data
    assert ScriptRunConfig.model_validate(data) == taken
    assert ScriptRunConfig.from_rendered(data) == taken
    assert ScriptRunConfig.from_rendered(data).to_template_dict() == data
    assert taken.resolved() == taken
    assert taken.clone() == taken


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(configurations, st.dictionaries(names, references, max_size=3))
def test_templates_and_outputs_survive_the_dictionary_too(taken, secrets):
    output = Output("upstream")
    taken.secret_variables = {
        name: reference for name, reference in secrets.items() if name not in taken.environment_variables
    }
    taken.environment_variables = {**taken.environment_variables, "A_TEMPLATE": "{{ ds }}", "AN_OUTPUT": output}
    taken.max_run_duration_seconds = "{{ params.seconds }}"
    taken.run_config.node_count = output
    again = ScriptRunConfig.model_validate(taken.to_template_dict())
    assert again == taken
    assert again.environment_variables["AN_OUTPUT"] is output


_PROGRAM = """
import json
from airflow_provider.scriptrun.config import Environment, ScriptRunConfig
taken = ScriptRunConfig("a", "b.py", ["--x", "{{ ds }}"], environment=Environment.from_pip_requirements("e", "r.txt"),
    environment_variables={name: name for name in "CAB"}, tags={"b": "1", "a": "2"}, run_config={"priority": 1})
print(json.dumps(taken.to_template_dict())); print(repr(taken)); print(str(taken))
"""


def run_python(program: str, seed: str = "0") -> str:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes_write_the_same_dictionary():
    first, second = run_python(_PROGRAM, seed="1"), run_python(_PROGRAM, seed="2")
    assert first == second
    assert '"environment_variables": {"C": "C", "A": "A", "B": "B"}' in first


def test_importing_and_using_configurations_imports_neither_airflow_nor_anything_heavy():
    program = _PROGRAM + (
        "import sys\n"
        "unwanted = {'airflow.sdk', 'airflow.models', 'yaml', 'packaging', 'fsspec', 'docker', 'paramiko', 'asyncio',"
        " 'airflow_provider.scriptrun.environments', 'airflow_provider.scriptrun.runs'}\n"
        "print('unwanted', sorted(unwanted & set(sys.modules)))\n"
    )
    assert run_python(program).endswith("unwanted []\n")


def test_the_package_alone_imports_not_even_pydantic():
    program = "import sys; import airflow_provider.scriptrun.config; print('pydantic' in sys.modules)"
    assert run_python(program) == "False\n"


def test_a_representation_shows_what_was_written_and_no_address():
    taken = config(arguments=[Output("x")], environment={"name": "e"})
    written = "source_directory='training', script='train.py', arguments=[<Output>], environment={'name': 'e'}"
    assert repr(taken) == str(taken) == f"ScriptRunConfig({written})"
    assert " at 0x" not in repr(taken.run_config)
