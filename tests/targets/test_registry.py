from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider.scriptrun.errors import ConfigurationError, NotSupportedError, OtherHostError
from airflow_provider.scriptrun.runs.settings import Settings
from airflow_provider.scriptrun.runs.surroundings import ConnectionFields
from airflow_provider.scriptrun.targets import registry
from airflow_provider.scriptrun.targets.contract import Handle
from airflow_provider.scriptrun.targets.local import LocalTarget
from airflow_provider.scriptrun.targets.registry import open_handle, open_target


@dataclass
class Surroundings:
    """Settings and connections of a test."""

    settings: Settings = field(default_factory=lambda: Settings(local_root="/root/of/settings"))
    connections: dict[str, ConnectionFields] = field(default_factory=dict)

    def connection(self, connection_id: str) -> ConnectionFields:
        try:
            return self.connections[connection_id]
        except KeyError:
            raise ConfigurationError(f"set AIRFLOW_CONN_{connection_id.upper()}") from None

    def mask(self, secret: str) -> None:
        raise AssertionError("there is no secret")


def with_connection(kind: str = "scriptrun_local", **extra: Any) -> Surroundings:
    return Surroundings(connections={"vm": ConnectionFields("vm", kind, extra=extra)})


def test_local_needs_no_connection():
    target = open_target("local", Surroundings())
    assert isinstance(target, LocalTarget)
    assert (target.name, target.target_type, target.root) == ("local", "local", "/root/of/settings")


def test_a_connection_of_type_local_has_its_own_root_and_limits():
    target = open_target("vm", with_connection(root="/another", max_runs=3))
    assert (target.name, target.root, target.max_runs) == ("vm", "/another", 3)
    assert open_target("vm", with_connection()).root == "/root/of/settings"
    assert open_target("vm", with_connection(max_runs="4")).max_runs == 4
    assert open_target("vm", with_connection(max_runs=0)).max_runs is None


@pytest.mark.parametrize(
    "extra",
    [
        {"root": 5},
        {"root": "relative"},
        {"interpreter": ["python"]},
        {"max_runs": -1},
        {"max_runs": "many"},
        {"max_runs": True},
        {"environment_variables": "not JSON"},
        {"environment_variables": ["A"]},
        {"environment_variables": {"A": 1}},
    ],
    ids=str,
)
def test_a_wrong_field_of_a_connection_is_named(extra):
    with pytest.raises(ConfigurationError, match=next(iter(extra)) if extra != {"root": "relative"} else "relative"):
        open_target("vm", with_connection(**extra))


def test_an_unknown_field_of_a_connection_is_refused_with_the_closest_name():
    with pytest.raises(ConfigurationError, match=r"'rooot' is no field of a scriptrun_local .* Did you mean root"):
        open_target("vm", with_connection(rooot="/x"))


def test_variables_of_a_connection_may_be_an_object_or_its_text():
    for value in ({"A": "1"}, '{"A": "1"}'):
        assert open_target("vm", with_connection(environment_variables=value)).variables == {"A": "1"}


def test_a_connection_that_is_not_there_names_the_variable_to_set():
    with pytest.raises(ConfigurationError, match="AIRFLOW_CONN_NOWHERE"):
        open_target("nowhere", Surroundings())


def test_the_login_to_a_registry_of_images_is_no_target_and_says_what_is():
    with pytest.raises(ConfigurationError, match=r"scriptrun_docker.*write vm into its field registry_connection"):
        open_target("vm", with_connection("docker"))


@pytest.mark.parametrize("kind", ["scriptrun_slurm", "scriptrun_spark"])
def test_a_type_that_comes_later_says_so(kind):
    with pytest.raises(NotSupportedError, match="not there yet"):
        open_target("vm", with_connection(kind))


def test_a_type_that_is_no_target_names_the_closest_that_is():
    with pytest.raises(ConfigurationError, match="Did you mean scriptrun_local"):
        open_target("vm", with_connection("scriptrun-local"))
    with pytest.raises(ConfigurationError, match="Types of compute targets are scriptrun_docker, scriptrun_local"):
        open_target("vm", with_connection("postgres"))


def test_a_target_of_ones_own_joins_by_one_call(monkeypatch):
    monkeypatch.setattr(registry, "_OPENERS", dict(registry._OPENERS))
    seen = []

    def opener(connection, surroundings, host_id, version):
        seen.append((connection.id, host_id, version))
        return LocalTarget("/own")

    registry.register("mine", opener)
    assert open_target("vm", with_connection("mine"), host_id="host").root == "/own"
    assert seen == [("vm", "host", None)]
    assert "mine" in registry.connection_types()


HANDLE = Handle("local", "vm", "host", "/another", "run", "lineage", "0.1.0-abcdefabcdef", 1)


def test_a_handle_leads_back_to_its_target():
    target = open_handle(HANDLE, with_connection(root="/another"))
    assert (target.name, target.root, target.handle("run", "lineage").host_id) == ("vm", "/another", "host")


def test_a_connection_that_now_names_another_root_is_refused():
    with pytest.raises(OtherHostError, match="/another"):
        open_handle(HANDLE, with_connection(root="/moved"))


@pytest.mark.parametrize("document", ["", "[]", "{}", "null", {"target": "local"}, {**HANDLE.document(), "run_id": 5}])
def test_what_is_no_handle_is_refused(document):
    with pytest.raises(ConfigurationError, match="no handle of a run"):
        Handle.from_document(document)


def test_a_handle_of_a_later_release_with_more_fields_is_read():
    assert Handle.from_document({**HANDLE.document(), "later": True}) == HANDLE
