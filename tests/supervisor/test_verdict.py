"""How an end is told: verdicts, out of memory, last lines. Pure parts."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.supervisor import memory, tail
from airflow_provider.scriptrun.supervisor.layout import RunLayout
from airflow_provider.scriptrun.supervisor.protocol.status import Reason, Status
from airflow_provider.scriptrun.supervisor.verdict import Ending, of_script, signal_name

KILLED, FAILED, FINE = 9, 3 << 8, 0
CGROUPS = ["12:memory:/system.slice/ssh.service", "1:name=systemd:/x", "0::/user.slice/session-1.scope"]
V2 = "30 23 0:26 / {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "36 32 0:32 {root} {mount} rw,nosuid shared:15 - cgroup cgroup rw,memory"


@pytest.mark.parametrize(
    ("wait_status", "ending", "sentence", "status", "reason"),
    [
        (FINE, None, None, Status.COMPLETED, None),
        (FINE, None, "memory ran out", Status.COMPLETED, None),
        (FAILED, None, None, Status.FAILED, "script"),
        (FAILED, None, "memory ran out", Status.FAILED, "out_of_memory"),
        (KILLED, None, None, Status.FAILED, "signal"),
        (KILLED, None, "memory ran out", Status.FAILED, "out_of_memory"),
        (KILLED, Reason.CANCELED, "memory ran out", Status.CANCELED, "canceled"),
        (FINE, Reason.SUPERSEDED, None, Status.CANCELED, "superseded"),
        (KILLED, Reason.TIMEOUT, None, Status.FAILED, "timeout"),
        (KILLED, Reason.ORPHANED, None, Status.FAILED, "orphaned"),
        (KILLED, Reason.TARGET, None, Status.FAILED, "target"),
    ],
)
def test_a_verdict_follows_from_how_the_script_ended_and_why(wait_status, ending, sentence, status, reason):
    fields = of_script(wait_status, Ending(ending, "because") if ending else None, sentence)

    assert (fields["status"], fields["reason"]) == (status, reason)
    assert fields["exit_code"] == {FINE: 0, FAILED: 3, KILLED: None}[wait_status]
    assert fields["signal"] == (9 if wait_status == KILLED else None)


def test_a_signal_without_a_name_is_told_by_its_number():
    assert signal_name(9) == "9 (SIGKILL)"
    assert signal_name(40) == "40"


def write_counter(path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"low 0\noom 5\noom_kill {count}\n")


def test_a_cgroup_counter_that_rose_is_certain_and_the_hosts_only_probable(tmp_path, monkeypatch):
    group, vmstat = tmp_path / "memory.events", tmp_path / "vmstat"
    write_counter(group, 1)
    write_counter(vmstat, 7)
    monkeypatch.setattr(memory, "_HOST_COUNTER", str(vmstat))
    before = {"path": str(group), "cgroup": 1, "host": 7}

    assert memory.explain(before, killed=True) is None
    write_counter(vmstat, 8)
    assert "probably" in memory.explain(before, killed=True)
    assert memory.explain(before, killed=False) is None
    write_counter(group, 2)
    assert "probably" not in memory.explain(before, killed=False)
    assert memory.explain(None, killed=True) is None


def test_the_counter_of_a_v2_group_is_found(tmp_path):
    write_counter(tmp_path / "user.slice/session-1.scope/memory.events", 0)

    found = memory._find([line.split(":", 2) for line in CGROUPS], [V2.format(mount=tmp_path).split()])

    assert found == f"{tmp_path}/user.slice/session-1.scope/memory.events"


def test_the_counter_of_a_v1_group_is_found_also_where_a_container_hides_the_way_to_it(tmp_path):
    write_counter(tmp_path / "memory.oom_control", 0)
    groups = [line.split(":", 2) for line in CGROUPS]

    found = memory._find(groups, [V1.format(root="/system.slice/ssh.service", mount=tmp_path).split()])

    assert found == f"{tmp_path}/memory.oom_control"


def test_where_no_counter_can_be_read_there_is_none(tmp_path):
    assert memory._find([line.split(":", 2) for line in CGROUPS], [V2.format(mount=tmp_path).split()]) is None
    assert set(memory.counters()) == {"path", "cgroup", "host"}


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", None),
        (b"one", "one"),
        (b"".join(b"%d\n" % n for n in range(100)), "".join(f"{n}\n" for n in range(80, 100))),
        (b"x" * 20_000, "x" * 8192),
        (b"ok\n\xff\xfe\n", "ok\n\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\n"),
    ],
)
def test_the_last_lines_are_few_and_short_and_text(tmp_path, data, lines):
    path = tmp_path / "log"
    path.write_bytes(data)

    assert tail.read(str(path)) == lines


def test_bytes_that_are_no_text_do_not_make_the_last_lines_longer(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"\xff" * 9000 + b"\nend\n")

    found = tail.read(str(path))

    assert len(found.encode()) <= 8192
    assert found.endswith("\nend\n")


def test_the_build_speaks_while_the_script_has_said_nothing(tmp_path):
    run = RunLayout(str(tmp_path), "run")
    assert tail.last_lines(run) is None
    (tmp_path / "build.log").write_text("building\n")
    (tmp_path / "run.log").write_text("")
    assert tail.last_lines(run) == "building\n"
    (tmp_path / "run.log").write_text("running\n")
    assert tail.last_lines(run) == "running\n"
