"""A registry that cannot share images keeps nothing from running. One that can: tests/e2e/test_image_registry.py."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from airflow_provider.scriptrun import Environment, Experiment, ScriptRunConfig, Workspace
from tests.docker.registry import USER, ImageRegistry, Lines, answering

pytestmark = [pytest.mark.needs("docker", "image registry"), pytest.mark.slow]

WRONG = "wrong-pw-1234"


def run(tmp_path: Path, environment: Environment) -> dict[str, Any]:
    source = tmp_path / "code"
    source.mkdir()
    (source / "main.py").write_text("import os; print(os.environ['SALT'])")
    config = ScriptRunConfig(source, script="main.py", environment=environment, compute_target="engine")
    run = Experiment(Workspace(str(tmp_path / "workspace")), "sharing").submit(config)
    run.wait_for_completion()
    return dict(run.record)


@pytest.mark.parametrize("kind", ["refuses", "makes no sense"])
def test_a_run_whose_image_cannot_be_shared_is_built_and_warned_of(
    kind: str, engine: str, store: str, base_image_name: str, image_registry: ImageRegistry, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    salt = secrets.token_hex(8)
    environment = Environment.from_dockerfile("built", f"FROM {base_image_name}\nENV SALT={salt}\n")
    with answering(500, b"broken") as broken, Lines() as lines:
        address = image_registry.address if kind == "refuses" else broken
        extra = {"volume": store, "base_image": base_image_name, "network": "none", "registry": address}
        connection = {"conn_type": "scriptrun_docker", "host": engine, "login": USER, "password": WRONG}
        monkeypatch.setenv("AIRFLOW_CONN_ENGINE", json.dumps({**connection, "extra": extra}))
        record = run(tmp_path, environment)
    assert salt in Path(record["log"]["uri"]).read_text()
    told, published = lines.warnings
    assert "cannot be told" in told
    assert "is not shared" in published
    assert WRONG not in lines.text + json.dumps(record, default=str)
