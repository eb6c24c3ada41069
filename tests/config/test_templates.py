"""Templates are tolerated until a task renders them; what is rendered is checked strictly."""

import json
from typing import get_origin

import pytest
from config_examples import Output, config

from airflow_provider.scriptrun.config import (
    Communicator,
    Environment,
    Framework,
    RunConfiguration,
    ScriptRunConfig,
    SecretReference,
    template_value,
    unsupported,
    with_overrides,
)
from airflow_provider.scriptrun.config.element import Element
from airflow_provider.scriptrun.config.template import is_template
from airflow_provider.scriptrun.errors import ConfigurationError

TEMPLATE = "{{ params.x }}"


def fields_of(model: type[Element], at: tuple[str, ...] = ()):
    """Yield the path of every field, of parts too."""
    for name, field in model.model_fields.items():
        yield (*at, name)
        if get_origin(field.annotation) is None and isinstance(field.annotation, type(Element)):
            yield from fields_of(field.annotation, (*at, name))


def nested(path, value):
    return {path[0]: nested(path[1:], value) if path[1:] else value}


@pytest.mark.parametrize("path", list(fields_of(RunConfiguration)), ids=".".join)
@pytest.mark.parametrize(
    "value", [TEMPLATE, "{% if x %}1{% endif %}", Output("upstream")], ids=["jinja", "block", "output"]
)
def test_every_field_of_a_run_configuration_may_hold_a_template(path, value):
    made = RunConfiguration(**nested(path, value))
    for name in path:
        made = getattr(made, name)
    assert made is value


@pytest.mark.parametrize("name", ScriptRunConfig.model_fields)
def test_every_field_of_a_configuration_may_hold_a_template(name):
    for value in (TEMPLATE, Output("upstream")):
        fields = {"source_directory": "training", name: value}
        if name != "run_config":
            fields["script"] = "train.py"
        made = ScriptRunConfig(**fields)
        assert getattr(made, name) is value
        assert made.to_template_dict()[name] is value


def test_every_field_may_be_assigned_a_template():
    taken = config()
    for path in fields_of(RunConfiguration):
        holder = config().run_config
        for name in path[:-1]:
            holder = getattr(holder, name)
        setattr(holder, path[-1], TEMPLATE)
    taken.tags = TEMPLATE
    assert taken.tags == TEMPLATE


def test_items_of_lists_and_dictionaries_may_hold_templates():
    output = Output("upstream")
    taken = config(
        arguments=["--lr", TEMPLATE, output],
        environment_variables={"A": output, "B": TEMPLATE},
        secret_variables={"T": "conn:{{ params.connection }}/password"},
        environment={"python": {"conda_dependencies": {"pip_packages": ["numpy=={{ params.numpy }}"]}}},
    )
    plain = taken.to_template_dict()
    assert plain["arguments"][2] is output
    assert plain["environment_variables"]["A"] is output


def test_what_holds_no_template_is_checked_beside_one_that_does():
    with pytest.raises(ConfigurationError, match=r"^config\.run_config\.node_count"):
        config(compute_target=TEMPLATE, run_config={"node_count": 0})


@pytest.mark.parametrize(
    "fields",
    [
        {"script": "{{ params.folder }}/../../x.py"},
        {"source_directory": TEMPLATE, "script": "/work/a.py"},
        {"environment": {"python": {"user_managed_dependencies": TEMPLATE, "interpreter_path": "/opt/python"}}},
        {"environment": {"python": {"user_managed_dependencies": True, "requirements_file": TEMPLATE}}},
        {"environment": {"curated": TEMPLATE, "python": {"requirements_file": "r.txt"}}},
        {"environment": {"docker": {"base_image": TEMPLATE, "base_dockerfile": "Dockerfile"}}},
        {"run_config": {"communicator": TEMPLATE, "node_count": 3, "mpi": {"node_count": 2}}},
    ],
    ids=str,
)
def test_fields_are_not_held_against_a_template(fields):
    assert config(**fields).to_template_dict()


