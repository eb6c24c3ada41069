"""Appends a line for each start, then waits for a file, then leaves an output: the tests' stand-in for a training.

Meanwhile it prints a line where a file asks for it, and takes that file away.
"""

import argparse
import os
import pathlib
import time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--fail-first", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    with (arguments.folder / "starts").open("a") as starts:
        starts.write(f"{os.environ['SCRIPTRUN_RUN_ID']} {os.getpid()}\n")
    print("the script has started")
    while not (arguments.folder / "go").exists():
        if (arguments.folder / "ask").exists():
            (arguments.folder / "ask").unlink()
            print("the script goes on")
        time.sleep(0.05)
    if arguments.fail_first and len((arguments.folder / "starts").read_text().splitlines()) == 1:
        raise SystemExit(3)
    pathlib.Path("outputs/done.txt").write_text("done")
    print("the script is done")


main()
