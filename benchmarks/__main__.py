"""``python -m benchmarks [name ...] [--write]``: us and the peer in one run, as ratios.

Names: snapshot, checkout, environments, runs, operator, log, imports, ssh_submission, ssh_transfer, ssh_log,
ssh_watching, watching, triggers, docker_runs, docker_environments; ``ssh`` and ``docker`` stand for all that begin so.
``--write`` puts the tables of the named ones into ``docs/performance.md``, between the two marks of each.
"""

from __future__ import annotations

import argparse
import compileall
import importlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.report import Row, markdown, text

NAMES = (
    "snapshot",
    "checkout",
    "environments",
    "runs",
    "operator",
    "log",
    "imports",
    "ssh_submission",
    "ssh_transfer",
    "ssh_log",
    "ssh_watching",
    "watching",
    "triggers",
    "docker_runs",
    "docker_environments",
)
#: One word for several.
GROUPS = {group: tuple(name for name in NAMES if name.startswith(f"{group}_")) for group in ("ssh", "docker")}
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def main() -> int:
    """Measure, print, and write where asked. The exit code says whether every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join((*NAMES, *GROUPS)))
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    arguments = parser.parse_args()
    names = [name for given in arguments.names for name in GROUPS.get(given, (given,))]
    unknown = set(names) - set(NAMES)
    if unknown:
        parser.error(f"there is no {min(unknown)}; choose from {', '.join(NAMES)}")

    if len(names or NAMES) > 1:
        return _each(names or list(NAMES), write=arguments.write)
    _keep_bytecode()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    )
    (name,) = names
    load = os.getloadavg()[0]
    rows: list[Row] = importlib.import_module(f"benchmarks.{name}").rows()
    print(f"\n{name} (load before: {load:.2f})\n{text(rows)}", flush=True)
    if arguments.write:
        _write(name, rows)
    return 1 if any(row.reached is False for row in rows) else 0


def _each(names: list[str], *, write: bool) -> int:
    """Measure each in a process of its own: Airflow reads its settings once in one. Return the worst exit code."""
    command = [sys.executable, "-m", "benchmarks", *(("--write",) if write else ())]
    return max(subprocess.run([*command, name], check=False).returncode for name in names)


def _keep_bytecode() -> None:
    """Let every process that is measured use compiled modules, ours and the peers' alike, as an installation does."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    for package in ("airflow_provider", "benchmarks", "tests"):
        compileall.compile_dir(PAGE.parent.parent / package, quiet=1)


def _write(name: str, rows: list[Row]) -> None:
    page = PAGE.read_text()
    table = f"<!-- {name} -->\n{markdown(rows)}\n<!-- /{name} -->"
    changed, count = re.subn(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _: table, page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{PAGE} has no place for {name}")
    PAGE.write_text(changed)


if __name__ == "__main__":
    sys.exit(main())
