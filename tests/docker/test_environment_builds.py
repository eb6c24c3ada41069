"""What becomes an image is what was asked for, whoever dies meanwhile, and no secret with it.

Packages come from an index of our own on this machine, whose network the builds share.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import pytest

from airflow_provider.scriptrun import CondaDependencies, Environment
from scripts import docker_engine
from tests.airflow.project import until
from tests.docker import images, index
from tests.docker.build_site import Site, alpha, images_of
from tests.docker.certificates import Certificates
from tests.docker.leaks import KIND_LABEL, LABEL
from tests.docker.package_index import PackageIndex

pytestmark = [pytest.mark.needs("docker"), pytest.mark.slow]

#: With what an address writes in another way.
PASSWORD, TOKEN = "s3cr3t/pass word", "t0ken-of-the-script"
PROXY_PASSWORD = "pr0xy/pass word"
PROXY_LOGIN = f"me:{quote(PROXY_PASSWORD, safe='')}"
#: A package of each requirement of the curated environment ``tabular``.
TABULAR = {"numpy": "2.0.0", "pandas": "2.2.0", "pyarrow": "17.0.0"}
READ_BYTES = 1024 * 1024
#: The run of a worker that is killed, and one that another process looks at.
KILLED, WATCHED = "builds_1_killed", "builds_1_watched"


@pytest.fixture
def client(engine: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=engine)
    yield client
    client.close()


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[PackageIndex]:
    """An index that wants a login."""
    with PackageIndex(tmp_path / "index", {"alpha": "1.0", **TABULAR}, ("robot", PASSWORD)) as serving:
        yield serving


@pytest.fixture
def authority(tmp_path: Path) -> Certificates:
    """One that no image and no machine knows."""
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def encrypted_packages(authority: Certificates, tmp_path: Path) -> Iterator[PackageIndex]:
    """An index whose certificate the authority signed."""
    with PackageIndex(tmp_path / "encrypted", {"alpha": "1.0"}, certificates=authority) as serving:
        yield serving


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the target logs. Airflow takes the root's handlers away, and so what pytest has there."""
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log, ear = logging.getLogger("airflow_provider.scriptrun"), Ear()
    level = log.level
    log.addHandler(ear)
    log.setLevel(logging.INFO)
    yield lines
    log.setLevel(level)
    log.removeHandler(ear)


@pytest.fixture
def site(name_engine: Callable[..., str], packages: PackageIndex, tmp_path: Path) -> Site:
    name_engine(network=index.NETWORK, index_url=packages.url)
    return Site(tmp_path)


def downloads_left(engine: str, image: str, store: str) -> list[str]:
    """Return what of a build's downloads is in its image or in the volume."""
    where = ["/store", "/opt", "/root", "/tmp", "/var/tmp"]
    options = ["--rm", "--network", "none", "--volume", f"{store}:/store:ro", "--entrypoint", "find"]
    found = docker_engine.ask("run", *options, image, *where, at=engine).splitlines()
    assert any(path.startswith("/opt/scriptrun/environments/") for path in found)
    return [path for path in found if "/cache" in path or path.endswith((".whl", ".tar.bz2"))]


def test_a_curated_environment_is_built_at_its_first_use_and_reused_by_the_next(
    site: Site, packages: PackageIndex, client: docker.DockerClient, engine: str, store: str
) -> None:
    script = "import numpy, pandas, pyarrow, sys; print(pandas.VERSION, sys.version_info[:2])"
    first = site.record(Environment.get("tabular"), script)
    assert first["status"] == "Completed", first
    second = site.record(Environment.get("tabular"), script)
    assert [record["environment"]["reused"] for record in (first, second)] == [False, True]
    assert first["environment"]["id"] == second["environment"]["id"]
    (tag,) = images_of(client, store)
    assert downloads_left(engine, tag, store) == []
    assert sorted(name.partition("-")[0] for name in packages.wheels) == sorted(TABULAR)
    assert Path(second["log"]["uri"]).read_text() == "2.2.0 (3, 11)\n"


