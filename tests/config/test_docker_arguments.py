"""Options of `docker run` become the options of a container, or are refused where they stand."""

import json
from pathlib import Path

import pytest
from config_examples import Output, config
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.config import DockerConfiguration, ScriptRunConfig
from airflow_provider.scriptrun.config.docker_arguments import ALIASES, OPTIONS, OURS, container_options, parsed
from airflow_provider.scriptrun.config.wrong import Wrong
from airflow_provider.scriptrun.errors import ConfigurationError

MIB, GIB = 1024**2, 1024**3

#: Items of a command line -> the container's options.
TAKEN = {
    "nothing": ([], {}),
    "all GPUs": (["--gpus", "all"], {"gpus": "all"}),
    "all GPUs, in one item": (["--gpus=all"], {"gpus": "all"}),
    "two GPUs": (["--gpus", "2"], {"gpus": 2}),
    "two GPUs, in Docker's long form": (["--gpus", "count=2,capabilities=gpu"], {"gpus": 2}),
    "GPUs by number": (["--gpus", "device=0,1"], {"gpus": ["0", "1"]}),
    "GPUs by number, quoted as for a shell": (["--gpus", "'\"device=0,2\"'"], {"gpus": ["0", "2"]}),
    "a GPU by id": (["--gpus", "device=GPU-3a23c669"], {"gpus": ["GPU-3a23c669"]}),
    "CPUs": (["--cpus=1.5", "--cpuset-cpus", "0-3,8"], {"cpus": 1.5, "cpuset_cpus": "0-3,8"}),
    "memory": (["--memory=1.5g", "--memory-swap", "-1"], {"memory": 3 * GIB // 2, "memory_swap": -1}),
    "memory, in short": (["-m", "512m"], {"memory": 512 * MIB}),
    "memory, in one short item": (["-m=64MiB"], {"memory": 64 * MIB}),
    "shared memory": (["--shm-size", "8GB"], {"shm_size": 8 * GIB}),
    "networks": (["--network", "container:db"], {"network": "container:db"}),
    "the older word for a network": (["--net=host"], {"network": "host"}),
    "a volume": (["-v", "data:/data"], {"volumes": [{"source": "data", "target": "/data", "read_only": False}]}),
    "volumes": (
        ["-v", "data:/data:ro", "--volume=/srv/models:/models/:rw"],
        {
            "volumes": [
                {"source": "data", "target": "/data", "read_only": True},
                {"source": "/srv/models", "target": "/models", "read_only": False},
            ]
        },
    ),
    "mounts": (
        [
            *("--mount", "source=data,target=/data,readonly"),
            *("--mount", "type=bind,src=/srv/a,dst=/a,ro=false"),
            "--mount=type=tmpfs,destination=/scratch,tmpfs-size=1g,tmpfs-mode=1770",
        ],
        {
            "volumes": [
                {"source": "data", "target": "/data", "read_only": True},
                {"source": "/srv/a", "target": "/a", "read_only": False},
            ],
            "tmpfs": {"/scratch": "size=1g,mode=1770"},
        },
    ),
    "folders in memory": (["--tmpfs", "/run", "--tmpfs=/tmp:size=64m"], {"tmpfs": {"/run": "", "/tmp": "size=64m"}}),
    "limits": (
        ["--ulimit", "nofile=1024:4096", "--ulimit=memlock=-1", "--ulimit", "core=0"],
        {"ulimits": {"nofile": [1024, 4096], "memlock": [-1, -1], "core": [0, 0]}},
    ),
    "variables": (["-e", "A=1", "-eB=x=y", "--env=C="], {"env": {"A": "1", "B": "x=y", "C": ""}}),
    "a user": (["-u", "1000:1000"], {"user": "1000:1000"}),
    "capabilities": (["--cap-add=SYS_PTRACE", "--cap-drop", "ALL"], {"cap_add": ["SYS_PTRACE"], "cap_drop": ["ALL"]}),
    "devices": (
        ["--device", "/dev/fuse", "--device=/dev/kvm:/dev/kvm2:rw"],
        {"devices": ["/dev/fuse:/dev/fuse:rwm", "/dev/kvm:/dev/kvm2:rw"]},
    ),
    "groups": (["--group-add", "video", "--group-add=44"], {"group_add": ["video", "44"]}),
    "a host name": (["-h", "trainer"], {"hostname": "trainer"}),
    "IPC": (["--ipc=host"], {"ipc": "host"}),
    "processes": (["--pids-limit", "512"], {"pids_limit": 512}),
    "flags": (["--read-only", "--init=false", "--privileged"], {"read_only": True, "init": False, "privileged": True}),
    "hosts": (
        ["--add-host", "db:10.0.0.5", "--add-host=v6=[::1]", "--add-host", "outside:host-gateway"],
        {"add_host": {"db": "10.0.0.5", "v6": "::1", "outside": "host-gateway"}},
    ),
    "name servers": (["--dns", "10.0.0.1", "--dns=10.0.0.2"], {"dns": ["10.0.0.1", "10.0.0.2"]}),
    "labels": (["-l", "team=churn", "--label=dirty"], {"labels": {"team": "churn", "dirty": ""}}),
    "security": (["--security-opt", "no-new-privileges"], {"security_opt": ["no-new-privileges"]}),
    "a runtime": (["--runtime=nvidia"], {"runtime": "nvidia"}),
    "the same once more": (["--cpus", "2", "--cpus=2"], {"cpus": 2.0}),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_docker_run_takes_becomes_an_option_of_the_container(case):
    items, options = TAKEN[case]
    taken = config(docker_runtime_config={"arguments": items}).resolved()
    assert container_options(taken.docker_runtime_config) == options


def test_every_option_has_an_example_here():
    said = {ALIASES.get(name, name) for items, _ in TAKEN.values() for name in names(items)}
    assert said == set(OPTIONS)


def names(items):
    for item in items:
        if item.startswith("-") and item != "-1":
            yield item.partition("=")[0] if item.startswith("--") else item[:2]


#: Items of a command line -> the number of the item that is wrong (None: together), and a part of the message.
REFUSED = {
    "an option that there is not": (["--gpuz", "all"], 0, "Did you mean --gpus?"),
    "an option of docker run that a run cannot have": (["--cgroup-parent", "x"], 0, "There are --add-host"),
    "an option and its value in one item": (["--gpus all"], 0, "Write '--gpus', 'all'"),
    "an image": (["--init", "python:3.11"], 1, "the image is the environment's"),
    "an empty item": ([""], 0, "no option"),
    "a value that is missing": (["--init", "--memory"], 1, "Write it as the next item"),
    "a name": (["--name", "x"], 0, "The container is named by the run"),
    "removing": (["--rm"], 0, "removed by itself"),
    "a terminal": (["-it"], 0, "detached"),
    "an entrypoint": (["--entrypoint=/bin/sh"], 0, "command=[...]"),
    "a port": (["-p8080:80"], 0, "--network host"),
    "a file of variables": (["--env-file", "x"], 0, "secret_variables"),
    "a variable of the worker's": (["-e", "TOKEN"], 1, "Write 'TOKEN=value'; environment_variables and secret_"),
    "a variable that is ours": (["--env=SCRIPTRUN_RUN_ID=1"], 0, "SCRIPTRUN_"),
    "no number of GPUs": (["--gpus", "none"], 1, "'device=0,1'"),
    "no GPUs": (["--gpus", "0"], 1, "no number of GPUs"),
    "something else of GPUs": (["--gpus", "device=0,mode=fast"], 1, "'mode=fast' in it is not known"),
    "memory without its unit": (["--memory", "4"], 1, "Write it with its unit"),
    "memory that is none": (["--memory", "4 gigs"], 1, "'2g'"),
    "swap alone in bytes": (["--memory", "4g", "--memory-swap", "1g"], None, "--memory-swap is less than --memory"),
    "no CPUs": (["--cpus", "0"], 1, "'0.5'"),
    "CPUs by name": (["--cpuset-cpus", "first"], 1, "'0-3,8'"),
    "two sizes": (["--memory", "1g", "-m2g"], 2, "Keep one of the two"),
    "two sorts of GPUs": (["--gpus", "all", "--gpus", "1"], 3, "Keep one of the two"),
    "a volume without a name": (["-v", "/data"], 1, "'my-data:/data'"),
    "a relative path": (["-v", "./data:/data"], 1, "absolute path there"),
    "a path in a home folder": (["-v", "~/data:/data"], 1, "absolute path there"),
    "a volume's place that is none": (["-v", "data:data"], 1, "no absolute path"),
    "a volume's mode that is none": (["-v", "data:/data:z"], 1, "ro, rw or nothing"),
    "a mount over ours": (["-v", "data:/scriptrun/blobs"], 1, "hides the provider's own folder /scriptrun"),
    "a mount over what holds ours": (["-v", "data:/opt"], 1, "own folder /opt/scriptrun"),
    "a mount over everything": (["--tmpfs", "/"], 1, "hides"),
    "a mount in a roundabout way": (["-v", "data:/data/../scriptrun"], 1, "hides"),
    "a mount's field that is none": (["--mount", "sorce=a,target=/a"], 1, "Did you mean source?"),
    "a mount's type that is none": (["--mount", "type=npipe,target=/a"], 1, "volume, bind, tmpfs"),
    "a mount without a target": (["--mount", "source=a1"], 1, "names no target"),
    "a path as a volume": (["--mount", "source=/a,target=/a"], 1, "type=bind"),
    "two things in one place": (["-v", "a1:/a", "--tmpfs=/a/"], None, "two things at /a"),
    "a limit that is none": (["--ulimit", "nofiles=5"], 1, "Did you mean nofile?"),
    "a limit without numbers": (["--ulimit", "nofile"], 1, "'nofile=1024:4096'"),
    "a soft limit above the hard one": (["--ulimit", "nofile=9:5"], 1, "'nofile=5:9'"),
    "a host without an address": (["--add-host", "db"], 1, "'db:10.0.0.5'"),
    "a name as a name server": (["--dns", "ns1"], 1, "no IP address"),
    "a label of ours": (["--label", "scriptrun.run=1"], 1, "the provider's"),
    "a flag that is neither": (["--read-only=maybe"], 0, "neither true nor false"),
    "GPUs in two lines": (["--gpus", "a\nb"], 1, "Write it in one"),
    "a mount in two lines": (["--mount", "source=a\nb,target=/x"], 1, "Write it in one"),
    "more memory than numbers": (["--memory", "9" * 400 + "g"], 1, "no size"),
    "more memory than an engine can say": (["--memory", "9" * 18 + "p"], 1, "no size"),
    "more processes than an engine can say": (["--pids-limit", "9" * 5000], 1, "no number"),
    "more files than an engine can say": (["--ulimit", "nofile=" + "9" * 5000], 1, "no numbers"),
    "more GPUs than numbers": (["--gpus", "9" * 5000], 1, "no number of GPUs"),
    "a host's name in two lines": (["--add-host", "a\nb:10.0.0.5"], 1, "'db:10.0.0.5'"),
    "a working directory": (["-w/work"], 0, "its own copy of the source directory"),
    "a colon in a path": (["--mount", "source=data,target=/a:b"], 1, "without colons"),
    "a capability in small letters": (["--cap-add", "sys_ptrace"], 1, "SYS_PTRACE"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_run_cannot_have_is_refused_where_it_stands(case):
    items, number, words = REFUSED[case]
    place = "config.docker_runtime_config.arguments" + ("" if number is None else f"[{number}]")
    with pytest.raises(ConfigurationError) as caught:
        config(docker_runtime_config={"arguments": items})
    message = str(caught.value)
    assert message.startswith(f"{place} ")
    assert words in message


@pytest.mark.parametrize("option", OURS)
def test_what_the_provider_decides_is_refused_with_the_reason(option):
    with pytest.raises(ConfigurationError) as caught:
        DockerConfiguration(arguments=[option, "x"])
    assert str(caught.value).startswith(f"DockerConfiguration.arguments[0] is {option}, which the provider decides. ")
    assert OURS[option] in str(caught.value)


def test_arguments_as_text_are_refused():
    with pytest.raises(ConfigurationError, match="Write each option and each value as an item"):
        DockerConfiguration(arguments="--gpus all")


@pytest.mark.parametrize(
    "items",
    [
        ["--memory", "{{ params.memory }}", "--cpus={{ params.cpus }}"],
        ["-e", "DAY={{ ds }}", "-v{{ params.volume }}"],
        ["--{{ params.option }}", "what nobody knows yet"],
        ["{{ params.option }}", "what nobody knows yet"],
        ["--memory", Output("memory")],
        [Output("option"), "what nobody knows yet"],
    ],
    ids=str,
)
def test_templates_stay_until_a_task_renders_them(items):
    assert config(docker_runtime_config={"arguments": items}).docker_runtime_config.arguments == items


def test_what_stands_beside_a_template_is_checked_at_once():
    with pytest.raises(ConfigurationError, match=r"arguments\[2\] is '--gpuz'"):
        config(docker_runtime_config={"arguments": ["--memory", "{{ params.memory }}", "--gpuz"]})


def test_what_a_template_became_is_checked():
    fields = {"source_directory": "a", "script": "b", "docker_runtime_config": {"arguments": ["--memory", "much"]}}
    with pytest.raises(ConfigurationError, match=r"^config\.docker_runtime_config\.arguments\[1\] is 'much'"):
        ScriptRunConfig.from_rendered(fields)


def test_text_that_looks_like_a_template_is_text_once_rendered():
    assert parsed(["-e", "A={{ x }}"]) == {"env": {"A": "{{ x }}"}}


def test_shared_memory_is_said_once():
    taken = config(docker_runtime_config=DockerConfiguration(use_docker=True, shm_size="512m")).resolved()
    assert container_options(taken.docker_runtime_config) == {"use": True, "shm_size": 512 * MIB}
    with pytest.raises(ConfigurationError, match=r"DockerConfiguration\.shm_size is said by --shm-size"):
        DockerConfiguration(shm_size="512m", arguments=["--shm-size=1g"])


def test_the_page_has_every_option():
    page = (Path(__file__).resolve().parents[2] / "docs" / "targets" / "docker.md").read_text()
    table = page.partition("## Options of a container")[2]
    assert [name for name in (*OPTIONS, *ALIASES) if f"`{name}`" not in table] == []


values = (
    st.text(max_size=12) | st.text("0123456789:=,/-\"'gm\n\r[]. ", max_size=12) | st.sampled_from(["all", "-1", "1g"])
)


@pytest.mark.slow
@given(st.sampled_from([*OPTIONS]), values, values)
def test_whatever_a_value_is_it_is_taken_or_refused_in_our_words(option, first, second):
    for items in ([option, first], [f"{option}={first}"], [option, first, option, second], [first, second]):
        try:
            options = parsed(items)
        except Wrong:
            continue
        assert json.loads(json.dumps(options)) == options
