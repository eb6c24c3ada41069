"""What SSH sends as one text arrives as the same arguments, whatever shell the user has there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.targets.transports.ssh import command_line

SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh")
PRINT = "import json, os, sys; print(json.dumps([os.fsencode(a).hex() for a in sys.argv[1:]]))"
ITEMS = st.lists(
    st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=12).map(lambda t: "x" + t)
    | st.text("'\\!\"$`~*?[]{}()<>|&;# \t^%@=:,./-", max_size=8).filter(lambda t: not t.startswith("~/")),
    max_size=5,
)


def arrived(shell: str, argv: list[str], home: str = "/") -> list[str]:
    line = command_line([sys.executable, "-I", "-S", "-c", PRINT, *argv])
    environment = {"HOME": home, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run([shell, "-c", line], capture_output=True, check=True, env=environment, cwd="/")
    return [bytes.fromhex(item).decode() for item in json.loads(done.stdout)]


@pytest.mark.slow
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=ITEMS)
def test_arguments_arrive_as_they_are(shell: str, items: list[str]) -> None:
    assert arrived(shell, items) == items


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
def test_the_home_folder_is_the_shells_to_find(shell: str, tmp_path) -> None:
    home = str(tmp_path)
    found = arrived(shell, ["~/.scriptrun", "~/a b/it's", "not/~/this", "~other"], home)
    assert found == [f"{home}/.scriptrun", f"{home}/a b/it's", "not/~/this", "~other"]


@pytest.mark.parametrize("item", ["a\nb", "a\0b"])
def test_what_no_shell_takes_is_refused(item: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        command_line(["echo", item])
