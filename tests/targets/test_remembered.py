"""What is remembered of a host saves a question, and never decides anything by itself."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from airflow_provider.scriptrun.targets import remembered
from airflow_provider.scriptrun.targets.remembered import RememberedHosts
from airflow_provider.scriptrun.targets.status import HostFacts

HOST = HostFacts("machine-1", "boot-1", "gpu1")


@pytest.fixture
def hosts(tmp_path: Path) -> RememberedHosts:
    return RememberedHosts(str(tmp_path / "cache"))


def only_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "cache" / remembered.FOLDER).iterdir()
    return file


def test_a_new_process_knows_the_host_and_its_python(hosts: RememberedHosts, tmp_path: Path) -> None:
    one = hosts.of("me@gpu1:22", "~/.scriptrun", "python3")
    assert one.load() is None
    one.save(HOST, "/usr/bin/python3.11")
    known = RememberedHosts(str(tmp_path / "cache")).of("me@gpu1:22", "~/.scriptrun", "python3").load()
    assert known is not None
    assert (known.host.id, known.host.name, known.interpreter) == ("machine-1", "gpu1", "/usr/bin/python3.11")
    assert known.host.boot_id == "", "it may have rebooted since"


def test_another_address_root_or_interpreter_is_another_host(hosts: RememberedHosts) -> None:
    hosts.of("me@gpu1:22", "~/.scriptrun", "python3").save(HOST, "/usr/bin/python3")
    for other in (
        ("you@gpu1:22", "~/.scriptrun", "python3"),
        ("me@gpu1:22", "/data", "python3"),
        ("me@gpu1:22", "~/.scriptrun", "python3.12"),
    ):
        assert hosts.of(*other).load() is None


def test_what_is_old_is_asked_again(hosts: RememberedHosts, tmp_path: Path) -> None:
    one = hosts.of("a", "b", "c")
    one.save(HOST, "/usr/bin/python3")
    file = only_file(tmp_path)
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "at": time.time() - remembered.MAX_AGE_S - 1}))
    assert one.load() is None


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", '{"id": 5}', '{"id": "", "name": "n", "interpreter": "p", "at": 0}', "\0\xff"]
)
def test_what_is_damaged_is_asked_again(hosts: RememberedHosts, tmp_path: Path, text: str) -> None:
    one = hosts.of("a", "b", "c")
    one.save(HOST, "/usr/bin/python3")
    only_file(tmp_path).write_text(text)
    assert one.load() is None
    one.save(HOST, "/usr/bin/python3")
    assert one.load() is not None


def test_a_worker_that_cannot_write_asks_each_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    one = RememberedHosts(str(tmp_path / "cache")).of("a", "b", "c")
    one.save(HOST, "/usr/bin/python3")
    assert one.load() is None


def test_nobody_else_can_read_it(hosts: RememberedHosts, tmp_path: Path) -> None:
    hosts.of("a", "b", "c").save(HOST, "/usr/bin/python3")
    assert os.stat(only_file(tmp_path).parent).st_mode & 0o077 == 0
