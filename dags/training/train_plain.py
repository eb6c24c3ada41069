"""Fit a ridge regression by gradient descent, with nothing but Python: no package has to be installed."""

import argparse
import csv
import json
import os
import pathlib
import time

STEPS = 300
RATE = 0.1


def predict(weights: list, rows: list) -> list:
    return [sum(w * value for w, value in zip(weights, [1.0, *row])) for row in rows]


def fit(rows: list, target: list, alpha: float) -> list:
    """Return the intercept and a weight for each column."""
    weights = [0.0] * (len(rows[0]) + 1)
    for _ in range(STEPS):
        errors = [found - wanted for found, wanted in zip(predict(weights, rows), target)]
        slopes = [sum(e * value for e, value in zip(errors, column)) for column in zip(*rows)]
        weights = [
            weights[0] - RATE * sum(errors) / len(rows),
            *(w - RATE * (slope + alpha * w) / len(rows) for w, slope in zip(weights[1:], slopes)),
        ]
    return weights


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--alpha", type=float, default=0.1)
    arguments = parser.parse_args()

    with open(arguments.data, newline="") as file:
        table = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    split = len(table) * 4 // 5
    rows, target = [row[:-1] for row in table], [row[-1] for row in table]
    print(f"{split} rows to learn from, {len(table) - split} to test on; alpha = {arguments.alpha}", flush=True)

    weights = fit(rows[:split], target[:split], arguments.alpha)
    errors = [found - wanted for found, wanted in zip(predict(weights, rows[split:]), target[split:])]
    rmse = (sum(error * error for error in errors) / len(errors)) ** 0.5
    print(f"rmse = {rmse:.4f}")

    # metrics are JSON lines appended to a file: any language can write them, and no import is needed
    messages = os.environ.get("SCRIPTRUN_MESSAGES")
    if messages:
        with open(messages, "a", encoding="utf-8") as lines:
            lines.write(json.dumps({"metric": "rmse", "value": rmse, "time": time.time()}) + "\n")

    outputs = pathlib.Path("outputs")
    outputs.mkdir(exist_ok=True)
    (outputs / "model.json").write_text(json.dumps({"intercept": weights[0], "coefficients": weights[1:]}, indent=2))


if __name__ == "__main__":
    main()
