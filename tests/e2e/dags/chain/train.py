"""Leaves a model and a metric, once it is allowed to."""

import argparse
import json
import os
import pathlib
import time

#: A script that its test forgot ends by itself.
PATIENCE_SECONDS = 1800


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    folder = parser.parse_args().folder
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (folder / "go").exists():
        if not folder.is_dir() or time.monotonic() > deadline:
            raise SystemExit("nobody let the script end")
        time.sleep(0.05)
    with open(os.environ["SCRIPTRUN_MESSAGES"], "a") as messages:
        messages.write(json.dumps({"metric": "rmse", "value": 0.25}) + "\n")
    pathlib.Path("outputs/model.txt").write_text(f"of {os.environ['SCRIPTRUN_RUN_ID']}")


main()