def test_what_a_build_prints_is_in_the_log_of_the_task_before_the_build_has_ended(
    site: Site, packages: PackageIndex, said: list[str]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with packages.held():  # no build ends meanwhile
            record = pool.submit(site.record, alpha())
            until(lambda: any(line.startswith("build: ") for line in said), "a line of the build")
        assert record.result()["status"] == "Completed", record.result()


def test_a_run_whose_image_is_being_built_is_preparing_to_others_who_wait_for_its_end(
    site: Site, packages: PackageIndex
) -> None:
    with ThreadPoolExecutor(2) as pool:
        with packages.held():
            submitted = pool.submit(site.submit, alpha(), run_id=WATCHED)
            assert packages.reached.wait(60)
            assert site.status_of(WATCHED) == "Preparing"
            waiting = pool.submit(site.wait_for, WATCHED)
        assert waiting.result()["status"] == "Completed"
        submitted.result().close()


def test_packages_are_installed_by_the_uv_of_the_worker_which_the_image_lacks(
    site: Site, base_image_name: str, engine: str
) -> None:
    look = ["sh", "-c", "! command -v uv"]
    docker_engine.ask("run", "--rm", "--network", "none", base_image_name, *look, at=engine)
    record = site.record(alpha())
    log = Path(record["log"]["uri"]).with_name("build.log").read_text()
    assert re.search(r"building environment \w+ with uv\n.*Installed 1 package in .* \+ alpha==1.0", log, re.S), log


def test_a_code_that_changes_leaves_the_environment_as_it_is(site: Site) -> None:
    records = [site.record(alpha(), f"import alpha; print({word!r})") for word in ("before", "after")]
    assert [Path(record["log"]["uri"]).read_text() for record in records] == ["before\n", "after\n"]
    assert [record["environment"]["reused"] for record in records] == [False, True]
    assert len({record["snapshot"]["id"] for record in records}) == 2


def test_a_python_that_an_image_lacks_is_named_beside_the_one_it_has(site: Site) -> None:
    environment = Environment("other Python")
    environment.python.conda_dependencies = CondaDependencies.create(["alpha"], python_version="3.9")
    record = site.record(environment)
    assert (record["status"], record["reason"]) == ("Failed", "environment")
    assert "3.9" in record["message"]
    assert "3.11." in record["message"]


#: In place of micromamba, which is no package of the index: it makes a virtual environment of what it was asked for.
MICROMAMBA = """#!/usr/bin/python3
import json, os, subprocess, sys
content = json.load(open(sys.argv[sys.argv.index("--file") + 1]))
prefix = sys.argv[sys.argv.index("--prefix") + 1]
subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
os.makedirs(prefix + "/conda-meta")
os.makedirs(os.environ["CONDA_PKGS_DIRS"])
open(os.environ["CONDA_PKGS_DIRS"] + "/gdal.tar.bz2", "w").close()
open(prefix + "/conda-meta/asked.json", "w").write(json.dumps(content))
"""


def test_packages_of_conda_are_installed_by_the_program_of_the_image_once(
    site: Site, base_image_name: str, client: docker.DockerClient, engine: str, store: str
) -> None:
    program, path = base64.b64encode(MICROMAMBA.encode()).decode(), "/usr/local/bin/micromamba"
    text = f"FROM {base_image_name}\nRUN echo {program} | base64 -d > {path} && chmod 755 {path}\n"
    environment = Environment("gdal")
    environment.docker.base_image = images.build(f"{store}:latest", f"{text}LABEL {LABEL}={store}\n")
    environment.python.conda_dependencies = CondaDependencies.create(
        conda_packages=["gdal=3.8"], channels=["file:///channel"]
    )
    script = "import os; print(open(os.environ['CONDA_PREFIX'] + '/conda-meta/asked.json').read())"
    records = [site.record(environment, script) for _ in range(2)]
    assert [record["status"] for record in records] == ["Completed"] * 2, records
    assert [record["environment"]["reused"] for record in records] == [False, True]
    said = Path(records[1]["log"]["uri"]).read_text()
    assert "gdal=3.8" in said
    assert "file:///channel" in said
    (tag,) = images_of(client, store)
    assert downloads_left(engine, tag, store) == []


def test_packages_of_conda_in_an_image_without_conda_are_refused_by_name(site: Site) -> None:
    environment = Environment("gdal")
    environment.python.conda_dependencies = CondaDependencies.create(conda_packages=["gdal=3.8"])
    record = site.record(environment)
    assert (record["status"], record["reason"]) == ("Failed", "environment")
    assert "neither conda nor mamba nor micromamba" in record["message"]


def killed_while_building(site: Site, packages: PackageIndex) -> None:
    """Submit in a process that is killed once the build has come to a package, which it waits for."""
    packages.gate.clear()
    worker = os.fork()
    if worker == 0:
        try:
            site.submit(alpha(), run_id=KILLED)
        finally:
            os._exit(1)
    assert packages.reached.wait(60)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)


