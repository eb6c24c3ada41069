from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.runs.record import MAX_RECORD_BYTES, make_record, size_of

FIELDS = [
    "version", "run_id", "experiment", "status", "reason", "message", "target", "snapshot", "inputs", "environment",
    "git",
    "airflow", "command", "started_at", "ended_at", "phases", "exit_code", "signal", "metrics", "outputs", "log",
    "left_out",
]  # fmt: skip

long_text = st.text(max_size=40).flatmap(lambda t: st.sampled_from([1, 50, 2000]).map(lambda n: t * n))
number = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
file = st.fixed_dictionaries({"path": long_text, "size": st.integers(0), "sha256": st.just("a" * 64)})
parts = st.fixed_dictionaries(
    {
        "run_id": st.text(max_size=128),
        "experiment": st.text(max_size=255),
        "status": st.just("Failed"),
        "message": st.none() | long_text,
        "target": st.dictionaries(st.sampled_from(["name", "type", "host"]), long_text),
        "git": st.dictionaries(st.sampled_from(["commit", "branch", "repository"]), long_text),
        "inputs": st.dictionaries(
            st.text(max_size=255), st.fixed_dictionaries({"uri": long_text, "id": st.just("a" * 64)})
        ).flatmap(
            lambda inputs: st.sampled_from([1, 40]).map(
                lambda n: {f"{name}{i}": facts for name, facts in inputs.items() for i in range(n)}
            )
        ),
        "airflow": st.dictionaries(st.sampled_from(["dag_id", "run_id", "task_id"]), long_text),
        "command": st.lists(long_text, max_size=30).flatmap(lambda c: st.sampled_from([1, 30]).map(lambda n: c * n)),
        "phases": st.dictionaries(st.sampled_from(["run", "send"]), st.floats(0, 1e9)),
        "metrics": st.dictionaries(long_text, number | long_text | st.lists(number), max_size=20),
        "outputs": st.lists(file, max_size=20)
        .flatmap(lambda f: st.sampled_from([1, 100]).map(lambda n: f * n))
        .map(lambda f: {"uri": "/w", "count": len(f), "bytes": 1, "files": f}),
    }
)


@settings(max_examples=60)
@given(parts)
def test_a_record_is_small_plain_json_whatever_the_run_was(parts):
    record = make_record(parts)
    assert size_of(record) <= MAX_RECORD_BYTES
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert list(record) == FIELDS
    assert len(record["metrics"]) + record["left_out"].get("metrics", 0) >= len(parts["metrics"])
    assert len(record["outputs"]["files"]) + record["left_out"].get("outputs", 0) == record["outputs"]["count"]
    assert len(record["inputs"]) + record["left_out"].get("inputs", 0) >= len(parts["inputs"])
    assert len(record["command"]) + record["left_out"].get("command", 0) == len(parts["command"])


def test_an_ordinary_record_is_left_as_it_is():
    files = [{"path": f"model-{n}.pkl", "size": 10, "sha256": "0" * 64} for n in range(10)]
    record = make_record(
        {
            "run_id": "churn_1_2",
            "status": "Completed",
            "command": ["python", "train.py", "--text", "é" * 40],
            "metrics": {"rmse": 1.5, "rows": [1, 2]},
            "outputs": {"uri": "/w/outputs", "count": 10, "bytes": 100, "files": files},
        }
    )
    assert record["command"][3] == "é" * 40
    assert record["metrics"] == {"rmse": 1.5, "rows": [1, 2]}
    assert record["outputs"]["files"] == files
    assert record["left_out"] == {}
    assert record["version"] == 1
    assert record["git"] == {"commit": None, "branch": None, "repository": None, "dirty": None, "patch_uri": None}


def test_an_unknown_part_is_refused():
    with pytest.raises(KeyError, match="colour"):
        make_record({"colour": "red"})


def test_many_outputs_are_named_up_to_the_limit_and_counted():
    files = [{"path": f"{n}", "size": 1, "sha256": "0" * 64} for n in range(10_000)]
    record = make_record({"outputs": {"uri": "u", "count": 10_000, "bytes": 10_000, "files": files}}, output_files=50)
    assert len(record["outputs"]["files"]) == 50
    assert record["left_out"]["outputs"] == 9950


def test_a_record_can_be_stored_in_any_database():
    record = make_record({"message": "a\0b", "metrics": {"x": "\ud800"}, "command": ["\udcff"]})
    assert "\0" not in record["message"]
    assert record["metrics"] == {"x": "\\ud800"}
    json.dumps(record, ensure_ascii=False).encode("utf-8")
