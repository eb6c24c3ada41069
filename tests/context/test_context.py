from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider.scriptrun.context import NoRun, RunContext, get_context
from airflow_provider.scriptrun.context import context as context_module
from airflow_provider.scriptrun.runs.metrics import Messages


@pytest.fixture
def run(tmp_path):
    context = tmp_path / "context.json"
    context.write_text('{"snapshot": "abc"}')
    return RunContext(
        {
            "SCRIPTRUN_RUN_ID": "churn_1_ab",
            "SCRIPTRUN_EXPERIMENT": "churn",
            "SCRIPTRUN_MESSAGES": str(tmp_path / "messages.jsonl"),
            "SCRIPTRUN_CONTEXT": str(context),
        }
    )


def messages(tmp_path) -> Messages:
    found = Messages(keep_series=True)
    found.feed((tmp_path / "messages.jsonl").read_bytes())
    return found


def test_what_a_script_logs_is_what_a_reader_finds(run, tmp_path):
    run.log("rmse", 2.0, step=1)
    run.log("rmse", 1.0, step=2)
    run.log_list("accuracies", [0.1, 0.2])
    run.log_row("best", lr=0.1, kind="a")
    run.log_table("table", {"x": [1, 2], "y": [3, 4]})
    run.tag("stage", "fit")
    found = messages(tmp_path)
    assert found.series["rmse"] == [2.0, 1.0]
    assert found.series["accuracies"] == [[0.1, 0.2]]
    assert found.series["best"] == [{"lr": 0.1, "kind": "a"}]
    assert found.series["table"] == [{"x": 1, "y": 3}, {"x": 2, "y": 4}]
    assert found.tags == {"stage": "fit"}
    assert found.bad_lines == 0


def test_a_value_of_numpy_is_logged_as_a_number(run, tmp_path):
    class Scalar:
        def item(self):
            return 1.5

    run.log("a", Scalar())
    run.log("b", math.nan)
    assert messages(tmp_path).last == {"a": 1.5, "b": "nan"}


def test_what_is_no_value_is_refused_by_name(run):
    with pytest.raises(TypeError, match="log_list"):
        run.log("a", [1, 2])
    with pytest.raises(TypeError, match="not a object"):
        run.log("a", object())
    with pytest.raises(ValueError, match="one length"):
        run.log_table("a", {"x": [1], "y": []})


def test_a_message_that_is_too_long_is_refused(run):
    with pytest.raises(ValueError, match="bytes"):
        run.log("a", "x" * context_module.MAX_MESSAGE_BYTES)


def test_details_are_what_the_run_was_submitted_with(run):
    assert run.get_details() == {"snapshot": "abc"}
    assert (run.id, run.experiment) == ("churn_1_ab", "churn")


def test_outside_a_run_it_does_nothing_but_still_notices_a_typo(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRIPTRUN_RUN_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    nothing = get_context()
    assert isinstance(nothing, NoRun)
    nothing.log("a", 1, step=3)
    nothing.log_row("a", b=1)
    nothing.tag("a", "b")
    nothing.flush()
    assert nothing.get_details() == {}
    with pytest.raises(AttributeError):
        nothing.lgo("a", 1)
    assert list(tmp_path.iterdir()) == []


def test_the_one_file_works_alone_in_any_python(tmp_path):
    copy = tmp_path / "scriptrun_context.py"
    copy.write_bytes(Path(context_module.__file__).read_bytes())
    script = "import scriptrun_context; scriptrun_context.get_context().log('a', 1)"
    environment = {
        "SCRIPTRUN_RUN_ID": "r", "SCRIPTRUN_MESSAGES": str(tmp_path / "m"), "PYTHONPATH": str(tmp_path)
    }  # fmt: skip
    subprocess.run([sys.executable, "-S", "-c", script], env=environment, check=True)
    assert json.loads((tmp_path / "m").read_text())["value"] == 1


def test_several_processes_do_not_mix_their_lines(tmp_path):
    environment = {**os.environ, "SCRIPTRUN_RUN_ID": "r", "SCRIPTRUN_MESSAGES": str(tmp_path / "messages.jsonl")}
    script = "from context import get_context\nr = get_context()\nfor n in range(200): r.log('x' * 200, n)"
    folder = str(Path(context_module.__file__).parent)
    processes = [
        subprocess.Popen([sys.executable, "-S", "-c", script], env={**environment, "PYTHONPATH": folder})
        for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    found = messages(tmp_path)
    assert found.bad_lines == 0
    assert sum(len(values) for values in found.series.values()) == 800
