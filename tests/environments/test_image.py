"""An environment with an image: its plan says what the image is, and what comes on top of it."""

from __future__ import annotations

import json
import os
import socket

import pytest

from airflow_provider.scriptrun.config import ContainerRegistry, DockerBuildContext, Environment
from airflow_provider.scriptrun.environments.plan import plan
from airflow_provider.scriptrun.environments.settings import EnvironmentSettings
from airflow_provider.scriptrun.errors import ConfigurationError, NotSupportedError

DOCKERFILE = "# for training\nFROM python:3.11-slim\nRUN true\n"


def planned(environment, folder, secrets=None):
    return plan(
        environment,
        base_directory=folder,
        settings=EnvironmentSettings(),
        variables={},
        secret=(secrets or {}).__getitem__,
    )


def image(environment, folder, secrets=None):
    return planned(environment, folder, secrets).document["image"]


def test_an_environment_without_an_image_has_no_such_key(tmp_path):
    (tmp_path / "r.txt").write_text("six\n")
    for environment in (
        None,
        Environment(),
        Environment.get("tabular"),
        Environment.from_pip_requirements("e", "r.txt"),
    ):
        assert "image" not in planned(environment, tmp_path).document


def test_an_image_alone_is_used_as_it_is(tmp_path):
    document = planned(Environment.from_docker_image("e", "python:3.11-slim"), tmp_path).document
    assert (document["kind"], document["interpreter"]) == ("user_managed", None)
    assert document["image"] == {
        "reference": "python:3.11-slim",
        "dockerfile": None,
        "context": None,
        "registry": None,
        "platform": None,
    }


def test_an_interpreter_may_be_named_in_an_image(tmp_path):
    environment = Environment.from_docker_image("e", "nvidia/cuda:12.4")
    environment.python.interpreter_path = "/opt/conda/bin/python"
    document = planned(environment, tmp_path).document
    assert (document["kind"], document["interpreter"]) == ("user_managed", "/opt/conda/bin/python")


def test_packages_come_on_top_of_an_image(tmp_path):
    (tmp_path / "r.txt").write_text("six\n")
    (tmp_path / "conda.yml").write_text("dependencies:\n- gdal\n")
    pip = planned(Environment.from_docker_image("e", "python:3.11", pip_requirements="r.txt"), tmp_path).document
    assert (pip["kind"], pip["requirements"], pip["image"]["reference"]) == ("pip", ["six"], "python:3.11")
    conda = planned(Environment.from_docker_image("e", "mamba", conda_specification="conda.yml"), tmp_path).document
    assert (conda["kind"], conda["image"]["reference"]) == ("conda", "mamba")
    bare = planned(Environment(docker={"base_image": "python:3.11"}), tmp_path).document
    assert (bare["kind"], bare["image"]["reference"]) == ("default", "python:3.11")


def test_a_dockerfile_is_read_when_a_run_is_submitted_or_is_text(tmp_path):
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    for written in ("Dockerfile", str(tmp_path / "Dockerfile"), DOCKERFILE):
        found = image(Environment.from_dockerfile("e", written), tmp_path)
        assert (found["dockerfile"], found["reference"]) == (DOCKERFILE, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"six\nidna\n", "names no image"),
        (b"#" * 2**21, "large"),
    ],
    ids=["missing", "no text", "no FROM", "large"],
)
def test_what_is_no_dockerfile_is_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "Dockerfile").write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"Dockerfile.*{words}"):
        image(Environment.from_dockerfile("e", "Dockerfile"), tmp_path)
    with pytest.raises(ConfigurationError, match="base_dockerfile names no image"):
        image(Environment.from_dockerfile("e", "RUN true\nRUN false"), tmp_path)


def test_an_image_of_a_registry_has_its_address_in_front(tmp_path):
    def reference(name, address):
        return image(Environment.from_docker_image("e", name, ContainerRegistry(address=address)), tmp_path)[
            "reference"
        ]

    assert reference("team/base:1", "registry.example.com:5000") == "registry.example.com:5000/team/base:1"
    assert reference("team/base:1", "https://registry.example.com/") == "registry.example.com/team/base:1"
    assert reference("registry.example.com/team/base:1", "registry.example.com") == "registry.example.com/team/base:1"
    assert reference("python:3.11", "https://index.docker.io/v1/") == "python:3.11"


def test_a_registrys_password_travels_among_the_secrets_and_nowhere_else(tmp_path):
    registry = ContainerRegistry(address="r.example.com", username="robot", password="conn:registry/password")
    found = planned(
        Environment.from_docker_image("e", "base", registry), tmp_path, {"conn:registry/password": "hunter2"}
    )
    described = found.document["image"]["registry"]
    assert (described["address"], described["username"]) == ("r.example.com", "robot")
    assert found.secrets == {described["secret"]: "hunter2"}
    assert "hunter2" in found.confidential
    assert "hunter2" not in json.dumps(found.document)
    assert "hunter2" not in repr(found)


