"""Notes each start, prints what is appended to a file, then waits for its end to be allowed.

What it does is told by files in its folder: ``say`` (each line is printed), ``go`` (it ends well), ``fail`` (it takes
that file away and ends with exit code 3).

What it leaves there: ``starts``, with the run's id for each start, and ``<run id>.alive``, on which it holds a lock for
as long as it lives.
"""

import argparse
import fcntl
import os
import pathlib
import time

#: A script that its test forgot ends by itself.
PATIENCE_SECONDS = 1800


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    folder = parser.parse_args().folder

    run_id = os.environ["SCRIPTRUN_RUN_ID"]
    alive = (folder / f"{run_id}.alive").open("a")
    fcntl.flock(alive, fcntl.LOCK_SH)
    with (folder / "starts").open("a") as starts:
        starts.write(f"{run_id}\n")
    pathlib.Path("outputs/begun.txt").write_text("begun")
    print("the script has started")
    (folder / "say").touch()
    deadline = time.monotonic() + PATIENCE_SECONDS
    with (folder / "say").open() as say:
        while folder.is_dir() and time.monotonic() < deadline:
            may_go, must_fail = (folder / "go").exists(), (folder / "fail").exists()
            for line in say:
                print(line, end="")
            if must_fail:
                (folder / "fail").unlink()
                raise SystemExit(3)
            if may_go:
                pathlib.Path("outputs/done.txt").write_text("done")
                print("the script is done")
                return
            time.sleep(0.05)
    raise SystemExit("nobody let the script end")


main()
