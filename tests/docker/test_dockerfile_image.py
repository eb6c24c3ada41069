"""An environment of a Dockerfile is an image: built once, by whoever is first, and anew when a part of it changes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from airflow_provider.scriptrun import Environment, Experiment, ScriptRunConfig, Workspace
from airflow_provider.scriptrun.config.environment import Environment as AnyEnvironment
from airflow_provider.scriptrun.runs import surroundings
from airflow_provider.scriptrun.runs.run import Run
from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.docker.dockerfile_image import DockerfileImages
from tests.docker import images
from tests.docker.leaks import LABEL

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]

AT_ONCE = 4
PATIENCE_S = 60.0
SAYS_FLAVOUR = "print(open('/flavour').read().strip())"
Submit = Callable[..., Run]


@pytest.fixture
def experiment(name_engine: Callable[..., str], tmp_path: Path) -> Experiment:
    name_engine(network="none")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.py").write_text(SAYS_FLAVOUR)
    return Experiment(Workspace(str(tmp_path / "workspace")), "images")


@pytest.fixture
def build_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged of builds; Airflow, which a connection may be the first to load, replaces the handlers of all."""
    logger = logging.getLogger("airflow_provider.scriptrun")
    caplog.set_level("INFO", logger.name)
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def submit(experiment: Experiment, tmp_path: Path) -> Submit:
    """Run a script that says which flavour its image has, and wait for its end."""

    def submit(environment: AnyEnvironment, **fields: Any) -> Run:
        code = tmp_path / "code"
        config = ScriptRunConfig(code, script="main.py", environment=environment, compute_target="engine", **fields)
        run = experiment.submit(config)
        run.wait_for_completion(raise_on_error=False)
        return run

    return submit


def said(run: Run) -> str:
    assert run.record["status"] == "Completed", run.record["message"]
    return Path(run.record["log"]["uri"]).read_text().strip()


def flavoured(base: str, flavour: str, name: str = "flavoured") -> AnyEnvironment:
    return Environment.from_dockerfile(name, f"FROM {base}\nRUN echo {flavour} > /flavour\n")


def made(docker_client: docker.DockerClient, store: str) -> set[str]:
    return {image.id for image in docker_client.images.list(filters={"reference": f"{store}/*"})}


def test_a_script_runs_in_the_image_of_a_dockerfile_which_no_change_of_code_builds_again(
    submit: Submit, docker_client: docker.DockerClient, store: str, base_image_name: str, tmp_path: Path
) -> None:
    assert said(submit(flavoured(base_image_name, "vanilla"))) == "vanilla"
    before = made(docker_client, store)
    (tmp_path / "code/main.py").write_text(f"{SAYS_FLAVOUR}\nprint('changed')")
    assert said(submit(flavoured(base_image_name, "vanilla"))) == "vanilla\nchanged"
    assert made(docker_client, store) == before
    assert said(submit(flavoured(base_image_name, "lemon"))) == "lemon\nchanged"


def test_what_a_build_prints_is_in_the_log_of_the_task(
    submit: Submit, base_image_name: str, build_log: pytest.LogCaptureFixture
) -> None:
    dockerfile = f"FROM {base_image_name}\nRUN echo here I am && echo vanilla > /flavour\n"
    submit(Environment.from_dockerfile("flavoured", dockerfile))
    assert "build: here I am" in build_log.text


