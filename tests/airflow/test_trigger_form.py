"""A form for whoever triggers a DAG: typed fields from the script's arguments, and their values back as arguments."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest
from airflow.sdk import DAG, Param

from airflow_provider.scriptrun import ConfigurationError, ScriptRunConfig, ScriptRunOperator, script_run_params
from airflow_provider.scriptrun.operators.trigger_form import ScriptRunParams


def arguments(form: ScriptRunParams, **values: Any) -> list[str]:
    """What the operator's ``arguments`` are rendered to, for what a person filled in."""
    filled = {name: param.value for name, param in form.items()} | values
    environment = jinja2.Environment(autoescape=False)  # as Airflow's
    found: list[str] = json.loads(environment.from_string(form.arguments).render(params=filled))
    return found


def test_the_configurations_arguments_become_typed_fields() -> None:
    config = ScriptRunConfig(
        "code", "train.py", ["--lr", 0.1, "--max-epochs", 10, "--name", "first", "--verbose", "--seed", "-1"]
    )
    form = script_run_params(config)
    assert {name: (param.value, param.schema["type"]) for name, param in form.items()} == {
        "compute_target": ("local", "string"),
        "lr": (0.1, "number"),
        "max_epochs": (10, "integer"),
        "name": ("first", "string"),
        "verbose": (True, "boolean"),
        "seed": (-1, "integer"),
    }
    assert arguments(form) == [*("--lr", "0.1", "--max-epochs", "10", "--name", "first", "--verbose", "--seed", "-1")]


def test_what_a_person_fills_in_is_what_the_script_gets() -> None:
    form = script_run_params(arguments={"lr": 0.1, "verbose": False, "note": None, "workers": 4, "text": "a"})
    assert arguments(form) == ["--lr", "0.1", "--workers", "4", "--text", "a"]
    filled = arguments(form, verbose=True, note='it\'s "quoted" & {{ odd }}', workers=0, text="")
    assert filled == [
        "--lr",
        "0.1",
        "--verbose",
        "--note",
        'it\'s "quoted" & {{ odd }}',
        "--workers",
        "0",
        "--text",
        "",
    ]


def test_bounds_and_choices_are_the_persons_own() -> None:
    rate = Param(0.1, type="number", minimum=0, maximum=1, description="Learning rate")
    form = script_run_params(ScriptRunConfig("c", "t.py", ["--lr", 5]), arguments={"lr": rate})
    assert form["lr"].schema["maximum"] == 1
    assert form["lr"].description == "Learning rate"
    with pytest.raises(Exception, match="maximum"):
        form["lr"].resolve(2)


def test_every_field_says_what_the_script_gets() -> None:
    whole = Param(4, type="integer", minimum=1, maximum=8)
    given = {"batch_size": whole, "keep_all": True, "note": None, "titled": Param("a", type="string", title="A title")}
    form = script_run_params(arguments=given)
    assert {name: (param.schema["title"], param.description) for name, param in form.items() if name in given} == {
        "batch_size": ("Batch size", "The script gets it as --batch-size. At least 1 and at most 8."),
        "keep_all": ("Keep all", "The script gets --keep-all when this is on."),
        "note": ("Note", "The script gets it as --note; empty: not at all."),
        "titled": ("A title", "The script gets it as --titled."),
    }
    assert whole.description is None
    assert "title" not in whole.schema, "the person's own Param is left as it is"


def test_arguments_have_the_headings_that_the_person_wants() -> None:
    given = {"lr": 0.1, "seed": Param(7, type="integer", section="Rarely changed")}
    assert [p.schema.get("section") for p in script_run_params(arguments=given).values()] == [
        None,
        None,
        "Rarely changed",
    ]
    form = script_run_params(arguments=given, section="Training")
    assert [param.schema.get("section") for param in form.values()] == [None, "Training", "Rarely changed"]


def test_targets_are_a_drop_down_whose_default_is_the_configurations() -> None:
    form = script_run_params(ScriptRunConfig("c", "t.py", compute_target="gpu1"), targets=["local", "gpu2"])
    assert form["compute_target"].value == "gpu1"
    assert form["compute_target"].schema["enum"] == ["gpu1", "local", "gpu2"]
    assert script_run_params(targets=["gpu2", "local"])["compute_target"].value == "gpu2"
    assert "enum" not in script_run_params()["compute_target"].schema


def test_a_name_may_be_spelt_as_the_script_has_it() -> None:
    assert arguments(script_run_params(arguments={"--keep_rate": 1, "drop-rate": 2, "top_k": 3})) == [
        *("--keep_rate", "1", "--drop-rate", "2", "--top-k", "3")
    ]


@pytest.mark.parametrize(
    ("config", "said", "words"),
    [
        (["positional"], {}, "'positional' of the configuration has no name"),
        (["--lr", "{{ params.x }}"], {}, "is a template"),
        ([], {"1st": 1}, "cannot be the name"),
        ([], {"compute_target": 1}, "cannot be the name"),
        ([], {"lr": b"bytes"}, "the form has no field"),
    ],
    ids=str,
)
def test_what_no_form_can_show_is_refused(config: list[str], said: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        script_run_params(ScriptRunConfig("c", "t.py", config), arguments=said)


def test_a_dag_takes_it_as_it_is_and_the_operator_its_templates() -> None:
    config = ScriptRunConfig("code", "train.py", ["--lr", 0.1])
    form = script_run_params(config, targets=["local", "gpu1"])
    with DAG("churn", params=form) as dag:
        task = ScriptRunOperator(
            task_id="train", config=config, arguments=form.arguments, compute_target=form.compute_target
        )
    assert dag.params["lr"] == 0.1
    assert task.render_template(task.compute_target, {"params": {"compute_target": "gpu1"}}) == "gpu1"


def test_the_example_of_the_documentation_gives_what_it_says() -> None:
    config = ScriptRunConfig("training", script="train.py", arguments=["--learning-rate", 0.1, "--epochs", 10])
    epochs = Param(10, type="integer", minimum=1)
    form = script_run_params(config, targets=["local", "gpu1"], arguments={"epochs": epochs})
    assert list(form) == ["compute_target", "learning_rate", "epochs"]
    assert arguments(form, learning_rate=0.5) == ["--learning-rate", "0.5", "--epochs", "10"]


def test_a_grid_is_each_target_with_each_combination_as_the_template_would_have_it() -> None:
    form = script_run_params(
        targets=["local", "gpu1"],
        arguments={"rate": Param([0.1, 1], type="array"), "verbose": True, "note": None, "seed": 7},
        many_targets=True,
    )
    assert form["compute_target"].value == ["local"]
    filled = {**{name: param.value for name, param in form.items()}, "compute_target": ["local", "gpu1"]}
    rest = ["--verbose", "--seed", "7"]
    assert form.grid(filled) == [
        {"compute_target": target, "arguments": ["--rate", rate, *rest]}
        for target in ("local", "gpu1")
        for rate in ("0.1", "1")
    ]
    for point in form.grid(filled):
        rate = {"0.1": 0.1, "1": 1}[point["arguments"][1]]
        assert arguments(form, rate=rate) == point["arguments"]


def test_a_grid_of_a_form_with_one_target_and_single_values_is_one_run() -> None:
    form = script_run_params(arguments={"rate": 0.1})
    assert form.grid({"compute_target": "local", "rate": 0.5}) == [
        {"compute_target": "local", "arguments": ["--rate", "0.5"]}
    ]
