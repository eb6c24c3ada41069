"""``check`` takes the same way as a run, and says in words what is there."""

from __future__ import annotations

import time

import pytest

from airflow_provider.scriptrun.errors import TargetUnreachableError
from airflow_provider.scriptrun.supervisor.protocol import PROTOCOL_VERSION
from airflow_provider.scriptrun.targets.contract import Cursor


def test_a_target_that_was_never_used_says_what_it_is(fresh_client, fresh_place):
    facts = fresh_client.target.check()
    assert facts.host.id
    assert facts.root == fresh_place.root
    assert (facts.system, facts.protocol) == ("Linux", PROTOCOL_VERSION)
    assert facts.free_bytes > 0
    for part in (facts.python, facts.interpreter, facts.machine, facts.user, facts.root):
        assert part
        assert part in str(facts)


def test_a_check_finds_more_than_a_greeting_and_the_clock_that_a_script_has(client, place):
    facts = client.target.check()
    assert facts.details is not None
    assert facts.details.disk.free_bytes <= facts.details.disk.bytes
    assert facts.details.kernel == place.run("uname", "-r").decode().strip()
    assert facts.details.mounts["root"].folder == facts.root
    difference = float(place.run("date", "+%s.%N")) - time.time()
    assert abs(facts.details.clock_ahead_s - difference) < 5
    assert all(str(warning) in str(facts) for warning in facts.warnings)


def test_what_check_saw_is_what_a_run_finds(client):
    facts = client.target.check()
    followed = client.finish("import os, sys; print(sys.version.split()[0], os.uname().machine)")
    assert followed.log.decode().split() == [facts.python, facts.machine]
    assert followed.end.host.id == facts.host.id
    assert followed.end.supervisor == facts.supervisor


def test_a_closed_target_says_so(place):
    target = place.open()
    target.close()
    target.close()
    with pytest.raises(TargetUnreachableError, match="closed"):
        target.poll([Cursor("any")])


def test_a_poll_of_nothing_returns_at_once(target):
    assert target.poll([], wait_s=600) == []
    assert target.status([]) == {}
