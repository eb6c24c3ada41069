"""Fit a line, row by row: an ordinary script, which knows nothing of where it runs."""

import argparse
import json
import os
import pathlib
import random
import time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--loss", choices=("squared", "absolute"), required=True)
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()

    chance = random.Random(7)
    rows = [(x, 3 * x + 1 + chance.gauss(0, 0.1)) for x in (chance.uniform(-1, 1) for _ in range(200))]
    slope, offset, error = 0.0, 0.0, 0.0
    print(f"{len(rows)} rows, {arguments.loss} loss, learning rate {arguments.learning_rate}")
    for epoch in range(1, arguments.epochs + 1):
        if arguments.shuffle:
            chance.shuffle(rows)
        for x, y in rows:
            miss = slope * x + offset - y
            step = miss if arguments.loss == "squared" else (miss > 0) - (miss < 0)
            slope -= arguments.learning_rate * step * x
            offset -= arguments.learning_rate * step
        error = (sum((slope * x + offset - y) ** 2 for x, y in rows) / len(rows)) ** 0.5
        print(f"epoch {epoch}: rmse {error:.4f}")

    metrics = {"rmse": error, "epochs": arguments.epochs}
    with open(os.environ["SCRIPTRUN_MESSAGES"], "a", encoding="utf-8") as lines:
        for name, value in metrics.items():
            lines.write(json.dumps({"metric": name, "value": value, "time": time.time()}) + "\n")
    pathlib.Path("outputs/model.json").write_text(json.dumps({"slope": slope, "offset": offset}))
    print(f"outputs/model.json: y = {slope:.2f} x + {offset:.2f}")


if __name__ == "__main__":
    main()