@pytest.mark.parametrize(
    "fields",
    [
        {"script": TEMPLATE, "command": "x"},
        {"script": "a.py", "command": TEMPLATE},
    ],
    ids=str,
)
def test_script_and_command_exclude_each_other_even_as_templates(fields):
    with pytest.raises(ConfigurationError, match=r"^config\.command cannot be used together with script"):
        config(**fields)


def test_a_rendered_dictionary_is_checked_strictly():
    data = config(max_run_duration_seconds=TEMPLATE).to_template_dict()
    data["max_run_duration_seconds"] = "sixty"
    with pytest.raises(
        ConfigurationError, match=r"^config\.max_run_duration_seconds must be a number of seconds, not 'sixty'"
    ):
        ScriptRunConfig.from_rendered(data)


def test_numbers_lists_and_flags_may_have_been_rendered_to_text():
    rendered = ScriptRunConfig.from_rendered(
        {
            "source_directory": "training",
            "script": "train.py",
            "arguments": "['--lr', 0.1]",
            "environment_variables": '{"A": 1}',
            "max_run_duration_seconds": "90",
            "run_config": {
                "node_count": "2",
                "priority": "None",
                "framework": " pytorch ",
                "communicator": "None",
                "history": {"output_collection": "False"},
                "spark": '{"configuration": {"a": "b"}}',
            },
        }
    )
    assert rendered.arguments == ["--lr", "0.1"]
    assert rendered.environment_variables == {"A": "1"}
    assert rendered.max_run_duration_seconds == 90
    run_config = rendered.run_config
    assert (run_config.node_count, run_config.priority) == (2, None)
    assert (run_config.framework, run_config.communicator) == (Framework.PYTORCH, Communicator.NONE)
    assert run_config.history.output_collection is False
    assert run_config.spark.configuration == {"a": "b"}


@pytest.mark.parametrize("text", ["--lr 0.1", "{'a': 1}", "", "['--lr'", pytest.param("[" * 100_000, id="deep")])
def test_a_list_rendered_to_other_text_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"^config\.arguments was rendered to .*tojson"):
        ScriptRunConfig.from_rendered({"source_directory": "a", "script": "b.py", "arguments": text})


def test_a_whole_configuration_may_have_been_rendered_to_text():
    assert ScriptRunConfig.from_rendered('{"source_directory": "a", "script": "b.py"}') == ScriptRunConfig("a", "b.py")
    with pytest.raises(ConfigurationError, match=r"^config was rendered to 'x'"):
        ScriptRunConfig.from_rendered("x")


OUTPUTS = {"uri": "s3://b/experiments/churn/churn_1_a/outputs", "count": 1, "files": [{"path": "model"}]}


def rendered(**fields):
    """A configuration of which Airflow has rendered these fields."""
    return ScriptRunConfig.from_rendered({"source_directory": "training", "script": "train.py", **fields})


@pytest.mark.parametrize(
    "said",
    [OUTPUTS, {"run_id": "churn_1_a", "outputs": OUTPUTS}, str(OUTPUTS), json.dumps(OUTPUTS)],
    ids=["outputs", "record", "text of Python", "text of JSON"],
)
def test_an_input_may_be_the_outputs_of_a_run(said):
    found = rendered(inputs={"model": said})
    assert found.inputs == {"model": OUTPUTS["uri"]}
    if isinstance(said, dict):  # in plain Python
        assert ScriptRunConfig("training", "train.py", inputs={"model": said}).inputs == found.inputs


@pytest.mark.parametrize("said", [{"metrics": {}}, {"uri": None}, {"outputs": "x"}])
def test_a_dictionary_that_names_no_outputs_is_refused(said):
    with pytest.raises(
        ConfigurationError, match=r"config.inputs\['model'\] is the dictionary .*names no run's outputs"
    ):
        rendered(inputs={"model": said})


def test_a_path_may_begin_with_a_brace():
    assert rendered(inputs={"a": "{x}/b"}).inputs == {"a": "{x}/b"}


def test_what_another_task_returned_becomes_json_in_an_argument():
    found = rendered(arguments=[{"rmse": 0.25}, [1, "a"], ("b",)], environment_variables={"METRICS": {"rmse": 0.25}})
    assert found.arguments == ['{"rmse": 0.25}', '[1, "a"]', '["b"]']
    assert found.environment_variables == {"METRICS": '{"rmse": 0.25}'}
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        rendered(arguments=[[object()]])