def test_a_login_is_whole():
    with pytest.raises(ConfigurationError, match=r"ContainerRegistry\.username is there without a password"):
        ContainerRegistry(address="r.example.com", username="robot")
    with pytest.raises(ConfigurationError, match=r"ContainerRegistry\.password is there without a username"):
        ContainerRegistry(address="r.example.com", password="var:p")
    ContainerRegistry(address="r.example.com", username="{{ params.user }}")  # it may turn out to be none


def test_a_platform_is_said_only_where_it_is_not_the_usual_one(tmp_path):
    def platform(**fields):
        return image(Environment(docker={"base_image": "a", "platform": fields}), tmp_path)["platform"]

    assert platform(architecture="amd64") is None
    assert platform(architecture="ARM64") == "linux/arm64"
    with pytest.raises(NotSupportedError, match="runs are on Linux"):
        platform(os="Windows")


@pytest.fixture
def context(tmp_path):
    """A folder with a Dockerfile, what it copies, and what is ignored."""
    folder = tmp_path / "image"
    (folder / "src" / "deep").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "src" / "a.py").write_text("1\n")
    (folder / "src" / "deep" / "b.py").write_text("2\n")
    (folder / "src" / "link").symlink_to("a.py")
    (folder / "data" / "large.bin").write_bytes(b"x" * 100)
    (folder / "data" / "keep.txt").write_text("keep\n")
    (folder / ".dockerignore").write_text("# what is not needed\ndata\n!data/keep.txt\n**/*.pyc\nDockerfile\n")
    return folder


def built(folder, dockerfile="Dockerfile"):
    environment = Environment.from_docker_build_context("e", DockerBuildContext("image", dockerfile))
    return image(environment, folder.parent)


def test_a_build_context_is_named_by_what_of_it_is_sent(context):
    found = built(context)
    assert (found["context"], found["dockerfile_path"], found["dockerfile"]) == (str(context), "Dockerfile", None)
    (context / "data" / "large.bin").write_bytes(b"y")
    (context / "src" / "a.pyc").write_bytes(b"y")
    os.utime(context / "src" / "a.py", (1, 1))
    (context / "src" / "a.py").chmod(0o666)
    assert built(context) == found


CHANGES = {
    "content": lambda folder: (folder / "src" / "a.py").write_text("2\n"),
    "executable": lambda folder: (folder / "src" / "a.py").chmod(0o755),
    "name": lambda folder: (folder / "src" / "a.py").rename(folder / "src" / "c.py"),
    "link": lambda folder: ((folder / "src" / "link").unlink(), (folder / "src" / "link").symlink_to("deep/b.py")),
    "folder": lambda folder: (folder / "src" / "empty").mkdir(),
    "kept from what is ignored": lambda folder: (folder / "data" / "keep.txt").write_text("other\n"),
    "the Dockerfile, which is sent always": lambda folder: (folder / "Dockerfile").write_text("FROM scratch\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_content_of_a_build_context_is_another_digest(context, change):
    before = built(context)["context_digest"]
    CHANGES[change](context)
    assert built(context)["context_digest"] != before


def test_a_dockerfile_may_have_an_ignore_file_of_its_own(context):
    (context / "gpu.Dockerfile").write_text(DOCKERFILE)
    (context / "gpu.Dockerfile.dockerignore").write_text("src\n")
    before = built(context, "gpu.Dockerfile")["context_digest"]
    (context / "src" / "a.py").write_text("2\n")
    assert built(context, "gpu.Dockerfile")["context_digest"] == before
    (context / "data" / "large.bin").write_bytes(b"y")
    assert built(context, "gpu.Dockerfile")["context_digest"] != before


def test_a_build_context_without_its_dockerfile_is_refused(context):
    with pytest.raises(ConfigurationError, match=r"no file docker/Dockerfile in .*image"):
        built(context, "docker/Dockerfile")
    (context.parent / "Dockerfile").write_text(DOCKERFILE)
    with pytest.raises(ConfigurationError, match="Dockerfile stands in the folder"):
        built(context, "../Dockerfile")
    with pytest.raises(ConfigurationError, match="there is no folder"):
        image(Environment.from_docker_build_context("e", "nowhere"), context.parent)


def test_what_no_engine_can_be_sent_is_named(context):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(context / "src" / "s"))
        with pytest.raises(ConfigurationError, match="src/s, which is neither"):
            built(context)
