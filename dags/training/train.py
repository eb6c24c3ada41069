"""Fit a ridge regression on a CSV file. An ordinary script: nothing in it knows where it runs."""

import argparse
import json
import os
import pathlib
import time

import numpy
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()

    table = numpy.loadtxt(arguments.data, delimiter=",", skiprows=1)
    features, target = table[:, :-1], table[:, -1]
    train_x, test_x, train_y, test_y = train_test_split(features, target, test_size=0.2, random_state=arguments.seed)
    print(f"{len(train_x)} rows to learn from, {len(test_x)} to test on; alpha = {arguments.alpha}")

    model = Ridge(alpha=arguments.alpha).fit(train_x, train_y)
    predicted = model.predict(test_x)
    metrics = {
        "rmse": float(mean_squared_error(test_y, predicted) ** 0.5),
        "r2": float(r2_score(test_y, predicted)),
    }
    for name, value in metrics.items():
        print(f"{name} = {value:.4f}")

    # metrics are JSON lines appended to a file: any language can write them, and no import is needed
    messages = os.environ.get("SCRIPTRUN_MESSAGES")
    if messages:
        with open(messages, "a", encoding="utf-8") as lines:
            for name, value in metrics.items():
                lines.write(json.dumps({"metric": name, "value": value, "time": time.time()}) + "\n")

    outputs = pathlib.Path("outputs")
    outputs.mkdir(exist_ok=True)
    coefficients = {
        "alpha": arguments.alpha,
        "intercept": float(model.intercept_),
        "coefficients": model.coef_.tolist(),
    }
    (outputs / "model.json").write_text(json.dumps(coefficients, indent=2))
    (outputs / "metrics.json").write_text(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
