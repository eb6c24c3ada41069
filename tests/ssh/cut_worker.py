"""A worker in a process of its own, to be killed at any moment: submits a run under its id, watches and collects it."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from airflow_provider.scriptrun import Experiment, ScriptRunConfig, Workspace
from airflow_provider.scriptrun.hooks import ssh  # noqa: F401  (takes long, and every worker needs it)
from tests.runs.fakes import Ears

EXPERIMENT = "cuts"


def work(
    source: str, workspace: str, run_id: str, arguments: list[str], result: str, variables: dict[str, str]
) -> None:
    """Do what a task's process does; write the record, or what went wrong, to the file ``result``."""
    os.environ.update(variables)
    logging.disable(logging.CRITICAL)
    config = ScriptRunConfig(source, "main.py", arguments, compute_target="vm")
    ears = Ears()
    try:
        run = Experiment(Workspace(workspace), EXPERIMENT).submit(config, run_id=run_id)
        if run.record is None:
            run.watch(ears)
            run.collect(reporter=ears)
        run.close()
        outcome = {"record": run.record}
    except Exception as error:  # whatever it is, the test shows it
        outcome = {"error": f"{type(error).__name__}: {error}"}
    beside = Path(f"{result}.new")
    beside.write_text(json.dumps(outcome))
    beside.replace(result)