def test_braces_that_are_left_after_rendering_are_text():
    data = {"source_directory": "a", "script": "b.py", "arguments": ["{{ literal }}"]}
    rendered = ScriptRunConfig.from_rendered(data)
    assert rendered.arguments == ["{{ literal }}"]
    assert rendered.resolved() == rendered
    with pytest.raises(ConfigurationError, match=r"^config\.run_config\.node_count must be a whole number"):
        ScriptRunConfig.from_rendered({**data, "run_config": {"node_count": "{{ left }}"}})


def test_a_template_that_nobody_renders_is_refused_by_its_path():
    with pytest.raises(ConfigurationError) as caught:
        config(arguments=["a", TEMPLATE], environment_variables={"A": Output("x")}).resolved()
    assert "config.arguments[1] holds a template, which only an Airflow task renders" in str(caught.value)
    assert "config.environment_variables.A" in str(caught.value)


def test_an_output_that_nobody_looked_up_is_refused():
    with pytest.raises(ConfigurationError, match=r"^config\.arguments\[0\] stands for what another task returns"):
        ScriptRunConfig.from_rendered({"source_directory": "a", "script": "b", "arguments": [Output("x")]})


def test_models_inside_a_dictionary_are_taken():
    data = {"source_directory": "a", "script": "b.py", "environment": Environment("e", version="1")}
    expected = ScriptRunConfig("a", "b.py", environment=Environment("e", version="1"))
    assert template_value(data) == expected.to_template_dict()
    assert ScriptRunConfig.from_rendered(data) == expected


def test_an_operators_template_field_holds_a_plain_dictionary_of_what_was_written():
    taken = config(
        arguments=["--lr", TEMPLATE],
        compute_target="vm",
        environment=Environment.from_pip_requirements("sklearn", "r.txt"),
        run_config={"framework": "pyspark"},
        tags={"team": "churn"},
    )
    assert template_value(taken) == {
        "source_directory": "training",
        "script": "train.py",
        "arguments": ["--lr", TEMPLATE],
        "compute_target": "vm",
        "environment": {"name": "sklearn", "python": {"requirements_file": "r.txt"}},
        "run_config": {"framework": "PySpark"},
        "tags": {"team": "churn"},
    }
    assert list(template_value(taken)) == [
        "source_directory", "script", "arguments", "compute_target", "environment", "run_config", "tags",
    ]  # fmt: skip


def test_a_configuration_that_is_another_tasks_output_stays_as_it_is():
    output = Output("upstream")
    assert template_value(output) is output
    assert template_value(TEMPLATE) == TEMPLATE


@pytest.mark.parametrize("wrong", [None, 5, ["x"], "config.json"])
def test_a_configuration_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"^config must be a ScriptRunConfig"):
        template_value(wrong)


def test_nothing_of_a_model_is_mistaken_for_a_template_by_airflow():
    for part in (config(), RunConfiguration(), Environment("e")):
        assert not hasattr(part, "resolve")
        assert not hasattr(part, "template_fields")
        assert not callable(part)
        assert not is_template(part)


def test_an_operator_says_its_own_over_the_configuration():
    taken = config(
        arguments=["a"], environment_variables={"A": "1", "B": "1"}, tags={"x": "1"}, run_config={"target": "vm"}
    )
    own = {
        "arguments": ["b"],
        "compute_target": "other",
        "environment_variables": {"B": "2", "C": "3"},
        "tags": {"y": "2"},
    }
    expected = config(
        arguments=["b"],
        compute_target="other",
        environment_variables={"A": "1", "B": "2", "C": "3"},
        tags={"x": "1", "y": "2"},
    )
    before = taken.to_template_dict()
    assert with_overrides(taken, **own) == expected
    assert ScriptRunConfig.from_rendered(with_overrides(before, **own)) == expected
    assert taken.to_template_dict() == before
    assert with_overrides(taken) == taken


