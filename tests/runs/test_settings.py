from __future__ import annotations

import pytest

from airflow_provider.scriptrun.errors import ConfigurationError
from airflow_provider.scriptrun.runs import surroundings
from airflow_provider.scriptrun.runs.settings import Settings, options


def test_what_is_not_set_has_its_default():
    assert Settings.read(lambda _name: None) == Settings()
    assert Settings.read(lambda _name: " ") == Settings()


def test_the_default_of_each_option_is_read_back_as_itself():
    table = {option.name: str(option.default) for option in options()}
    assert Settings.read(table.get) == Settings()


def test_every_option_says_what_it_is_for():
    for option in options():
        assert option.description.endswith(".")
        assert option.type in ("string", "integer", "float", "boolean")


def test_what_is_set_is_taken_with_its_type():
    settings = Settings.read({"local_max_runs": "4", "poll_wait_seconds": "0.5", "workspace": "s3://a/b"}.get)
    assert (settings.local_max_runs, settings.poll_wait_seconds, settings.workspace) == (4, 0.5, "s3://a/b")


@pytest.mark.parametrize(("name", "text"), [("local_max_runs", "x"), ("local_max_runs", "1.5"),
    ("snapshot_max_bytes", "-1"), ("poll_wait_seconds", "nan"), ("poll_wait_seconds", "inf")])  # fmt: skip
def test_a_wrong_number_is_refused_by_name(name, text):
    with pytest.raises(ConfigurationError, match=rf"\[scriptrun\] {name} = '{text}'"):
        Settings.read({name: text}.get)


def test_storage_options_are_a_json_object():
    assert Settings(workspace_options='{"a": 1}').storage_options == {"a": 1}
    assert Settings().storage_options == {}
    for wrong in ("{", "[]"):
        with pytest.raises(ConfigurationError, match="workspace_options"):
            _ = Settings(workspace_options=wrong).storage_options


def test_surroundings_are_found_when_they_are_asked_for(monkeypatch):
    class Found:
        pass

    monkeypatch.setattr(surroundings, "DEFAULT", f"{__name__}:Found")
    monkeypatch.setitem(__import__("sys").modules, __name__, type("Module", (), {"Found": Found}))
    previous = surroundings.use(None)
    try:
        found = surroundings.current()
        assert isinstance(found, Found)
        assert surroundings.current() is found
        monkeypatch.setattr(surroundings, "DEFAULT", "there.is.no.such.module:X")
        surroundings.use(None)
        with pytest.raises(ConfigurationError, match="apache-airflow"):
            surroundings.current()
    finally:
        surroundings.use(previous)
