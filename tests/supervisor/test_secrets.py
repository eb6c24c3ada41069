"""What is secret reaches the script and nothing else, and nothing of Airflow's reaches the script."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from airflow_provider.scriptrun.supervisor import variables
from tests.supervisor.session import start_request

SECRET = "geheimnis-0815"


def test_a_secret_reaches_the_script_and_no_file_nor_command_line(session, target, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    body = 'test "$TOKEN" = "$(cat "$0")" && echo same'
    request = start_request(
        "sh", "-c", body, str(gate), secret_variables={"TOKEN": SECRET}, secret_environment={"INDEX": SECRET}
    )
    run = session.ask("start", **request)["run_id"]
    session.until(run, "Running")

    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in target.processes()]
    assert lines
    assert not any(SECRET.encode() in line for line in lines)
    gate.write_text(SECRET)
    assert session.wait(run)["status"] == "Completed"
    assert session.poll(run, run_log=0)[run].data["run.log"] == b"same\n"
    for folder, _, names in os.walk(target.root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                assert SECRET.encode() not in Path(path).read_bytes(), path
    assert json.loads(Path(target.run(run).request).read_text())["launch"]["secret_variables"] == ["TOKEN"]


def test_a_malformed_secret_is_refused_without_being_repeated(session):
    answer = session.ask("start", **start_request("true", secret_variables={"TOKEN": [SECRET]}))

    assert answer["error"]["code"] == "bad_request"
    assert "TOKEN" in answer["error"]["message"]
    assert SECRET not in json.dumps(answer)


def test_only_listed_variables_are_inherited(target):
    session = target.session(
        AIRFLOW__CORE__FERNET_KEY=SECRET,
        AIRFLOW_CONN_X=SECRET,
        _AIRFLOW_PROCESS=SECRET,
        OTHER="no",
        HF_HOME="yes",
        TZ="UTC",
        SCRIPTRUN_CRASH_POINT="none",
    )

    log = session.run("env", inherit=["HF_*", "AIRFLOW*", "*AIRFLOW*", "SCRIPTRUN*"])["log"].decode()

    assert SECRET not in log
    assert "OTHER" not in log
    assert "CRASH" not in log
    assert "HF_HOME=yes\n" in log
    assert "TZ=UTC\n" in log


def test_the_environments_variables_yield_to_the_runs_and_these_to_ours(session):
    delivery = {"variables": {"A": "environment", "B": "environment"}}
    environment = {"kind": "default", "schema": 1, "delivery": delivery}

    log = session.run(
        "env",
        environment=environment,
        variables={"B": "launch", "C": "launch", "SCRIPTRUN_RUN_ID": "forged", "E": "ünï"},
        secret_variables={"C": "secret"},
    )["log"].decode()

    assert {"A=environment", "B=launch", "C=secret", "E=ünï"} <= set(log.split("\n"))
    assert "forged" not in log


@pytest.mark.parametrize("name", ["PATH", "LC_TIME", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "SSL_CERT_FILE"])
def test_what_a_program_needs_of_its_account_is_inherited(name):
    assert variables.inherited({name: "x", "PATHOLOGICAL": "y"}, []) == {name: "x"}


def test_airflows_own_variables_are_never_inherited_whatever_is_asked_for():
    base = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "s", "AIRFLOW_HOME": "h", "_AIRFLOW_X": "x", "MY_AIRFLOW": "fine"}

    assert variables.inherited(base, ["*"]) == {"MY_AIRFLOW": "fine"}


def test_the_folders_of_the_environment_come_first_on_path():
    assert variables.with_path({"PATH": "/usr/bin"}, ["/env/bin"])["PATH"] == "/env/bin:/usr/bin"
    assert variables.with_path({}, ["/env/bin"])["PATH"].startswith("/env/bin:/usr/")
