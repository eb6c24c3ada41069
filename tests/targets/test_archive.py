from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from airflow_provider.scriptrun import supervisor
from airflow_provider.scriptrun.targets.archive import archive, supervisor_archive

SOURCES = Path(supervisor.__file__).parent


def test_the_same_sources_give_the_same_bytes_wherever_and_whenever_they_lie(tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for number, path in enumerate(sorted(copy.rglob("*.py"), reverse=True)):
        os.utime(path, (number, number))
        path.chmod(0o400 if number % 2 else 0o755)
    (copy / "notes.txt").write_text("not a source")
    assert archive(str(copy), "1.2.3").data == archive(str(SOURCES), "1.2.3").data
    assert archive(str(copy), "1.2.3").version == archive(str(SOURCES), "1.2.3").version


def test_another_byte_is_another_version(tmp_path):
    copy = tmp_path / "changed"
    shutil.copytree(SOURCES, copy)
    with open(copy / "serve.py", "a") as file:
        file.write("#")
    assert archive(str(copy), "1.2.3").version != archive(str(SOURCES), "1.2.3").version
    assert re.fullmatch(r"1\.2\.3-[0-9a-f]{12}", archive(str(copy), "1.2.3").version)


def test_it_holds_the_package_and_what_starts_it():
    names = zipfile.ZipFile(io.BytesIO(supervisor_archive().data)).namelist()
    assert names == sorted(names)
    assert {"__main__.py", "scriptrun_supervisor/serve.py", "scriptrun_supervisor/protocol/frames.py"} <= set(names)


def test_it_starts_from_the_archive_itself(tmp_path):
    path = tmp_path / "supervisor.zip"
    path.write_bytes(supervisor_archive().data)
    command = [sys.executable, "-I", "-S", "-E", str(path), "serve", "--root", str(tmp_path / "root")]
    answer = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=True)
    assert answer.stdout.startswith(b"\n\x00scriptrun-frames-1\x00\n")
