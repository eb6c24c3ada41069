"""Options of ``docker run`` become what a container is made with."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.errors import NotSupportedError
from airflow_provider.scriptrun.targets.docker import options


def test_shared_memory_is_that_of_azure_ml_where_nothing_is_said():
    assert options.read({}).host_config == {"shm_size": "2g"}
    assert options.read({"shm_size": 8}).host_config == {"shm_size": 8}
    assert "shm_size" not in options.read({"ipc": "host"}).host_config


def test_limits_are_those_of_the_engine():
    asked = options.read(
        {"cpus": 1.5, "memory": 4096, "memory_swap": -1, "pids_limit": 7, "ulimits": {"nofile": [1, 2]}}
    )
    assert asked.host_config == {
        "shm_size": "2g",
        "nano_cpus": 1_500_000_000,
        "mem_limit": 4096,
        "memswap_limit": -1,
        "pids_limit": 7,
        "ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
    }


@pytest.mark.parametrize(
    ("asked", "count", "identifiers"), [("all", -1, []), (2, 2, []), (["0", "GPU-3a23c669"], 0, ["0", "GPU-3a23c669"])]
)
def test_gpus_are_asked_for_as_docker_run_does(asked, count, identifiers):
    (request,) = options.read({"gpus": asked}).host_config["device_requests"]
    assert (request["Count"], request["DeviceIDs"], request["Capabilities"]) == (count, identifiers, [["gpu"]])


def test_volumes_are_read_only_where_it_is_said():
    asked = options.read(
        {"volumes": [{"source": "m", "target": "/m", "read_only": True}, {"source": "/d", "target": "/e"}]}
    )
    assert asked.host_config["binds"] == ["m:/m:ro", "/d:/e:rw"]


def test_the_user_is_the_script_s_and_not_the_supervisor_s():
    asked = options.read({"user": "1000:1000", "group_add": ["video"], "env": {"A": "b"}, "hostname": "trainer"})
    assert (asked.user, asked.groups) == ("1000:1000", ("video",))
    assert asked.config == {"environment": {"A": "b"}, "hostname": "trainer"}


def test_a_working_directory_is_refused():
    with pytest.raises(NotSupportedError, match="own copy"):
        options.read({"workdir": "/app"})
