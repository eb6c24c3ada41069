"""Print what a pyproject.toml depends on, one requirement a line: requirements.py FILE."""

import pathlib
import sys

import tomllib

print(*tomllib.loads(pathlib.Path(sys.argv[1]).read_text())["project"]["dependencies"], sep="\n")