def builds_of(client: docker.DockerClient, store: str) -> list[Any]:
    labels = [f"{LABEL}={store}", f"{KIND_LABEL}=build"]
    return client.containers.list(all=True, ignore_removed=True, filters={"label": labels})


def test_a_build_goes_on_when_its_worker_is_killed_and_the_next_one_waits_for_it(
    site: Site, packages: PackageIndex, client: docker.DockerClient, store: str, said: list[str]
) -> None:
    killed_while_building(site, packages)
    (build,) = builds_of(client, store)
    with ThreadPoolExecutor(1) as pool:
        record = pool.submit(site.record, alpha(), run_id=KILLED)
        try:
            until(lambda: any("waiting for environment" in line for line in said), "the next worker's wait")
            assert [one.id for one in builds_of(client, store)] == [build.id]
        finally:
            packages.gate.set()
        found = record.result()
    assert (found["status"], found["run_id"]) == ("Completed", KILLED), found
    assert packages.wheels == ["alpha-1.0-py3-none-any.whl"]
    assert len(images_of(client, store)) == 1
    assert builds_of(client, store) == []


def test_what_a_killed_workers_build_has_made_is_used_by_the_next_one(
    site: Site, packages: PackageIndex, client: docker.DockerClient, store: str
) -> None:
    killed_while_building(site, packages)
    until(lambda: site.status_of(KILLED) == "NotStarted", "the end of what the worker held")
    packages.gate.set()
    until(lambda: [one.status for one in builds_of(client, store)] == ["exited"], "the build's end")
    assert images_of(client, store) == []
    found = site.record(alpha(), run_id=KILLED)
    assert (found["status"], found["run_id"]) == ("Completed", KILLED), found
    assert packages.wheels == ["alpha-1.0-py3-none-any.whl"]
    assert len(images_of(client, store)) == 1
    assert builds_of(client, store) == []


def test_packages_are_installed_through_the_proxy_of_a_connection(
    name_engine: Callable[..., str], packages: PackageIndex, tmp_path: Path
) -> None:
    elsewhere = packages.url.replace(packages.address, "packages.invalid")
    name_engine(network=index.NETWORK, index_url=elsewhere, proxies={"http": f"http://{packages.address}"})
    record = Site(tmp_path).record(alpha(), "import os; print(os.environ['http_proxy'])")
    assert record["status"] == "Completed", record
    assert set(packages.proxied) == {None}
    assert Path(record["log"]["uri"]).read_text() == f"http://{packages.address}\n"


def test_packages_come_from_an_index_whose_authority_only_the_ca_file_of_a_connection_names(
    name_engine: Callable[..., str],
    encrypted_packages: PackageIndex,
    authority: Certificates,
    image: Callable[[str], str],
    tmp_path: Path,
) -> None:
    name_engine(
        network=index.NETWORK,
        index_url=encrypted_packages.url,
        base_image=image("no-certificates"),
        ca_file=str(authority.ca),
    )
    record = Site(tmp_path).record(alpha(), "import alpha; print(alpha.VERSION)")
    assert record["status"] == "Completed", record
    assert Path(record["log"]["uri"]).read_text() == "1.0\n"
    assert encrypted_packages.wheels == ["alpha-1.0-py3-none-any.whl"]