def test_overrides_find_what_stands_in_the_run_configuration_of_a_dictionary():
    data = {
        "source_directory": "a",
        "run_config": {"script": "b.py", "target": "vm", "arguments": ["x"], "environment_variables": {"A": "1"}},
    }
    rendered = with_overrides(data, compute_target="other", arguments=[], environment_variables='{"B": "2"}')
    taken = ScriptRunConfig.from_rendered(rendered)
    assert (taken.compute_target, taken.arguments) == ("other", [])
    assert taken.environment_variables == {"A": "1", "B": "2"}
    assert data["run_config"]["target"] == "vm"


@pytest.mark.parametrize("said", ["{{ params.variables }}", Output("upstream")], ids=["jinja", "output"])
def test_variables_that_are_one_template_are_not_added_to_before_they_are_rendered(said):
    data = config(environment_variables=said).to_template_dict()
    assert with_overrides(data, environment_variables={"B": "2"})["environment_variables"] is said
    rendered = with_overrides({**data, "environment_variables": '{"A": "{{1}}"}'}, environment_variables={"B": "2"})
    assert rendered["environment_variables"] == {"A": "{{1}}", "B": "2"}


def test_a_rendered_configuration_is_written_down_as_it_was_rendered():
    rendered = ScriptRunConfig.from_rendered({"source_directory": "a", "script": "b.py", "tags": {"{{x}}": "{{y}}"}})
    assert rendered.to_template_dict()["tags"] == {"{{x}}": "{{y}}"}
    assert rendered.clone().resolved() == rendered


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("conn:hf/password", ("conn", "hf", "password")),
        ("conn:team/hf/token", ("conn", "team/hf", "token")),
        ("var:my_key", ("var", "my_key", None)),
    ],
)
def test_a_reference_to_a_secret_is_taken_apart(written, parts):
    reference = SecretReference.parse(written)
    assert (reference.kind, reference.name, reference.field) == parts
    assert str(reference) == written


@pytest.mark.parametrize(
    ("written", "key"),
    [("password", None), ("token", "token"), ("extra.token", "token"), ("extra.host", "host"), ("host", None)],
)
def test_a_reference_names_a_part_or_a_key_of_the_extras(written, key):
    assert SecretReference.parse(f"conn:hf/{written}").extra_key == key


def test_a_plain_configuration_needs_nothing_that_is_not_there_yet():
    environment = Environment.from_pip_requirements("e", "r.txt")
    taken = config(environment=environment, tags={"a": "b"}, inputs={"a": "s3://b/c"})
    assert unsupported(taken.resolved(), "local") == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"resume_from": "churn_1"}, "config.resume_from"),
        ({"run_config": {"framework": "pyspark"}}, "config.run_config.framework PySpark"),
        ({"run_config": {"framework": "pytorch"}}, "config.run_config.framework PyTorch"),
        ({"run_config": {"node_count": 2}}, "config.run_config.node_count"),
        ({"run_config": {"priority": 1}}, "config.run_config.priority"),
        ({"run_config": {"history": {"snapshot_project": False}}}, "config.run_config.history.snapshot_project"),
    ],
    ids=str,
)
def test_what_is_not_there_yet_is_said_by_name(fields, named):
    assert unsupported(config(**fields).resolved(), "local") == [
        f"{named} is not there yet on a target of type 'local'."
    ]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"environment": Environment.from_docker_image("e", "python")}, "config.environment.docker"),
        ({"docker_runtime_config": {"use_docker": True}}, "config.run_config.docker.use_docker"),
        ({"docker_runtime_config": {"arguments": ["--gpus", "all"]}}, "config.run_config.docker.arguments"),
        ({"docker_runtime_config": {"shm_size": "8g"}}, "config.run_config.docker.shm_size"),
    ],
    ids=str,
)
def test_what_asks_for_a_container_says_which_targets_have_them(fields, named):
    taken = config(**fields).resolved()
    (sentence,) = unsupported(taken, "local")
    assert sentence.startswith(f"{named} asks for a container, and a target of type 'local' runs none")
    assert "scriptrun_docker" in sentence
    assert unsupported(taken, "docker") == []
