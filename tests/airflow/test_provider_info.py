"""What the provider tells Airflow is what Airflow's own schemas ask for, and everything it names is there."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import airflow
import jsonschema
import pytest

import airflow_provider.scriptrun
from airflow_provider.scriptrun.get_provider_info import get_provider_info
from airflow_provider.scriptrun.runs.settings import Settings, options

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A release of Airflow has one schema for its build and a looser one for what an installed provider may say.
SCHEMAS = ("provider.yaml.schema.json", "provider_info.schema.json")


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(next(iter(airflow.__path__))) / name).read_text())
    return found


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_provider_info_keeps_airflows_schema(name: str) -> None:
    jsonschema.validate(get_provider_info(), schema(name))


def test_a_misspelt_field_would_be_noticed() -> None:
    info = get_provider_info()
    info["connection-types"][0]["ui-field-behaviour"]["hidden-field"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(info, schema(SCHEMAS[0]))


def paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from paths(item)
    elif isinstance(value, str) and value.startswith("airflow_provider.") and " " not in value:
        yield value


def test_every_path_that_it_names_can_be_imported() -> None:
    named = list(paths(get_provider_info()))
    assert len(named) >= 3
    for path in named:
        try:
            import_module(path)
        except ModuleNotFoundError:
            module, _, name = path.rpartition(".")
            assert hasattr(import_module(module), name)


def test_every_option_stands_in_it_with_its_default() -> None:
    section = get_provider_info()["config"]["scriptrun"]["options"]
    assert list(section) == [option.name for option in options()]
    read_back = Settings.read(lambda name: section[name]["default"])
    assert read_back == Settings()


def test_a_connections_hook_is_made_from_its_id_alone() -> None:
    for kind in get_provider_info()["connection-types"]:
        module, _, name = kind["hook-class-name"].rpartition(".")
        hook_class = getattr(import_module(module), name)
        hook = hook_class(**{hook_class.conn_name_attr: "some_id"})
        assert getattr(hook, hook_class.conn_name_attr) == "some_id"
        assert hook_class.conn_type == kind["connection-type"]


def test_the_version_is_the_installed_ones() -> None:
    assert metadata.version("airflow-provider-scriptrun") == airflow_provider.scriptrun.__version__


def test_every_public_name_is_there_and_no_other() -> None:
    for name in airflow_provider.scriptrun.__all__:
        assert getattr(airflow_provider.scriptrun, name) is not None
        assert name in dir(airflow_provider.scriptrun)
    with pytest.raises(AttributeError, match="ScriptRunConfg"):
        airflow_provider.scriptrun.ScriptRunConfg  # noqa: B018


def in_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_a_dag_file_imports_nothing_heavy() -> None:
    loaded = in_new_process(
        "import sys, airflow.sdk; before = set(sys.modules)\n"
        "from airflow_provider.scriptrun import Environment, ScriptRunConfig, ScriptRunOperator\n"
        "print(*sorted(set(sys.modules) - before))"
    ).split()
    foreign = {name.partition(".")[0] for name in loaded} - {"airflow_provider"}
    assert not foreign & {"docker", "paramiko", "asyncssh", "fsspec", "upath", "yaml", "uv", "sqlalchemy", "requests"}
    ours = {name for name in loaded if name.startswith("airflow_provider.scriptrun.")}
    unneeded = ("targets", "supervisor", "snapshot", "environments", "context")
    assert not {name for name in ours if name.split(".")[2] in unneeded}


def test_airflow_learns_of_the_provider_without_importing_its_hooks() -> None:
    loaded = in_new_process(
        "import sys\n"
        "from airflow_provider.scriptrun.get_provider_info import get_provider_info; get_provider_info()\n"
        "print(*sorted(sys.modules))"
    ).split()
    assert not {name for name in loaded if name.partition(".")[0] in ("airflow", "pydantic", "fsspec")}


#: What it takes to run several ``airflow`` commands in one process, which takes seconds to start.
COMMANDS = """
import contextlib, io, json, sys
from airflow.__main__ import main
answers = {}
for line in sys.argv[1:]:
    sys.argv = ["airflow", *line.split(), "--output", "json"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main()
    answers[line] = json.loads(said.getvalue())
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_airflows_commands_show_the_provider_and_all_that_it_brings() -> None:
    get = "providers get airflow-provider-scriptrun --full"
    expected = {
        "providers hooks": {"scriptrun_local", "scriptrun_ssh", "scriptrun_docker"},
        "providers behaviours": {"scriptrun_local", "scriptrun_ssh", "scriptrun_docker"},
        "providers triggers": {"airflow_provider.scriptrun.triggers.run_over"},
        "providers links": set(get_provider_info()["extra-links"]),
    }
    command = [sys.executable, "-c", COMMANDS, get, *expected]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "scriptrun" not in said.stderr.lower(), said.stderr
    answers = json.loads(said.stdout.splitlines()[-1])
    (shown,) = answers[get]
    assert shown["versions"] == [airflow_provider.scriptrun.__version__]
    assert [item["name"] for item in shown["task-decorators"]] == ["script_run"]
    for line, names in expected.items():
        assert names <= {value for row in answers[line] for value in row.values()}, line
