"""One of many: notes its start, logs numbered lines and a metric until ``go`` is there, and leaves their number."""

import argparse
import json
import os
import pathlib
import time

#: A script that its test forgot ends by itself.
PATIENCE_SECONDS = 1800
PAUSE_SECONDS = 0.25


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--number", type=int, required=True)
    arguments = parser.parse_args()
    with (arguments.folder / f"starts-{arguments.number}").open("a") as starts:
        starts.write(f"{os.environ['SCRIPTRUN_RUN_ID']}\n")
    deadline = time.monotonic() + PATIENCE_SECONDS
    lines = 0
    while not (arguments.folder / "go").exists():
        print(f"{arguments.number}: line {lines}")
        lines += 1
        if not arguments.folder.is_dir() or time.monotonic() > deadline:
            raise SystemExit("nobody let the script end")
        time.sleep(PAUSE_SECONDS)
    with open(os.environ["SCRIPTRUN_MESSAGES"], "a") as messages:
        messages.write(json.dumps({"metric": "lines", "value": lines}) + "\n")
    pathlib.Path("outputs/lines").write_text(str(lines))


main()
