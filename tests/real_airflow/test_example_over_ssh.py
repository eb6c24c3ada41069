"""The example on a machine over SSH, as `make demo-ssh` shows it: a private sshd and a connection kept by Airflow."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.airflow_home import CHECKOUT
from scripts.airflow_instance import AirflowInstance
from scripts.private_sshd import PrivateSshd

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("real_airflow")]


@pytest.mark.needs("network", "sshd")
def test_the_example_on_a_machine_over_ssh_builds_and_sends_once_and_says_so(
    airflow: AirflowInstance, training_vm: PrivateSshd
) -> None:
    key = training_vm.client_key.splitlines()[1]
    reports = []
    for _ in range(2):
        run_id = airflow.trigger("train_on_vm")
        assert airflow.wait_for_run("train_on_vm", run_id, 600) == "success"
        reports.append("\n".join(airflow.task_log("train_on_vm", run_id, "report")))
        assert key not in "\n".join(airflow.task_log("train_on_vm", run_id, "train"))
    first, second = reports
    assert " on training_vm (" in first
    assert "status       Completed" in first
    assert "metric       rmse = " in first
    assert "environment  sklearn: built" in first
    assert "nothing had to be sent" not in first
    assert "model.json" in first
    assert "environment  sklearn: reused, nothing was built" in second
    assert second.count("nothing had to be sent") == 2, "neither the code nor the data"


@pytest.mark.needs("sshd")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_no_server_and_no_keys(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "scripts.demo_ssh", "--home", str(tmp_path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "A private sshd listens" in process.stdout.readline()
        assert list(tmp_path.glob("sshd-*/client_key"))
        assert "Starting Airflow" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait() == 128 + number
    assert not list(tmp_path.glob("sshd-*"))
    servers = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # a process that has ended meanwhile
            servers.append(path.read_bytes())
    assert not [command for command in servers if f"{tmp_path}/sshd-".encode() in command]
