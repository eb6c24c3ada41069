"""The first task of some examples: data to learn from, made of nothing but Python."""

from __future__ import annotations

import os
import pathlib

from airflow.sdk import task

STATE = pathlib.Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()


@task
def prepare_data(folder: str = str(STATE / "data")) -> str:
    """Write what ten sensors and a dial showed 500 times to a CSV file, each time the same; return its path."""
    import csv
    import random

    chance = random.Random(7)
    weights = [chance.uniform(-3, 3) for _ in range(10)]
    path = pathlib.Path(folder) / "readings.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*(f"sensor_{number}" for number in range(10)), "dial"])
        for _ in range(500):
            sensors = [chance.gauss(0, 1) for _ in weights]
            dial = sum(w * value for w, value in zip(weights, sensors, strict=True)) + chance.gauss(0, 1)
            table.writerow([f"{value:.4f}" for value in (*sensors, dial)])
    return str(path)
