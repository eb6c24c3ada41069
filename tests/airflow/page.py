"""The Python that stands in docs/airflow.md, block by block, as a person would copy it into a DAG file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, AssetAlias, Param, task

from airflow_provider.scriptrun import ScriptRunConfig, ScriptRunOperator, script_run_params

PAGE = Path(__file__).resolve().parents[2] / "docs" / "airflow.md"
#: What the page takes for granted.
KNOWN = {
    "AssetAlias": AssetAlias,
    "DAG": DAG,
    "Param": Param,
    "ScriptRunConfig": ScriptRunConfig,
    "ScriptRunOperator": ScriptRunOperator,
    "script_run_params": script_run_params,
    "task": task,
}


def blocks() -> dict[str, str]:
    """Return the blocks: the heading that each stands under, numbered where it has several -> its text."""
    found: dict[str, str] = {}
    for section in re.split(r"^#+ ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        heading = section.splitlines()[0]
        for text in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL):
            number = sum(name.startswith(heading) for name in found) + 1
            found[heading if number == 1 else f"{heading} ({number})"] = text
    return found


def run(text: str) -> dict[str, Any]:
    """Run a block within a DAG of its own, and return its names; the DAG is ``dag``."""
    configs = {name: ScriptRunConfig("code", "train.py", [name]) for name in ("config", "config_a", "config_b")}
    names: dict[str, Any] = {**KNOWN, **configs}
    with DAG("page", schedule=None) as dag:
        exec(compile(text, str(PAGE), "exec"), names)
    return {**names, "dag": dag}
