from __future__ import annotations

import json
import sys

import pytest

from airflow_provider.scriptrun.errors import ConfigurationError, TargetRefusedError
from airflow_provider.scriptrun.targets.local import LocalTarget, own_tools
from airflow_provider.scriptrun.targets.transports.base import DIAGNOSIS_BYTES
from airflow_provider.scriptrun.targets.transports.local import LocalTransport, allowed_environment

MEGABYTE = 1024 * 1024


def opened(script: str, *arguments: str, inherit=()):
    """Start a Python script over the local transport."""
    return LocalTransport(inherit).open([sys.executable, "-c", script, *arguments])


def test_arguments_stay_what_they_are():
    arguments = ["two words", "$HOME", "`id`", "'\"", "", "*", "\n"]
    process = opened("import json, sys; print(json.dumps(sys.argv[1:]))", *arguments)
    assert json.loads(process.read(1000, 30)) == arguments
    assert process.wait(30) == 0
    process.close()


def test_what_goes_in_comes_out_while_a_lot_is_said_on_standard_error():
    script = """
import sys
while True:
    data = sys.stdin.buffer.read1(65536)
    if not data:
        break
    sys.stderr.buffer.write(b"e" * len(data))
    sys.stderr.flush()
sys.stdout.write("all")
"""
    process = opened(script)
    for _ in range(8):
        process.write(b"x" * (MEGABYTE // 2), 30)
    process._pipes[0].close()
    assert process.read(100, 30) == b"all"
    assert process.read(100, 30) == b""
    assert process.diagnosis() == b"e" * DIAGNOSIS_BYTES
    process.close()


def test_reading_and_writing_have_an_end():
    process = opened("import time; time.sleep(600)")
    with pytest.raises(TimeoutError):
        process.read(1, 0.05)
    with pytest.raises(TimeoutError):
        process.write(b"x" * MEGABYTE, 0.05)
    process.terminate()
    assert process.read(1, 30) == b""
    assert process.wait(30) == -9
    process.close()


def test_a_process_that_does_not_end_by_itself_is_killed(monkeypatch):
    from airflow_provider.scriptrun.targets.transports import local

    monkeypatch.setattr(local, "_EXIT_PATIENCE_S", 0.1)
    process = opened("import time; time.sleep(600)")
    process.close()
    process.close()
    assert process.wait(0) == -9


def test_a_reader_that_has_gone_is_told():
    process = opened("import os; os.close(0); print('closed', flush=True); import time; time.sleep(600)")
    assert process.read(100, 30) == b"closed\n"
    with pytest.raises(BrokenPipeError):
        process.write(b"x", 30)
    process.terminate()
    process.close()


@pytest.mark.parametrize("program", ["/no/such/program", "/etc/passwd", "/etc/passwd/x"])
def test_a_program_that_cannot_be_executed_is_named(program):
    with pytest.raises(TargetRefusedError, match=program):
        LocalTransport().open([program])


def test_of_our_variables_only_those_on_the_list_get_through():
    ours = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "HTTPS_PROXY": "proxy",
        "SSL_CERT_FILE": "ca",
        "UV_INDEX_URL": "index",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PYTHONPATH": "/x",
        "VIRTUAL_ENV": "/venv",
        "AIRFLOW__CORE__FERNET_KEY": "secret",
        "AIRFLOW_CONN_X": "secret",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    assert set(allowed_environment(ours)) == {"PATH", "LC_ALL", "HTTPS_PROXY", "SSL_CERT_FILE", "UV_INDEX_URL"}
    assert "CUDA_VISIBLE_DEVICES" in allowed_environment(ours, ["CUDA_*"])


@pytest.mark.parametrize("pattern", ["*", "AIRFLOW*", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_X"])
def test_airflows_secrets_stay_whatever_is_allowed(pattern):
    ours = {"AIRFLOW__CORE__FERNET_KEY": "s", "AIRFLOW_CONN_X": "s", "AIRFLOW_VAR_Y": "s", "_AIRFLOW__X": "s", "A": "1"}
    assert set(allowed_environment(ours, [pattern])) <= {"A"}


def test_the_uv_that_comes_with_the_package_is_offered():
    pytest.importorskip("uv")
    assert own_tools()["uv"].endswith("uv")


def test_a_root_that_depends_on_where_a_worker_was_started_is_refused():
    with pytest.raises(ConfigurationError, match="runs/here"):
        LocalTarget("runs/here")
    with pytest.raises(ConfigurationError, match="python3"):
        LocalTarget("/tmp/root", "python3")


def test_a_root_below_the_home_folder_is_made_absolute(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert LocalTarget("~/.scriptrun").root == "/home/somebody/.scriptrun"
