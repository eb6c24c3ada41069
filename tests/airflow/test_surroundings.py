"""What a run learns of Airflow: in a task, in plain Python with and without a metadata database."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from airflow.sdk._shared.secrets_masker import _secrets_masker, redact

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.targets.registry import open_target

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _without_secrets_of_other_tests() -> None:
    _secrets_masker().reset_masker()


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AirflowSurroundings:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path}/not_there.db")
    return AirflowSurroundings(tmp_path)


def test_options_come_from_airflows_configuration(
    surroundings: AirflowSurroundings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__LOCAL_MAX_RUNS", "7")
    assert surroundings.settings.local_max_runs == 7
    assert surroundings.settings.workspace == str(tmp_path / "scriptrun")
    assert surroundings.settings.cache_directory == str(tmp_path / "scriptrun-cache")


def test_an_option_that_is_no_number_is_refused_by_name(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__LOCAL_MAX_RUNS", "many")
    with pytest.raises(ConfigurationError, match="local_max_runs"):
        _ = surroundings.settings


def test_a_connection_comes_from_its_variable(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_GPU_BOX",
        json.dumps(
            {
                "conn_type": "scriptrun_local",
                "password": "correct-horse",
                "extra": {"root": "/data/runs", "private_key": "-----BEGIN\nfirst-line-of-key\nsecond-line\n"},
            }
        ),
    )
    connection = surroundings.connection("gpu_box")
    assert (connection.id, connection.type, connection.password) == ("gpu_box", "scriptrun_local", "correct-horse")
    assert connection.extra["root"] == "/data/runs"
    assert "correct-horse" not in repr(connection)
    assert "first-line" not in repr(connection)


def test_what_a_connection_keeps_secret_is_masked_line_by_line_and_the_rest_is_not(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_BOX",
        json.dumps(
            {
                "conn_type": "x",
                "password": "correct-horse",
                "extra": {"root": "/data", "private_key": "one-line\ntwo-line"},
            }
        ),
    )
    surroundings.connection("box")
    assert redact("say correct-horse") == "say ***"
    assert redact("say two-line") == "say ***"
    assert redact("say /data/runs") == "say /data/runs"


def test_the_password_in_a_proxy_of_an_opened_connection_is_masked(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxies = {"http": "http://me:correct%2Fhorse@proxy:3128", "https": "me:battery@proxy:3128", "no": "example.com"}
    document = {"conn_type": "scriptrun_docker", "extra": {"proxies": proxies}}
    monkeypatch.setenv("AIRFLOW_CONN_ENGINE", json.dumps(document))
    open_target("engine", surroundings).close()
    for password in ("correct%2Fhorse", "correct/horse", "battery"):
        assert redact(f"say {password}") == "say ***"
    assert redact("me at proxy:3128, not example.com") == "me at proxy:3128, not example.com"


def test_a_variable_that_holds_no_connection_is_not_called_missing(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", '{"conn_type": "scriptrun_local"')
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_BROKEN is set, and holds no connection"):
        surroundings.connection("broken")


def test_a_missing_connection_names_the_variable_to_set(surroundings: AirflowSurroundings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_NO_SUCH_BOX"):
        surroundings.connection("no_such_box")
    assert not (tmp_path / "not_there.db").exists()


def test_a_secret_is_found_by_its_reference_and_masked(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_HF", json.dumps({"conn_type": "http", "password": "pass-word-1", "extra": {"k": "extra-1"}})
    )
    monkeypatch.setenv("AIRFLOW_VAR_API", "variable-1")
    assert surroundings.secret("conn:hf/password") == "pass-word-1"
    assert surroundings.secret("conn:hf/k") == "extra-1"
    assert surroundings.secret("var:api") == "variable-1"
    assert redact("pass-word-1 extra-1 variable-1") == "*** *** ***"


@pytest.mark.parametrize("reference", ["hf/password", "conn:hf", "conn:/password", "conn:hf/", "var:", "env:HOME", ""])
def test_what_is_no_reference_is_refused(surroundings: AirflowSurroundings, reference: str) -> None:
    with pytest.raises(ConfigurationError, match="Write conn:"):
        surroundings.secret(reference)


def test_a_secret_that_is_not_there_is_refused_by_name(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_HF", json.dumps({"conn_type": "http"}))
    with pytest.raises(ConfigurationError, match="conn:hf/password"):
        surroundings.secret("conn:hf/password")
    with pytest.raises(ConfigurationError, match="AIRFLOW_VAR_NOTHING"):
        surroundings.secret("var:nothing")


def test_extras_that_are_no_json_object_are_refused(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({"conn_type": "x", "extra": "[1, 2]"}))
    with pytest.raises(ConfigurationError, match="odd"):
        surroundings.connection("odd")


@pytest.mark.parametrize(
    ("executor", "differ"),
    [
        ("LocalExecutor", False),
        ("airflow.executors.local_executor.LocalExecutor", False),
        ("CeleryExecutor", True),
        ("LocalExecutor,my.company.KubernetesExecutor:k8s", True),
    ],
)
def test_another_host_is_expected_where_an_executor_has_several(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch, executor: str, differ: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    monkeypatch.setattr("airflow_provider.scriptrun.hooks.lookup.in_task", lambda: True)
    assert surroundings.hosts_may_differ is differ


def test_plain_python_asks_no_executor(surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    assert surroundings.hosts_may_differ is False


@pytest.mark.slow
def test_a_connection_in_the_metadata_database_is_found_from_plain_python(tmp_path: Path) -> None:
    code = (
        "from airflow.utils.db import initdb; initdb()\n"
        "from airflow.models.connection import Connection\n"
        "from airflow.utils.session import create_session\n"
        "with create_session() as session:\n"
        "    session.add(Connection(conn_id='stored', conn_type='scriptrun_local', password='stored-pass'))\n"
        "from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings\n"
        "found = AirflowSurroundings().connection('stored')\n"
        "print('found', found.type, found.password == 'stored-pass')\n"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "found scriptrun_local True" in done.stdout, done.stderr[-2000:]


def test_a_file_system_is_opened_by_its_connection(
    surroundings: AirflowSurroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.io import fs

    opened = object()
    monkeypatch.setattr(fs, "_register_filesystems", lambda: {"s3": lambda connection, _options: (opened, connection)})
    monkeypatch.setenv("AIRFLOW_CONN_MY_AWS", json.dumps({"conn_type": "aws", "password": "correct-horse"}))
    assert surroundings.file_system("s3", "my_aws") == (opened, "my_aws")
    assert "correct-horse" not in redact("correct-horse")
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_NOT_THERE"):
        surroundings.file_system("s3", "not_there")
    with pytest.raises(ConfigurationError, match="Install the Airflow provider"):
        surroundings.file_system("gs", "my_aws")
