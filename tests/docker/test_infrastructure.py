"""What tests of Docker stand on: engines of one's own, images, and the search for what was left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import docker
import pytest
from docker.errors import ContainerError

from scripts import base_image, docker_engine
from tests.docker import images, index
from tests.docker.engine import PrivateEngine, left_of, sweep
from tests.docker.leaks import LABEL, new_volume, own_prefix
from tests.docker.vm import DockerVm

CHECKOUT = Path(__file__).parents[2]
FOREVER = ["sleep", "infinity"]
PATIENCE_S = 60


@pytest.fixture(scope="module")
def own(base_image_name):
    """An engine that the tests of this module share; each leaves it running."""
    with PrivateEngine(load=[base_image_name]) as engine:
        yield engine


def run(url: str, image: str, *command: str, **options) -> str:
    """Return what a command says in a container, of which nothing is left: not if it cannot start, nor its volumes."""
    client = docker.DockerClient(base_url=url)
    container = client.containers.create(image, list(command) or None, labels={LABEL: new_volume()}, **options)
    try:
        container.start()
        code = container.wait()["StatusCode"]
        said = container.logs().decode().strip()
    finally:
        container.remove(force=True, v=True)
        client.close()
    if code:
        raise ContainerError(container, code, command, image, said)
    return said


def detached(own: PrivateEngine, image: str) -> str:
    client = own.client()
    try:
        return client.containers.run(image, FOREVER, detach=True, network="none", stop_signal="KILL").id
    finally:
        client.close()


def status(own: PrivateEngine, container: str) -> str:
    client = own.client()
    try:
        return client.containers.get(container).status
    finally:
        client.close()


@pytest.mark.needs("docker")
@pytest.mark.slow
class TestImages:
    def test_the_base_image_has_a_python_that_makes_virtual_environments(self, engine, base_image_name):
        said = run(engine, base_image_name, "sh", "-c", "python3 -m venv /venv && /venv/bin/pip --version")
        assert said.startswith("pip ")

    def test_the_base_image_is_not_made_again(self, engine, base_image_name):
        client = docker.DockerClient(base_url=engine)
        before = client.images.get(base_image_name).id
        base_image.ensure(engine)
        assert client.images.get(base_image_name).id == before
        client.close()

    @pytest.mark.needs("network")
    @pytest.mark.parametrize("network", [index.NETWORK, "bridge"])
    def test_a_container_reaches_the_package_index(self, engine, base_image_name, network):
        script = "python3 -m venv /venv && /venv/bin/pip download --quiet --no-deps --dest /got packaging && ls /got"
        got = run(engine, base_image_name, "sh", "-c", script, network=network, environment=index.variables())
        assert got.startswith("packaging-")

    @pytest.mark.parametrize(
        ("variant", "command", "said"),
        [
            ("entrypoint", ["sh", "-c", "echo $ENTRYPOINT_WAS_HERE"], "yes"),
            ("other-user", ["sh", "-c", "echo $(id -un) $(id -u) $HOME"], "app 1000 /home/app"),
            ("variable", ["sh", "-c", "echo $FOO"], "bar"),
            ("workdir", ["pwd"], "/srv/app"),
            ("no-shell", ["python3", "-c", "print(1)"], "1"),
            ("no-python", ["sh", "-c", "command -v python3 || echo none"], "none"),
            ("no-certificates", ["sh", "-c", 'echo "[$SSL_CERT_FILE]"'], "[]"),
            ("volume", ["sh", "-c", "grep -c ' /data ' /proc/mounts"], "1"),
        ],
    )
    def test_a_variant_is_as_its_name_says(self, engine, image, variant, command, said):
        assert run(engine, image(variant), *command) == said

    @pytest.mark.parametrize(
        ("variant", "command", "code"),
        [("broken-python", ["python3", "--version"], 1), ("failing-entrypoint", ["true"], 64)],
    )
    def test_a_variant_fails_as_its_name_says(self, engine, image, variant, command, code):
        with pytest.raises(ContainerError) as failure:
            run(engine, image(variant), *command)
        assert failure.value.exit_status == code

    def test_the_shell_is_really_gone(self, engine, image):
        with pytest.raises(docker.errors.APIError, match="no such file"):
            run(engine, image("no-shell"), "/bin/sh", "-c", "true")

    def test_a_changed_text_is_built_anew_and_the_same_is_not(self, engine, base_image_name, store):
        name, client = f"{store}:latest", docker.DockerClient(base_url=engine)

        def build(value: str) -> str:
            text = f"FROM {base_image_name}\nLABEL {LABEL}={store}\nENV VALUE={value}\n"
            return client.images.get(images.build(name, text)).id

        one = build("1")
        assert build("1") == one
        assert build("2") != one
        client.close()


@pytest.mark.needs("docker")
class TestLeaks:
    def test_what_carries_the_label_of_a_volume_is_found_and_goes(self, engine, base_image_name, leaks):
        name, client = new_volume(), docker.DockerClient(base_url=engine)
        labels = {LABEL: name}
        client.volumes.create(name, labels=labels)
        client.networks.create(name, labels=labels)
        container = client.containers.run(base_image_name, FOREVER, name=f"{name}-run", labels=labels, detach=True)
        container.commit(repository=name, tag="latest")
        found = leaks.found(name)
        of_this_process = leaks.found(own_prefix())
        assert all(set(names) <= set(vars(of_this_process)[kind]) for kind, names in vars(found).items())
        assert (found.containers, found.volumes, found.networks) == ([f"{name}-run"], [name], [name])
        assert found.images == [f"{name}:latest"]
        leaks.remove(found)
        assert not leaks.found(name)
        client.close()

    def test_what_another_living_process_made_is_not_swept_and_what_a_dead_one_made_is(self, engine, leaks):
        script = (
            "import sys, docker; from tests.docker.leaks import new_volume; name = new_volume();"
            "docker.from_env().volumes.create(name); print(name, flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            name = other.stdout.readline().strip()
            leaks.sweep()
            assert leaks.found(name).volumes == [name]
            other.kill()
        leaks.sweep()
        assert not leaks.found(name)


@pytest.mark.slow
@pytest.mark.needs("private engine")
class TestPrivateEngine:
    def test_it_has_what_it_was_given_and_nothing_of_the_machines_engine(self, engine, own, base_image_name):
        client = own.client()
        assert [tag for one in client.images.list() for tag in one.tags] == [base_image_name]
        assert client.info()["ID"] != docker.DockerClient(base_url=engine).info()["ID"]
        client.close()
        assert run(own.url, base_image_name, "echo", "in", network="none") == "in"

    def test_it_reaches_the_network_of_the_machine(self, own, base_image_name):
        here = run(own.url, base_image_name, "readlink", "/proc/self/ns/net", network=index.NETWORK)
        assert here == str(Path("/proc/self/ns/net").readlink())

    def test_it_leaves_the_bridge_of_the_machines_engine_alone(self, engine, own, base_image_name):
        assert run(engine, base_image_name, "echo", "in", network="bridge") == "in"
        assert run(own.url, base_image_name, "echo", "in", network="bridge") == "in"

    def test_containers_outlive_a_kill_until_the_next_start(self, own, base_image_name):
        container = detached(own, base_image_name)
        own.kill()
        assert any(process.name == "sleep" for process in own.processes())
        assert docker_engine.why_missing(own.url)
        own.start()
        assert status(own, container) == "exited"

    def test_containers_outlive_restarts_with_live_restore(self, base_image_name):
        with PrivateEngine(load=[base_image_name], live_restore=True) as own:
            container = detached(own, base_image_name)
            own.restart()
            assert status(own, container) == "running"
            own.kill()
            own.start()
            assert status(own, container) == "running"

    def test_a_crash_ends_all(self, own, base_image_name):
        container = detached(own, base_image_name)
        own.crash()
        assert own.processes() == []
        own.start()
        assert status(own, container) == "exited"

    def test_a_frozen_one_lets_in_and_does_not_answer(self, own):
        own.freeze()
        with pytest.raises(docker_engine.DockerEngineError, match="did not answer"):
            docker_engine.ask("version", at=own.url, timeout=1)
        own.thaw()
        assert docker_engine.why_missing(own.url) is None

    def test_a_port_lets_in_whom_its_authority_knows(self, monkeypatch):
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # for requests they go before what a client is given
            monkeypatch.delenv(name, raising=False)
        with PrivateEngine(tls=True) as own:
            files = own.certificates
            known = docker.tls.TLSConfig(
                client_cert=(str(files.cert), str(files.key)), ca_cert=str(files.ca), verify=True
            )
            client = docker.DockerClient(base_url=own.tcp_url, tls=known)
            assert client.ping()
            client.close()
            stranger = docker.tls.TLSConfig(ca_cert=str(files.ca), verify=True)
            with pytest.raises((docker.errors.DockerException, OSError)):
                docker.DockerClient(base_url=own.tcp_url, tls=stranger)

    def test_nothing_is_left_of_a_removed_one(self, base_image_name):
        with PrivateEngine(load=[base_image_name]) as own:
            client = own.client()
            network = client.networks.create("own")
            client.containers.run(base_image_name, FOREVER, detach=True, network=network.name)
            client.close()
            assert len(left_of(own.name)) > 1
            bridge = Path("/sys/class/net", f"br-{network.id[:12]}")
            assert bridge.exists()
        assert left_of(own.name) == []
        assert not bridge.exists()

    def test_the_next_test_run_removes_what_a_killed_one_left(self, base_image_name):
        script = (
            "import sys; from tests.docker.engine import PrivateEngine; own = PrivateEngine(load=[sys.argv[1]]);"
            "own.client().containers.run(sys.argv[1], ['sleep', 'infinity'], detach=True, network='none');"
            "print(own.name, flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", script, base_image_name]
        with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            name = other.stdout.readline().strip()
            sweep()
            before = left_of(name)
            other.kill()
        assert any("sleep" in line for line in before)
        sweep()
        assert left_of(name) == []


@pytest.mark.slow
@pytest.mark.needs("private engine", "sshd", "another user")
class TestDockerVm:
    def dial(self, machine: DockerVm) -> str:
        """Return what the engine answers to a ping through its own command on the other machine."""
        command = machine.sshd.host.ssh("docker system dial-stdio")
        request = "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
        return subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=PATIENCE_S, check=True
        ).stdout

    def test_the_users_docker_command_leads_to_this_engine_alone_after_a_restart_too(self, fresh_docker_vm):
        assert self.dial(fresh_docker_vm).endswith("OK")
        fresh_docker_vm.engine.restart()
        assert self.dial(fresh_docker_vm).endswith("OK")
        self.check_the_user(fresh_docker_vm)

    def check_the_user(self, machine: DockerVm) -> None:
        said = machine.sshd.run("sh", "-c", "docker --host unix:///var/run/docker.sock version 2>&1; id -u").decode()
        assert "permission denied" in said
        assert not said.endswith("\n0\n")


#: On a machine that shows nothing of its own engine: neither its socket, nor its data, nor its network.
ALONE = """
set -e
mount -t tmpfs none /run
mount -t tmpfs none /var/lib/docker
ip link set lo up
started=$("$0" -m scripts.docker_engine)
again=$("$0" -m scripts.docker_engine)
docker version --format '{{.Server.Os}}'
echo "again: $again."
"$0" -m scripts.docker_engine stop "$started"
docker version 2>&1 | grep -c 'Is the docker daemon running'
"""


@pytest.mark.slow
@pytest.mark.needs("private engine", "network namespace")
def test_where_no_engine_answers_one_is_started_once_and_can_be_stopped(monkeypatch):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    Path("/var/lib/docker").mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--mount", "--net", "sh", "-c", ALONE, sys.executable]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["linux", "again: .", "1"]


def test_a_store_has_a_name_of_its_own_that_tells_whose_it_is():
    one, other = new_volume(), new_volume()
    assert one != other
    assert one.startswith(own_prefix())
    assert other.startswith(own_prefix())
