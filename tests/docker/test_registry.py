"""A registry answers yes or no, or it does not: on a real engine, with a real registry and servers that are none."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.targets.docker.engine import Engine
from airflow_provider.scriptrun.targets.docker.images import Images
from airflow_provider.scriptrun.targets.docker.opening import dial
from airflow_provider.scriptrun.targets.docker.registry import Registries, host_of, own_login
from airflow_provider.scriptrun.targets.docker.registry_answers import Answer, Obstacle
from airflow_provider.scriptrun.targets.docker.settings import DockerConnection, Registry
from tests.docker.engine import PrivateEngine
from tests.docker.leaks import Leaks
from tests.docker.registry import PASSWORD, USER, ImageRegistry, answering, falling_silent, small_image

pytestmark = pytest.mark.needs("docker", "image registry")

AT_ONCE = 4


@pytest.fixture
def own_engine(engine: str) -> Iterator[Engine]:
    opened = Engine(dial(DockerConnection("engine", url=engine), AirflowSurroundings()))
    yield opened
    opened.close()


@pytest.fixture
def login(image_registry: ImageRegistry) -> Registry:
    return Registry(image_registry.address, USER, PASSWORD)


@pytest.fixture
def registries(own_engine: Engine, login: Registry) -> Registries:
    return Registries(own_engine, login, shares=True)


@pytest.fixture
def repository() -> str:
    """A name that no other test has in the registry."""
    return f"team/{secrets.token_hex(4)}"


@pytest.fixture
def published(
    registries: Registries, login: Registry, repository: str, store: str, docker_client: docker.DockerClient
) -> str:
    """The name of an image that the registry has, and the engine has not."""
    name = f"{login.address}/{repository}:1"
    forget(docker_client, publish(registries, store, name))
    return name


def publish(registries: Registries, store: str, name: str, platform: str = "linux/amd64") -> str:
    """Publish an image that nobody else has; return its id."""
    image = small_image(store, secrets.token_hex(8), platform)
    registries.publish(image, name)
    return image


def forget(docker_client: docker.DockerClient, image: str) -> None:
    """Remove an image with all its names from the engine."""
    docker_client.images.remove(image, force=True)


class TestWhetherItIsThere:
    def test_an_image_is_there_or_not(self, registries: Registries, published: str) -> None:
        found = registries.look(published)
        assert found.answer is Answer.YES
        assert (found.digest or "").startswith("sha256:")
        assert registries.look(f"{published.rpartition(':')[0]}@{found.digest}").answer is Answer.YES
        assert registries.look(f"{published}2").answer is Answer.NO
        assert registries.look(f"{published.rpartition('/')[0]}/no-such-repository:1").answer is Answer.NO

    @pytest.mark.parametrize("password", ["wrong-pw-1234", None])
    def test_without_the_right_login_nobody_can_tell(
        self, own_engine: Engine, published: str, login: Registry, password: str | None
    ) -> None:
        wrong = Registry(login.address, USER if password else None, password)
        for found in (Registries(own_engine, wrong).look(published), Registries(own_engine, wrong).fetch(published)):
            assert (found.answer, found.obstacle) == (Answer.UNKNOWN, Obstacle.REFUSED)
            assert "wrong-pw-1234" not in f"{found!r} {wrong!r}"

    def test_what_the_workers_user_is_logged_in_to_is_not_used(
        self, own_engine: Engine, published: str, login: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        auth = {"auth": b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {login.address: auth}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        assert Registries(own_engine, None).look(published).obstacle is Obstacle.REFUSED

    @pytest.mark.parametrize(("status", "body"), [(500, b"broken"), (503, b"later"), (200, b"<html>"), (404, b"no")])
    def test_a_server_that_makes_no_sense_has_not_said_no(
        self, registries: Registries, status: int, body: bytes
    ) -> None:
        with answering(status, body) as address:
            for found in (registries.look(f"{address}/team/x:1"), registries.fetch(f"{address}/team/x:1")):
                assert (found.answer, found.obstacle) == (Answer.UNKNOWN, Obstacle.FAILING)

    def test_a_registry_that_is_away_has_not_said_no(
        self, own_engine: Engine, store: str, tmp_path: Path, docker_client: docker.DockerClient
    ) -> None:
        away = ImageRegistry(tmp_path / "registry")
        try:
            registries = Registries(own_engine, Registry(away.address, USER, PASSWORD))
            name = f"{away.address}/team/x:1"
            image = publish(registries, store, name)
            away.stop()
            for found in (registries.look(name), registries.fetch(name), registries.admits()):
                assert found is not None
                assert (found.answer, found.obstacle) == (Answer.UNKNOWN, Obstacle.UNREACHABLE)
            with pytest.raises(TargetUnreachableError, match="cannot be published"):
                registries.publish(image, name)
            away.start()
            assert registries.look(name).answer is Answer.YES
            forget(docker_client, image)
            away.spoil()
            found = registries.fetch(name)  # this error comes behind HTTP 200, among the lines of progress
            assert (found.answer, found.obstacle) == (Answer.UNKNOWN, Obstacle.FAILING), found
            assert found.why
        finally:
            away.remove()

    @pytest.mark.parametrize("shows_images", [False, True])
    def test_a_registry_that_falls_silent_is_not_waited_for(
        self, own_engine: Engine, store: str, shows_images: bool
    ) -> None:
        registries, image = Registries(own_engine, None, answer_s=1, stall_s=1), small_image(store, "silent")
        with falling_silent(shows_images=shows_images) as address:
            if not shows_images:
                assert registries.look(f"{address}/team/x:1").obstacle is Obstacle.UNREACHABLE
            found = registries.fetch(f"{address}/team/x:1")
            assert (found.answer, found.obstacle) == (Answer.UNKNOWN, Obstacle.UNREACHABLE)
            assert "no answer for 1 s" in found.why
            with pytest.raises(TargetUnreachableError, match=r"cannot be published.*no answer for 1 s"):
                registries.publish(image, f"{address}/team/x:1")

    def test_an_engine_that_is_away_is_an_error_of_its_own(self, tmp_path: Path) -> None:
        nowhere = DockerConnection("engine", url=f"unix://{tmp_path}/no.sock")
        registries = Registries(Engine(dial(nowhere, AirflowSurroundings())), None)
        with pytest.raises(TargetUnreachableError, match=r"no\.sock"):
            registries.look("busybox:1")


class TestWhetherItLetsUsIn:
    def test_the_right_login_does(self, registries: Registries) -> None:
        found = registries.admits()
        assert found is not None
        assert found.answer is Answer.YES

    @pytest.mark.parametrize("password", ["wrong-pw-1234", None])
    def test_a_wrong_one_and_none_do_not(self, own_engine: Engine, login: Registry, password: str | None) -> None:
        found = Registries(own_engine, Registry(login.address, USER if password else None, password)).admits()
        assert found is not None
        assert (found.answer, found.obstacle) == (Answer.NO, Obstacle.REFUSED)
        assert "wrong-pw-1234" not in repr(found)

    @pytest.mark.parametrize("user", [USER, None])
    def test_a_server_that_makes_no_sense_has_not_said(self, own_engine: Engine, user: str | None) -> None:
        with answering(200, b"<html>") as address:
            found = Registries(own_engine, Registry(address, user, PASSWORD if user else None)).admits()
        assert found is not None
        assert (found.answer, found.obstacle) == (Answer.UNKNOWN, Obstacle.FAILING)

    def test_without_a_registry_there_is_nothing_to_say(self, own_engine: Engine) -> None:
        assert Registries(own_engine, None).admits() is None


class TestFetching:
    def test_an_image_is_fetched_by_its_tag_and_by_its_digest(
        self, registries: Registries, published: str, docker_client: docker.DockerClient
    ) -> None:
        first = registries.fetch(published)
        assert first.image is not None
        assert first.image.digest == registries.look(published).digest
        for name in (f"{published.rpartition(':')[0]}@{first.digest}", f"{published}@{first.digest}"):
            forget(docker_client, first.image.id)
            again = registries.fetch(name)
            assert again.image is not None
            assert (again.image.id, again.image.digest) == (first.image.id, first.digest)

    def test_what_is_not_there_says_so(self, registries: Registries, own_engine: Engine, published: str) -> None:
        found = registries.fetch(f"{published}2")
        assert (found.answer, found.obstacle, found.image) == (Answer.NO, None, None)
        with pytest.raises(TargetRefusedError, match=r"cannot be fetched.*manifest unknown.*Is the name right"):
            Images(own_engine, registries).get(f"{published}2")

    def test_a_platform_is_fetched_and_another_one_is_not_taken_for_it(
        self, registries: Registries, own_engine: Engine, image_registry: ImageRegistry, login: Registry,
        repository: str, store: str, docker_client: docker.DockerClient,
    ) -> None:  # fmt: skip
        name, images = f"{login.address}/{repository}", Images(own_engine, registries)
        for platform in ("amd64", "arm64"):
            forget(docker_client, publish(registries, store, f"{name}:{platform}", f"linux/{platform}"))
        image_registry.put_list(repository, "all", {f"linux/{one}": one for one in ("amd64", "arm64")})
        for platform in ("linux/arm64", "linux/x86_64", "linux/arm64"):  # whatever the engine has of the name by then
            assert images.get(f"{name}:all", platform=platform).is_for(platform)
        with pytest.raises(TargetRefusedError, match=r"arm64.*cannot be fetched.*linux/(arm64|amd64)"):
            images.get(f"{name}:arm64", platform="linux/amd64")

    def test_an_environments_own_login_beats_the_connections(
        self, own_engine: Engine, published: str, login: Registry
    ) -> None:
        wrong = Registries(own_engine, Registry(login.address, USER, "wrong-pw-1234"))
        plan = {"registry": {"address": login.address, "username": USER, "secret": "ITS_PASSWORD"}}
        own = own_login(plan, {"ITS_PASSWORD": PASSWORD, "OTHER": "x"})
        assert PASSWORD not in repr(own)
        assert wrong.fetch(published).obstacle is Obstacle.REFUSED
        assert wrong.fetch(published, own).answer is Answer.YES
        assert own_login(None, {}) is own_login({"registry": None}, {}) is None


class TestPublishing:
    def test_a_registry_that_refuses_says_so_without_the_password(
        self, own_engine: Engine, login: Registry, store: str
    ) -> None:
        image = small_image(store, "refused")
        for wrong in (Registry(login.address, USER, "wrong-pw-1234"), Registry(login.address)):
            with pytest.raises(TargetRefusedError, match="cannot be published") as refused:
                Registries(own_engine, wrong).publish(image, f"{login.address}/team/refused:1")
            assert "wrong-pw-1234" not in f"{refused.value!s} {refused.value!r}"

    def test_what_is_no_image_cannot_be_published(self, registries: Registries, login: Registry) -> None:
        with pytest.raises(TargetRefusedError, match="cannot be published"):
            registries.publish("no-such-image:1", f"{login.address}/team/none:1")


class TestSharing:
    def test_an_environments_image_is_published_and_fetched_by_as_many_as_want_it(
        self, registries: Registries, image_registry: ImageRegistry, store: str, docker_client: docker.DockerClient
    ) -> None:
        tag = f"{store}/environment:{secrets.token_hex(32)}"
        name = registries.shared_name(tag)
        assert name == f"{image_registry.address}/{store}-environment:{tag.rpartition(':')[2]}"
        assert registries.fetch_shared(tag).answer is Answer.NO
        image = small_image(store, secrets.token_hex(8))
        docker_client.images.get(image).tag(*tag.split(":"))
        registries.publish_shared(tag)
        assert image_registry.tags(f"{store}-environment") == [tag.rpartition(":")[2]]
        assert docker_client.images.get(image).tags == [tag]
        forget(docker_client, image)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for found in pool.map(lambda _: registries.fetch_shared(tag), range(AT_ONCE)):
                assert found.answer is Answer.YES, found
                assert found.image is not None
                assert (found.image.name, found.image.id) == (tag, image)
        assert docker_client.images.get(image).tags == [tag]

    def test_a_registry_that_cannot_share_is_told_from_one_that_has_nothing(
        self, own_engine: Engine, login: Registry, store: str, docker_client: docker.DockerClient
    ) -> None:
        tag = f"{store}/environment:1"
        docker_client.images.get(small_image(store, "unshared")).tag(*tag.split(":"))
        refused = Registries(own_engine, Registry(login.address, USER, "wrong-pw-1234"), shares=True)
        assert refused.fetch_shared(tag).obstacle is Obstacle.REFUSED
        with pytest.raises(TargetRefusedError, match="cannot be published"):
            refused.publish_shared(tag)
        assert docker_client.images.get(tag).tags == [tag]

    def test_a_registry_for_everybody_needs_no_login(
        self, own_engine: Engine, store: str, docker_client: docker.DockerClient, tmp_path: Path
    ) -> None:
        everybodys = ImageRegistry(tmp_path / "registry", is_open=True)
        try:
            registries = Registries(own_engine, Registry(everybodys.address), shares=True)
            admitted = registries.admits()
            assert admitted is not None
            assert admitted.answer is Answer.YES
            tag = f"{store}/environment:1"
            image = small_image(store, secrets.token_hex(8))
            docker_client.images.get(image).tag(*tag.split(":"))
            registries.publish_shared(tag)
            forget(docker_client, image)
            assert registries.fetch_shared(tag).answer is Answer.YES
        finally:
            everybodys.remove()

    @pytest.mark.parametrize(
        ("registry", "shares"),
        [(None, True), (Registry("docker.io", "me", "pw"), True), (Registry("r.example.com"), False)],
    )
    def test_not_every_connection_shares(self, own_engine: Engine, registry: Registry | None, shares: bool) -> None:
        registries = Registries(own_engine, registry, shares=shares)
        assert registries.shared_name("scriptrun/environment:1") is None
        assert registries.fetch_shared("scriptrun/environment:1").answer is Answer.NO
        registries.publish_shared("scriptrun/environment:1")

    @pytest.mark.slow
    @pytest.mark.needs("private engine")
    def test_what_one_engine_has_published_another_one_fetches(
        self, registries: Registries, login: Registry, store: str, docker_client: docker.DockerClient, tmp_path: Path
    ) -> None:
        tag = f"{store}/environment:{secrets.token_hex(32)}"
        image = small_image(store, secrets.token_hex(8))
        docker_client.images.get(image).tag(*tag.split(":"))
        registries.publish_shared(tag)
        with PrivateEngine() as machine:
            other = Engine(dial(DockerConnection("other", url=machine.url), AirflowSurroundings()))
            found = Registries(other, login, shares=True).fetch_shared(tag)
            assert found.image is not None
            assert found.image.id == image
            self.check_that_tls_is_missed(other, machine, tmp_path)
            leaks = Leaks(machine.url)
            assert leaks.found(store).images == [tag]
            leaks.close()
            other.close()

    def check_that_tls_is_missed(self, other: Engine, machine: PrivateEngine, folder: Path) -> None:
        """Without TLS, an engine accepts a registry of its own machine and no other."""
        plain = ImageRegistry(folder / "plain", host=machine.gateway)
        try:
            found = Registries(other, None).look(f"{plain.address}/team/x:1")
        finally:
            plain.remove()
        assert (found.answer, found.obstacle) == (Answer.UNKNOWN, Obstacle.TLS)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("busybox", "docker.io"),
        ("team/x:1", "docker.io"),
        ("docker.io/team/x", "docker.io"),
        ("index.docker.io/team/x", "docker.io"),
        ("localhost/x", "localhost"),
        ("r.example.com/team/x@sha256:1", "r.example.com"),
        ("r:5000/x", "r:5000"),
    ],
)
def test_an_images_name_leads_to_a_registry(name: str, host: str) -> None:
    assert host_of(name) == host
