"""An SSH connection is read as the SSH provider reads it, and wrong fields are named before anything dials."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import paramiko
import pytest

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.get_provider_info import get_provider_info
from airflow_provider.scriptrun.hooks.surroundings import AirflowSurroundings
from airflow_provider.scriptrun.targets.registry import SSH_FIELDS, open_target
from airflow_provider.scriptrun.targets.ssh import SshTarget


def private_key(passphrase: str | None = None) -> str:
    text = io.StringIO()
    paramiko.ECDSAKey.generate().write_private_key(text, password=passphrase)
    return text.getvalue()


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AirflowSurroundings:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path}/not_there.db")
    return AirflowSurroundings(tmp_path)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    def define(
        name: str = "vm", kind: str = "scriptrun_ssh", extra: dict[str, Any] | None = None, **fields: Any
    ) -> str:
        document = {"conn_type": kind, "host": "gpu1", "login": "me", "extra": extra or {}, **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(document))
        return name

    return define


def test_both_types_of_connection_name_a_host(surroundings: AirflowSurroundings, connect: Any) -> None:
    for kind in ("scriptrun_ssh", "ssh"):
        with open_target(
            connect(kind=kind, extra={"root": "/data/", "max_runs": 2}, port=2222), surroundings
        ) as target:
            assert isinstance(target, SshTarget)
            assert (target.name, target.target_type, target.root, target.max_runs) == ("vm", "ssh", "/data", 2)
        assert surroundings.ssh("vm").host == "me@gpu1:2222"


def test_an_ssh_connection_may_hold_whatever_is_for_others(surroundings: AirflowSurroundings, connect: Any) -> None:
    extra = {"something_else": "1", "compress": "true", "cmd_timeout": "5"}
    open_target(connect(kind="ssh", extra=extra), surroundings).close()
    with pytest.raises(ConfigurationError, match="'something_else' is no field of a scriptrun_ssh connection"):
        open_target(connect(extra=extra), surroundings)


def test_the_form_has_every_field_that_is_read() -> None:
    (form,) = (kind for kind in get_provider_info()["connection-types"] if kind["connection-type"] == "scriptrun_ssh")
    assert set(form["conn-fields"]) == set(SSH_FIELDS)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"root": "relative"}, "root is 'relative', which is no absolute path"),
        ({"root": "/a\nb"}, "no absolute path"),
        ({"private_key": "nonsense"}, "cannot be used"),
        ({"key_file": "/not/there"}, "key_file /not/there cannot be read on this host"),
        ({"host_key": "ssh-dss AAAA"}, "DSA"),
        ({"host_key": "ssh-ed25519 AAAA", "no_host_key_check": True}, "cannot be used"),
        ({"keepalive_interval": "often"}, "cannot be used"),
        ({"jump_hosts": ["a"]}, "jump_hosts must be ids"),
        ({"jump_hosts": "nowhere"}, "no Airflow connection 'nowhere'"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(surroundings: AirflowSurroundings, connect: Any, extra: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        open_target(connect(extra=extra), surroundings)


def test_a_connection_without_a_host_is_refused(surroundings: AirflowSurroundings, connect: Any) -> None:
    with pytest.raises(ConfigurationError, match="names no host"):
        open_target(connect(host=""), surroundings)


def test_a_key_file_and_its_passphrase_belong_together(
    surroundings: AirflowSurroundings, connect: Any, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(private_key("open sesame"))
    assert surroundings.ssh(connect(extra={"key_file": str(file), "private_key_passphrase": "open sesame"})).host
    with pytest.raises(ConfigurationError, match="passphrase"):
        surroundings.ssh(connect(extra={"key_file": str(file), "private_key_passphrase": "wrong"}))
    with pytest.raises(ConfigurationError, match="passphrase"):
        surroundings.ssh(connect(extra={"key_file": str(file)}))


def test_a_jump_host_is_an_ssh_connection(surroundings: AirflowSurroundings, connect: Any) -> None:
    connect("gate", kind="ssh")
    connect("here", kind="scriptrun_local")
    assert surroundings.ssh(connect(extra={"jump_hosts": "gate"})).host == "me@gpu1:22"
    with pytest.raises(ConfigurationError, match="its jump host here is of type 'scriptrun_local'"):
        surroundings.ssh(connect(extra={"jump_hosts": "gate, here"}))


def test_only_what_leads_the_same_way_as_the_same_user_is_shared(
    surroundings: AirflowSurroundings, connect: Any
) -> None:
    connect("gate", kind="ssh")
    first = surroundings.ssh(connect()).identity
    assert surroundings.ssh(connect("other_name")).identity == first
    for change in (
        {"login": "you"},
        {"host": "gpu2"},
        {"port": 2222},
        {"extra": {"jump_hosts": "gate"}},
        {"password": "x"},
    ):
        assert surroundings.ssh(connect(**change)).identity != first


def test_a_dialer_shows_no_secret(surroundings: AirflowSurroundings, connect: Any) -> None:
    dialer = surroundings.ssh(connect(password="hunter2-hunter2"))
    assert "hunter2" not in f"{dialer!r} {dialer.host} {dialer.identity}"