def test_no_secret_of_ours_reaches_a_dockerfile(
    name_engine: Callable[..., str],
    submit: Submit,
    docker_client: docker.DockerClient,
    store: str,
    base_image_name: str,
    build_log: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name_engine(
        network="none",
        index_url="http://robot:pw-of-index@localhost:9/simple",
        proxies={"http": "http://me:pw-of-proxy@localhost:9", "https": "http://localhost:9"},
    )
    (tmp_path / "config.json").write_text('{"proxies": {"default": {"ftpProxy": "http://you:pw-of-user@localhost:9"}}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", "pw-of-script")
    (tmp_path / "requirements.txt").write_text("# nothing to fetch\n")
    (tmp_path / "code/main.py").write_text("import os; print(os.environ['TOKEN'])")
    dockerfile = f"FROM {base_image_name}\nRUN env > /env\n"
    environment = Environment.from_dockerfile("all", dockerfile, pip_requirements=tmp_path / "requirements.txt")
    assert said(submit(environment, secret_variables={"TOKEN": "var:TOKEN"})) == "pw-of-script"
    identifiers = made(docker_client, store)
    assert len(identifiers) == 2
    for one in identifiers:
        seen = docker_client.containers.run(one, ["cat", "/env"], remove=True).decode()
        assert "http_proxy=http://localhost:9\n" in seen
        assert "HTTPS_PROXY=http://localhost:9\n" in seen
        seen += json.dumps([docker_client.api.inspect_image(one), docker_client.api.history(one)])
        assert "pw-of" not in seen
    told = {(one.created, one.getMessage()) for one in build_log.records if "credentials" in one.getMessage()}
    ((_, message),) = told
    assert message == "it is built without the credentials in HTTP_PROXY, http_proxy: a layer could keep them"


def test_a_build_context_is_built_again_when_one_of_its_files_changes_and_only_then(
    submit: Submit, docker_client: docker.DockerClient, store: str, base_image_name: str, tmp_path: Path
) -> None:
    context = tmp_path / "image"
    (context / "build").mkdir(parents=True)
    (context / "build/Dockerfile").write_text(f"FROM {base_image_name}\nCOPY flavour /flavour\n")
    (context / "flavour").write_text("vanilla")
    (context / ".dockerignore").write_text("ignored\n")
    from airflow_provider.scriptrun import DockerBuildContext

    def environment() -> AnyEnvironment:
        return Environment.from_docker_build_context("built", DockerBuildContext(context, "build/Dockerfile"))

    assert said(submit(environment())) == "vanilla"
    before = made(docker_client, store)
    (context / "ignored").write_text("whatever")
    assert said(submit(environment())) == "vanilla"
    assert made(docker_client, store) == before
    (context / "flavour").write_text("lemon")
    assert said(submit(environment())) == "lemon"


def test_a_base_image_whose_tag_was_moved_is_noticed(submit: Submit, store: str, base_image_name: str) -> None:
    base = f"{store}/base:latest"
    environment = Environment.from_dockerfile("moved", f"FROM {base}\n")
    try:
        for flavour in ("vanilla", "lemon"):
            images.build(base, f"FROM {base_image_name}\nRUN echo {flavour} > /flavour\n", salt=flavour)
            assert said(submit(environment)) == flavour
    finally:
        images.remove(base)


def test_a_step_that_fails_ends_the_run_and_shows_its_last_lines(
    submit: Submit, docker_client: docker.DockerClient, store: str, base_image_name: str
) -> None:
    record = submit(
        Environment.from_dockerfile("failing", f"FROM {base_image_name}\nRUN echo no such thing >&2; exit 7\n")
    ).record
    assert (record["status"], record["reason"]) == ("Failed", "environment")
    assert "returned a non-zero code: 7" in record["message"]
    assert "no such thing" in record["message"]
    assert made(docker_client, store) == set()


def test_the_steps_before_one_that_fails_leave_no_image(
    submit: Submit, docker_client: docker.DockerClient, store: str, base_image_name: str
) -> None:
    steps = f"RUN echo 1 {store} > /one\nRUN echo 2 {store} > /two\nRUN sleep 1; exit 7\n"
    stages = f"FROM {base_image_name} AS first\nRUN echo 0 {store} > /zero\nFROM {base_image_name}\n{steps}"
    before = nameless(docker_client)
    record = submit(Environment.from_dockerfile("failing", stages)).record
    assert record["reason"] == "environment"
    assert [names for names in nameless(docker_client) - before if store in names] == []
    assert docker_client.images.get(base_image_name)


def test_those_who_waited_for_a_build_that_failed_go_on_from_its_steps_and_the_last_one_leaves_no_image(
    submit: Submit,
    docker_client: docker.DockerClient,
    store: str,
    base_image_name: str,
    build_log: pytest.LogCaptureFixture,
) -> None:
    before = nameless(docker_client)
    text = f"FROM {base_image_name}\nRUN echo first step\nRUN sleep 3600 # {store}\n"

    def said(line: str) -> int:
        return len({r.created for r in build_log.records if r.getMessage() == line})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        submitted = [pool.submit(submit, Environment.from_dockerfile("failing", text)) for _ in range(AT_ONCE)]
        until(lambda: said("waiting for an image, which another run makes") == AT_ONCE - 1)
        for left in range(AT_ONCE, 0, -1):
            (sleeper,) = until(lambda: sleepers(docker_client, store))
            docker_client.api.kill(sleeper)
            until(lambda left=left: sum(one.done() for one in submitted) > AT_ONCE - left)
    assert {one.result().record["reason"] for one in submitted} == {"environment"}
    assert said("build: first step") == 1
    assert [names for names in nameless(docker_client) - before if "echo first step" in names] == []


def nameless(docker_client: docker.DockerClient) -> set[str]:
    """What made the images that nobody has named."""
    found = set()
    for image in docker_client.api.images(filters={"dangling": True}):
        with contextlib.suppress(NotFound):  # another test removes its own ones
            found.add("\n".join(step["CreatedBy"] for step in docker_client.api.history(image["Id"])))
    return found


def test_the_time_that_a_build_takes_is_that_of_the_environment(
    submit: Submit, store: str, base_image_name: str
) -> None:
    for end, status in (("true", "Completed"), ("false", "Failed")):
        text = f"FROM {base_image_name}\nRUN echo vanilla > /flavour; sleep 2; {end} # {store}\n"
        record = submit(Environment.from_dockerfile("slow", text)).record
        assert (record["status"], record["phases"]["environment"] >= 2) == (status, True), record


def test_a_dockerfile_that_is_none_ends_the_run_for_good(submit: Submit, base_image_name: str) -> None:
    record = submit(Environment.from_dockerfile("wrong", f"FROM {base_image_name}\nRUNN true\n")).record
    assert (record["status"], record["reason"]) == ("Failed", "environment")
    assert "unknown instruction" in record["message"].lower()


def test_an_image_is_built_once_however_many_want_it_at_once(
    submit: Submit, base_image_name: str, build_log: pytest.LogCaptureFixture
) -> None:
    dockerfile = f"FROM {base_image_name}\nRUN echo begun; sleep 1; echo vanilla > /flavour\n"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(lambda _: submit(Environment.from_dockerfile("one", dockerfile)), range(AT_ONCE)))
    assert {said(run) for run in runs} == {"vanilla"}
    assert len({r.created for r in build_log.records if r.getMessage() == "build: begun"}) == 1
    assert sorted(run.record["environment"]["reused"] for run in runs) == [False] + [True] * (AT_ONCE - 1)


def test_packages_are_installed_on_the_image_of_a_dockerfile(
    submit: Submit, store: str, base_image_name: str, tmp_path: Path
) -> None:
    wheels = tmp_path / "requirements.txt"
    wheels.write_text("# nothing to fetch\n")
    environment = Environment.from_dockerfile(
        "both", f"FROM {base_image_name}\nRUN echo vanilla > /flavour\n", pip_requirements=wheels
    )
    first, second = submit(environment), submit(environment)
    assert said(first) == said(second) == "vanilla"
    assert [run.record["environment"]["reused"] for run in (first, second)] == [False, True]


def test_a_run_that_is_cancelled_while_its_image_is_built_ends_with_the_build(
    experiment: Experiment, docker_client: docker.DockerClient, store: str, base_image_name: str, tmp_path: Path
) -> None:
    dockerfile = f"FROM {base_image_name}\nRUN sleep 3600 # {store}\n"
    environment = Environment.from_dockerfile("slow", dockerfile)
    config = ScriptRunConfig(tmp_path / "code", script="main.py", environment=environment, compute_target="engine")
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(experiment.submit, config)
        until(lambda: sleepers(docker_client, store))
        (run,) = experiment.get_runs()
        assert run.cancel() is Status.CANCELED
        submitted.result(PATIENCE_S)
    run.wait_for_completion(raise_on_error=False)
    assert run.record["status"] == "Canceled"
    until(lambda: not sleepers(docker_client, store))


@pytest.fixture
def settings_read_anew() -> Iterator[None]:
    """What a test sets is read in it, and in no other."""
    before = surroundings.use(None)
    yield
    surroundings.use(before)


@pytest.mark.usefixtures("settings_read_anew")
def test_when_an_image_is_made_those_that_nobody_has_wanted_for_long_go(
    submit: Submit,
    docker_client: docker.DockerClient,
    store: str,
    base_image_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__SCRIPTRUN__ENVIRONMENT_MAX_AGE_DAYS", "1")
    submit(flavoured(base_image_name, "vanilla"))
    old = made(docker_client, store)
    runs = {"label": [f"{LABEL}={store}", "scriptrun.kind=run"]}
    until(lambda: not docker_client.api.containers(all=True, filters=runs))  # what a container has stays
    ages = ["sh", "-c", "touch -d '2 days ago' /volume/images/*"]
    docker_client.containers.run(base_image_name, ages, volumes={store: {"bind": "/volume"}}, remove=True)
    submit(flavoured(base_image_name, "lemon"))
    assert len(made(docker_client, store)) == 1
    assert not made(docker_client, store) & old


BUILDER = """
import sys
from airflow_provider.scriptrun import Environment, Experiment, ScriptRunConfig, Workspace
folder, dockerfile = sys.argv[1:]
environment = Environment.from_dockerfile("slow", dockerfile)
config = ScriptRunConfig(folder + "/code", script="main.py", environment=environment, compute_target="engine")
Experiment(Workspace(folder + "/elsewhere"), "images").submit(config)
"""


def test_a_build_whose_worker_was_killed_is_taken_over(
    submit: Submit, docker_client: docker.DockerClient, store: str, base_image_name: str, tmp_path: Path
) -> None:
    dockerfile = f"FROM {base_image_name}\nRUN sleep 2 && echo vanilla > /flavour # {store}\n"
    worker = subprocess.Popen([sys.executable, "-c", BUILDER, str(tmp_path), dockerfile], env=os.environ)
    try:
        until(lambda: sleepers(docker_client, store))
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert said(submit(Environment.from_dockerfile("slow", dockerfile))) == "vanilla"


def test_a_build_in_whose_middle_any_other_image_was_removed_is_begun_again(
    submit: Submit, base_image_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seam is the engine's answer to the first of two builds: that moment is microseconds long."""
    build, begun = DockerfileImages._build, []

    def upset(ours: DockerfileImages, *arguments: Any) -> None:
        begun.append(arguments)
        if len(begun) > 1:
            build(ours, *arguments)
        else:
            arguments[-1].take([{"error": 'unable to find image "sha256:013f6c51f677"'}])
            arguments[-1].end()

    monkeypatch.setattr(DockerfileImages, "_build", upset)
    assert said(submit(flavoured(base_image_name, "vanilla"))) == "vanilla"
    assert len(begun) == 2


def sleepers(docker_client: docker.DockerClient, store: str) -> list[object]:
    """The containers in which the engine carries out a step that names the volume."""
    return [one for one in docker_client.api.containers() if store in one["Command"]]


def until(happens: Callable[[], Any]) -> Any:
    """Return what comes true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := happens()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
