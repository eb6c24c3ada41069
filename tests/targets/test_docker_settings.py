"""A scriptrun_docker connection is read strictly: what it says, or which of its fields is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.runs.surroundings import ConnectionFields
from airflow_provider.scriptrun.targets.docker import proxies
from airflow_provider.scriptrun.targets.docker.settings import (
    DEFAULT_BASE_IMAGE,
    OWN_SOCKET,
    DockerConnection,
    Registry,
    Tls,
    registry_of,
)


def read(host: str | None = None, *, port=None, login=None, password=None, **extra: Any) -> DockerConnection:
    return DockerConnection.read(
        ConnectionFields("engine", "scriptrun_docker", host, port, login, password, extra=extra)
    )


def test_an_empty_connection_is_the_workers_own_socket():
    found = read()
    assert found == DockerConnection("engine")
    assert (found.url, found.ssh_connection, found.tls, found.registry) == (OWN_SOCKET, None, None, None)
    assert (found.base_image, found.volume, found.interpreter) == (DEFAULT_BASE_IMAGE, "scriptrun", "python3")


@pytest.mark.parametrize(
    ("host", "extra", "url", "ssh_connection"),
    [
        ("unix:///run/user/1000/docker.sock", {}, "unix:///run/user/1000/docker.sock", None),
        ("/run/docker.sock", {}, "unix:///run/docker.sock", None),
        ("tcp://gpu1", {}, "tcp://gpu1:2375", None),
        ("tcp://gpu1", {"tls_verify": True}, "tcp://gpu1:2376", None),
        ("tcp://gpu1:4000/", {}, "tcp://gpu1:4000", None),
        ("tcp://[::1]:4000", {}, "tcp://[::1]:4000", None),
        ("gpu1", {"port": 4000}, "tcp://gpu1:4000", None),
        ("ssh://training_vm", {}, OWN_SOCKET, "training_vm"),
        ("ssh://training_vm", {"ssh_connection": "training_vm"}, OWN_SOCKET, "training_vm"),
        (None, {"ssh_connection": "training_vm"}, OWN_SOCKET, "training_vm"),
        ("unix:///run/d.sock", {"ssh_connection": "training_vm"}, "unix:///run/d.sock", "training_vm"),
    ],
)
def test_the_host_says_where_the_engine_is(host, extra, url, ssh_connection):
    found = read(host, **extra)
    assert (found.url, found.ssh_connection) == (url, ssh_connection)


def test_tls_is_what_its_fields_say():
    assert read("tcp://gpu1", tls_ca_file="/ca.pem").tls == Tls("/ca.pem")
    files = {"tls_cert_file": "/cert.pem", "tls_key_file": "/key.pem"}
    assert read("tcp://gpu1", **files, tls_hostname="gpu").tls == Tls(None, "/cert.pem", "/key.pem", True, "gpu")
    assert read("tcp://gpu1", **files, tls_verify="false").tls == Tls(None, "/cert.pem", "/key.pem", False)


@pytest.mark.parametrize("verify", [None, "", False, "false"])
def test_without_a_word_of_tls_there_is_none(verify):
    assert read("tcp://gpu1", tls_verify=verify).tls is None


def test_the_box_to_verify_means_nothing_for_a_socket():
    assert read(tls_verify=True).tls is None


def test_limits_are_options_of_every_container():
    found = read(network="training", cpus="1.5", memory="4g")
    assert found.limits == {"network": "training", "cpus": 1.5, "memory": 4 * 1024**3}
    assert read(cpus=2).limits == {"cpus": 2.0}


def test_proxies_are_variables_in_both_cases():
    found = read(proxies='{"http": "http://proxy:3128", "no": "localhost"}')
    assert found.proxies == {
        "HTTP_PROXY": "http://proxy:3128",
        "http_proxy": "http://proxy:3128",
        "NO_PROXY": "localhost",
        "no_proxy": "localhost",
    }


@pytest.mark.parametrize(
    ("written", "login", "bare"),
    [
        ("http://proxy:3128", None, "http://proxy:3128"),
        ("proxy:3128", None, "proxy:3128"),
        ("http://me:pw@proxy:3128/", "me:pw", "http://proxy:3128/"),
        ("http://token@proxy", "token", "http://proxy"),
        ("me:pw@proxy:3128", "me:pw", "proxy:3128"),
        ("token@proxy:3128", "token", "proxy:3128"),
        ("http://me:p@ss/w://rd@proxy", "me:p@ss/w://rd", "http://proxy"),
    ],
)
def test_a_proxy_with_credentials_is_a_secret(written, login, bare):
    found = read(proxies={"https": written, "no": "localhost"}).proxies
    assert proxies.credentials(found) == ({login} if login else set())
    assert proxies.secret(found) == ({"HTTPS_PROXY": written, "https_proxy": written} if login else {})
    both = {"HTTPS_PROXY": bare, "https_proxy": bare, "NO_PROXY": "localhost", "no_proxy": "localhost"}
    assert proxies.without_credentials(found) == both


def test_the_rest_is_taken_as_it_is():
    found = read(
        base_image="registry.example.com:5000/team/base@sha256:0123",
        volume="training-store",
        interpreter="/opt/python/bin/python3",
        max_runs="3",
        environment_variables={"A": "1"},
        index_url="https://me:pw123@mirror/simple",
        ca_file="/etc/ssl/company.pem",
    )
    assert found.base_image == "registry.example.com:5000/team/base@sha256:0123"
    assert (found.volume, found.interpreter, found.max_runs) == ("training-store", "/opt/python/bin/python3", 3)
    assert (found.variables, found.ca_file) == ({"A": "1"}, "/etc/ssl/company.pem")
    assert found.index_url == "https://me:pw123@mirror/simple"


def test_login_and_password_are_the_registrys():
    found = read(registry="https://registry.example.com:5000/team/", login="robot", password="hunter2")
    assert found.registry == Registry("registry.example.com:5000/team", "robot", "hunter2")
    assert found.registry.host == "registry.example.com:5000"
    assert read(login="robot", password="hunter2").registry == Registry("docker.io", "robot", "hunter2")
    assert read(registry="https://index.docker.io/v1/").registry == Registry("docker.io")


def test_environments_are_shared_in_a_registry_that_the_connection_itself_names():
    assert read(registry="r.example.com/team").shares_environments
    assert read(registry="r.example.com", share_environments="true", login="robot", password="pw").shares_environments
    assert not read(registry="r.example.com", share_environments=False).shares_environments
    assert read(registry="docker.io/team").shares_environments
    for nowhere in ({}, {"login": "robot", "password": "pw"}, {"registry": "docker.io"}):
        assert not read(**nowhere, share_environments=True).shares_environments


def test_no_secret_is_shown():
    found = read(
        registry="r.example.com",
        login="robot",
        password="hunter2",
        index_url="https://me:hunter2@mirror",
        proxies={"http": "http://me:hunter2@proxy"},
    )
    assert "hunter2" not in repr(found)


def login_connection(host: str | None = "registry.example.com", kind: str = "docker", **more: Any) -> ConnectionFields:
    return ConnectionFields("login", kind, host, login="robot", password="hunter2", **more)


def test_an_airflow_docker_connection_is_a_registrys_login():
    whole = Registry("registry.example.com", "robot", "hunter2")
    assert registry_of(login_connection()) == whole
    assert registry_of(login_connection(port=5000)).address == "registry.example.com:5000"
    assert read(registry_connection="login").whole_registry(lambda _: login_connection()) == whole
    with_path = read(registry_connection="login", registry="registry.example.com/team")
    assert with_path.whole_registry(lambda _: login_connection()) == Registry(
        "registry.example.com/team", "robot", "hunter2"
    )
    assert read().whole_registry(lambda _: pytest.fail("nothing is to be looked up")) is None


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        (login_connection(kind="ssh"), "engine: its registry_connection login is of type 'ssh', and not docker"),
        (login_connection(host=None), "login names no registry"),
        (login_connection(host="other.example.com"), "registry is registry.example.com, and its registry_connection"),
    ],
)
def test_a_login_that_does_not_fit_is_refused(connection, words):
    found = read(registry_connection="login", registry="registry.example.com")
    with pytest.raises(ConfigurationError) as caught:
        found.whole_registry(lambda _: connection)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tls_ca": "/x"}, "'tls_ca' is no field of a scriptrun_docker connection. Did you mean tls_ca_file?"),
        ({"host": "http://gpu1"}, "host is 'http://gpu1', which is no Docker engine's address"),
        ({"host": "unix://run/docker.sock"}, "Three slashes"),
        ({"host": "tcp://"}, "no host and port"),
        ({"host": "tcp://gpu1:many"}, "no host and port"),
        ({"host": "tcp://gpu1/x"}, "no host and port"),
        ({"host": "tcp://gpu1:1", "port": 2}, "port is 2, and host says 1"),
        ({"host": "ssh://me@gpu1"}, "an Airflow connection's id is to stand behind ssh://"),
        ({"host": "ssh://"}, "an Airflow connection's id"),
        ({"host": "ssh://a", "ssh_connection": "b"}, "Keep one"),
        ({"host": "tcp://gpu1", "ssh_connection": "vm"}, "ssh_connection leads to a socket"),
        ({"tls_ca_file": "/x"}, "tls_* fields are for an engine at tcp://"),
        ({"host": "tcp://gpu1", "tls_cert_file": "/x"}, "tls_cert_file is there without tls_key_file"),
        ({"host": "tcp://gpu1", "tls_key_file": "/x"}, "tls_key_file is there without tls_cert_file"),
        ({"host": "tcp://gpu1", "tls_verify": False, "tls_ca_file": "/x"}, "tls_verify is false, and tls_ca_file"),
        ({"host": "tcp://gpu1", "tls_verify": "maybe"}, "tls_verify must be true or false, not 'maybe'"),
        ({"registry": "r.example.com", "share_environments": "no"}, "share_environments must be true or false"),
        ({"login": "robot"}, "login is there without a password"),
        ({"password": "hunter2"}, "password is there without a login"),
        ({"login": "robot", "password": "hunter2", "registry_connection": "x"}, "Keep one of the two"),
        ({"registry": "robot:hunter2@registry"}, "registry is no registry's address"),
        ({"base_image": "my image"}, "base_image cannot be 'my image'"),
        ({"volume": "/srv/scriptrun"}, "volume cannot be '/srv/scriptrun'"),
        ({"interpreter": "bin/python"}, "interpreter cannot be 'bin/python'"),
        ({"network": "a b"}, "network cannot be 'a b'"),
        ({"cpus": "0"}, "cpus is '0', which is no number of CPUs"),
        ({"memory": "4"}, "memory is '4', that is 4 bytes"),
        ({"max_runs": -1}, "max_runs must be a number"),
        ({"proxies": {"ftp": "x"}}, "proxies has 'ftp' in it. There are http, https, no"),
        ({"proxies": "http://proxy"}, "proxies must be a JSON object"),
        ({"environment_variables": "A=1"}, "environment_variables must be a JSON object"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(given, words):
    with pytest.raises(ConfigurationError) as caught:
        read(**given)
    message = str(caught.value)
    assert message.startswith("The connection engine: ")
    assert words in message
    assert "hunter2" not in message
