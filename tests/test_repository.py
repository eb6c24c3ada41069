"""What the checkout promises to those who install it and read it."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import settings_table

CHECKOUT = Path(__file__).resolve().parent.parent


def test_the_page_of_settings_is_the_table_that_the_code_has() -> None:
    assert settings_table.PAGE.read_text() == settings_table.page(), "run: python scripts/settings_table.py"


def test_no_password_or_key_of_the_deployment_has_a_default() -> None:
    text = (CHECKOUT / "docker-compose.yml").read_text()
    named = re.findall(r"\$\{(\w*(?:PASSWORD|KEY|SECRET)\w*)([^}]*)\}", text)
    assert len(named) > 5
    assert {rest.partition("make")[0] for _, rest in named} <= {"", ":?"}
    assert {name for name, _ in named} == {name for name, rest in named if rest}, "each must be set by somebody"


def test_pinned_requirements_name_no_index() -> None:
    text = (CHECKOUT / "requirements" / "development.txt").read_text()
    assert text
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)


@pytest.mark.slow
def test_the_readmes_first_dag_is_short_and_airflow_can_parse_it(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    dag = next(block for block in blocks if "ScriptRunOperator(" in block)
    assert len(dag.splitlines()) < 20
    check = f"{dag}\nassert train.dag.dag_id == 'churn' and train.config['script'] == 'train.py'\n"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=CHECKOUT, capture_output=True, text=True, env={"AIRFLOW_HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["leaderboard", "scheduled_training", "train_in_docker", "train_local", "train_on_vm", "training_matrix"],
)
def test_an_example_contacts_and_loads_nothing_of_a_target_when_it_is_parsed(name: str, tmp_path: Path) -> None:
    check = (
        f"import sys, socket\nsocket.socket.connect = None\nimport {name}\n"
        "late = {'docker', 'paramiko'}\n"
        "late |= {'airflow.providers.ssh.hooks.ssh', 'airflow_provider.scriptrun.targets', 'sklearn'}\n"
        "assert not late & set(sys.modules), late & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=CHECKOUT / "dags", capture_output=True, text=True,
        env={"AIRFLOW_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_holds_all_that_a_run_needs_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=CHECKOUT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
        entry_points = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        assert "apache_airflow_provider" in archive.read(entry_points).decode()
    package = CHECKOUT / "airflow_provider"
    here = {
        str(path.relative_to(CHECKOUT))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == here
    assert "airflow_provider/scriptrun/py.typed" in packed
    assert "airflow_provider/__init__.py" not in packed, "the folder is a namespace"