def test_an_index_whose_authority_nothing_names_is_not_trusted_and_the_failure_names_the_option(
    name_engine: Callable[..., str], encrypted_packages: PackageIndex, image: Callable[[str], str], tmp_path: Path
) -> None:
    name_engine(network=index.NETWORK, index_url=encrypted_packages.url, base_image=image("no-certificates"))
    record = Site(tmp_path).record(alpha())
    assert (record["status"], record["reason"]) == ("Failed", "environment"), record
    assert "certificate is not trusted: name the authority's PEM file in the option ca_file" in record["message"]
    assert "invalid peer certificate" in Path(record["log"]["uri"]).with_name("build.log").read_text()
    assert encrypted_packages.wheels == []


def test_no_secret_is_in_an_image_its_history_a_container_or_the_volume(
    name_engine: Callable[..., str],
    packages: PackageIndex,
    client: docker.DockerClient,
    engine: str,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    base_image_name: str,
) -> None:
    proxies = {"http": f"http://{PROXY_LOGIN}@{packages.address}", "no": "localhost"}
    name_engine(network=index.NETWORK, index_url=packages.url, proxies=proxies)
    site = Site(tmp_path)
    of_user = {"proxies": {"default": {"httpsProxy": f"http://{PROXY_LOGIN}@{packages.address}"}}}
    (tmp_path / "config.json").write_text(json.dumps(of_user))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", TOKEN)
    hold = tmp_path / "hold"
    hold.mkdir()
    script = (
        "import os, time, alpha\nassert os.environ['TOKEN']\n"
        "assert '@' in os.environ['http_proxy'] and os.environ['NO_PROXY'] == 'localhost'\n"
        "open('/hold/up', 'w').close()\n"
        "while not os.path.exists('/hold/go'): time.sleep(0.01)\n"
    )
    fields = {
        "secret_variables": {"TOKEN": "var:TOKEN"},
        "docker_runtime_config": {"arguments": ["-v", f"{hold}:/hold"]},
    }
    said = []

    def look() -> None:
        for one in client.api.containers(all=True, filters={"label": f"{LABEL}={store}"}):
            said.append(json.dumps(client.api.inspect_container(one["Id"])))

    with ThreadPoolExecutor(1) as pool:
        with packages.held():
            record = pool.submit(site.record, alpha(), script, **fields)
            assert packages.reached.wait(60)
            look()
        try:
            until((hold / "up").exists, "the script's start")
            look()
        finally:
            (hold / "go").touch()
        assert record.result()["status"] == "Completed", record.result()
    assert set(packages.proxied) == {f"Basic {basic(f'me:{PROXY_PASSWORD}')}"}
    (tag,) = images_of(client, store)
    said += [json.dumps(client.api.inspect_image(tag)), json.dumps(client.api.history(tag))]
    assert "scriptrun.kind" in said[0]
    for form in forms(packages):
        assert form not in "\n".join(said)
    archive = ["tar", "--create", "--directory", "/store", "."]
    of_volume = ["run", "--rm", "--network", "none", "--volume", f"{store}:/store:ro", base_image_name, *archive]
    for command, holds in ((["save", tag], "alpha-1.0.dist-info/METADATA"), (of_volume, "import os, time, alpha")):
        assert found_in(["docker", "--host", engine, *command], [holds, *forms(packages)]) == [holds]


def forms(packages: PackageIndex) -> list[str]:
    """Return what a secret may look like."""
    index_login = packages.url.partition("//")[2].partition("@")[0]
    of_proxy = [PROXY_PASSWORD, PROXY_LOGIN, basic(f"me:{PROXY_PASSWORD}")]
    return [PASSWORD, index_login, packages.authorization, TOKEN, *of_proxy]


def basic(login: str) -> str:
    return base64.b64encode(login.encode()).decode()


def found_in(command: list[str], texts: list[str]) -> list[str]:
    """Return which of the texts are in what a command writes."""
    found, before = set(), b""
    wanted = {text.encode() for text in texts}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while data := process.stdout.read(READ_BYTES):
            read = before + data
            found |= {text for text in wanted if text in read}
            before = read[-max(map(len, wanted)) :]
    assert process.returncode == 0
    return sorted(text.decode() for text in found)
