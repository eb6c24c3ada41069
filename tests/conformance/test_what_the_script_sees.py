"""The script's surroundings, as the design promises them; a script needs to know none of this."""

from __future__ import annotations

import json
import os
import uuid

from tests.conformance.client import DEFAULT_ENVIRONMENT, Client

LOOK = """
import json, os, sys
print(json.dumps({
    "cwd": os.getcwd(),
    "argv": sys.argv,
    "interpreter": sys.executable,
    "python": os.popen("command -v python").read().strip(),
    "same": os.popen("python -c 'import sys; print(sys.executable)'").read().strip(),
    "input": sys.stdin.read() if sys.stdin else None,
    "variables": dict(os.environ),
    "folders": sorted(name for name in os.listdir(".") if os.path.isdir(name) and not os.path.islink(name)),
    "context": json.load(open(os.environ["SCRIPTRUN_CONTEXT"])),
    "umask": os.umask(0),
    "group": os.getpgrp() == os.getpid(),
}))
"""


def look(client: Client, **values: object) -> dict:
    """Return what a script sees."""
    return json.loads(client.finish(LOOK, **values).log)


def test_its_working_directory_is_its_copy_of_the_snapshot_with_the_folders_in_it(client):
    seen = look(client, files={"data/file": "x"})
    assert seen["folders"] == ["data", "inputs", "logs", "outputs"]
    assert seen["argv"] == ["main.py"]
    assert os.path.dirname(seen["variables"]["SCRIPTRUN_OUTPUTS"]) == seen["cwd"]


def test_python_is_the_interpreter_of_its_environment(client):
    seen = look(client)
    assert seen["interpreter"] == seen["same"]
    assert seen["python"]


def test_arguments_stay_as_they_are(client):
    arguments = ("two words", "$HOME", "`id`", "'", '"', "*", "", "\\", "\u00fc", "--x=1;rm -rf /", "new\nline")
    assert look(client, argv=("python", "main.py", *arguments))["argv"] == ["main.py", *arguments]


def test_its_standard_input_is_empty_and_its_output_unbuffered(client, place):
    seen = look(client)
    assert seen["input"] in ("", None)
    assert seen["variables"]["PYTHONUNBUFFERED"] == "1"


def test_it_learns_who_it_is(client):
    lineage = str(uuid.uuid4())
    request, tree = client.request(LOOK, lineage=lineage, context={"tags": {"team": "blue"}, "number": 1.5})
    client.submit(request, tree)
    seen = json.loads(client.follow(request.run_id).log)
    assert seen["variables"]["SCRIPTRUN_RUN_ID"] == request.run_id
    assert seen["variables"]["SCRIPTRUN_EXPERIMENT"] == "conformance"
    assert seen["context"].items() >= {"tags": {"team": "blue"}, "number": 1.5}.items()


def test_its_variables_are_those_that_were_asked_for(client):
    seen = look(
        client,
        variables={"LR": "0.1", "TEXT": "two words $HOME 'x'", "OVER": "run"},
        secret_variables={"TOKEN": "open sesame"},
        environment={
            **DEFAULT_ENVIRONMENT,
            "delivery": {**DEFAULT_ENVIRONMENT["delivery"], "variables": {"OVER": "environment", "OF_ENV": "yes"}},
        },
    )["variables"]
    expected = {"LR": "0.1", "TEXT": "two words $HOME 'x'", "OVER": "run", "TOKEN": "open sesame", "OF_ENV": "yes"}
    assert {name: seen.get(name) for name in expected} == expected


def test_nothing_of_the_workers_own_environment_reaches_it_unless_asked_for(place, monkeypatch):
    secrets = {
        "AIRFLOW__CORE__FERNET_KEY": "fernet",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "database",
        "AIRFLOW_CONN_WAREHOUSE": "warehouse",
        "AIRFLOW_VAR_KEY": "variable",
        "_AIRFLOW_PROCESS_CONTEXT": "server",
        "AWS_SECRET_ACCESS_KEY": "cloud",
        "PYTHONPATH": "/worker",
        "VIRTUAL_ENV": "/worker/venv",
        "SOMETHING": "else",
        "INHERITED_BUT_NOT_ASKED": "no",
        "PIP_INDEX_URL": "https://user:password@example.invalid/",
    }
    for name, value in {**secrets, "INHERITED_ONE": "yes"}.items():
        monkeypatch.setenv(name, value)
    with place.open() as target:
        client = Client(target)
        seen = look(client, inherit=("INHERITED_O*", "AIRFLOW*", "*AIRFLOW*"))["variables"]
    assert not {name for name, value in seen.items() if secrets.get(name) == value}
    assert "fernet" not in json.dumps(seen)
    assert seen["PATH"]
    assert seen["HOME"]


def test_what_it_may_inherit_it_gets(place, monkeypatch):
    if not place.inherits_from_worker:
        return
    monkeypatch.setenv("INHERITED_ONE", "yes")
    with place.open() as target:
        seen = look(Client(target), inherit=("INHERITED_*",))["variables"]
    assert seen["INHERITED_ONE"] == "yes"


def test_its_checkpoints_stay_for_every_run_of_the_lineage(client):
    lineage = str(uuid.uuid4())
    script = """
import os, sys
path = os.path.join(os.environ["SCRIPTRUN_CHECKPOINTS"], "step")
step = int(open(path).read()) if os.path.exists(path) else 0
open(path, "w").write(str(step + 1))
print(step)
sys.exit(step == 0)
"""
    from airflow_provider.scriptrun.targets.contract import Attempt

    logs = [
        client.finish(script, lineage=lineage, attempt=Attempt(try_number=number, max_tries=3)).log for number in (1, 2)
    ]
    assert logs == [b"0\n", b"1\n"]


def test_a_command_needs_no_python_and_no_shell(client):
    followed = client.finish(files={"say.sh": 'echo "$1"'}, argv=("sh", "say.sh", "a $b"))
    assert followed.log == b"a $b\n"
