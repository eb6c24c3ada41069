"""Preparing environments with a real uv, from wheels in a folder: built once, reused without a question, never half."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_provider.scriptrun.supervisor import environment
from airflow_provider.scriptrun.supervisor.environment import EnvironmentFailed
from airflow_provider.scriptrun.supervisor.environment import kept_lock as environment_kept_lock
from airflow_provider.scriptrun.supervisor.environment import python as environment_python
from airflow_provider.scriptrun.supervisor.environment.builders import Order, pip
from airflow_provider.scriptrun.supervisor.environment.key import recipe_key
from airflow_provider.scriptrun.supervisor.environment.python import own_base
from airflow_provider.scriptrun.supervisor.layout import Layout
from scripts.programs import UV
from tests.supervisor.environment_target import UNREACHABLE, make_wheel, plan_of, prepared_of, start_builder

pytestmark = pytest.mark.slow

TOOLS = {"uv": UV}


@pytest.fixture
def layout(tmp_path):
    layout = Layout(str(tmp_path / "root"))
    layout.make_root()
    return layout


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    make_wheel(folder, "alpha", "1.0", requires=("beta>=2",))
    make_wheel(folder, "beta", "2.0")
    make_wheel(folder, "beta", "2.5")
    return folder


@pytest.fixture(autouse=True)
def _own_uv(monkeypatch, tmp_path):
    """Keep the machine's configuration out, and do not wait for networks that are not there."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def prepare(layout, plan, **secrets):
    return environment.prepare(layout, plan, secrets=secrets, tools=TOOLS)


def imports(prepared, module):
    code = f"import {module}; print({module}.VERSION, {module}.__file__)"
    return subprocess.run([prepared.interpreter, "-c", code], capture_output=True, text=True, check=True).stdout


def tree_text(root):
    """Every byte under ``root``."""
    return b"\0".join(path.read_bytes() for path in Path(root).rglob("*") if path.is_file())


def no_drafts(layout):
    return not [name for name in os.listdir(layout.environments) if name.startswith(".tmp.")]


def test_a_new_environment_is_built_and_the_next_run_reuses_it(layout, wheels):
    first = prepare(layout, plan_of("alpha", wheels=wheels))
    again = prepare(layout, plan_of("alpha", wheels=wheels))
    assert (first.reused, first.lock_reused, again.reused, again.lock_reused) == (False, False, True, True)
    assert again == first._replace(reused=True, lock_reused=True)
    assert Path(first.packages).read_text() == "alpha==1.0\nbeta==2.5\n"
    assert first.package_count == 2
    assert imports(first, "beta").startswith("2.5 " + layout.environment(first.key))
    assert no_drafts(layout)


def test_console_scripts_and_bytecode_are_right_after_the_rename(layout, wheels):
    prepared = prepare(layout, plan_of("alpha", wheels=wheels))
    script = Path(prepared.bin_dirs[0], "alpha-say")
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == "alpha 1.0\n"
    compiled = list(Path(layout.environment(prepared.key)).rglob("alpha.*.pyc"))
    assert len(compiled) == 1
    before = compiled[0].stat().st_mtime_ns
    imports(prepared, "alpha")
    assert compiled[0].stat().st_mtime_ns == before


def test_no_process_is_started_and_nothing_asked_when_an_environment_is_reused(layout, wheels, monkeypatch):
    first = prepare(layout, plan_of("alpha", wheels=wheels))

    def refuse(*arguments, **options):
        raise AssertionError(f"a process was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "fork", refuse)
    shutil.rmtree(wheels)
    started = time.perf_counter()
    assert prepare(layout, plan_of("alpha", wheels=wheels)).key == first.key
    assert time.perf_counter() - started < 1  # the promise is 20 ms; benchmarks/environments.py measures it


def test_a_reuse_needs_no_index_but_a_new_recipe_says_that_it_cannot_be_reached(layout, wheels):
    plan = plan_of("alpha", wheels=wheels)
    plan["index"] = {"url": UNREACHABLE, "extra": [], "find_links": [], "no_index": False}
    recipe = recipe_key(plan, environment_python.own_base())
    built = prepare(layout, plan_of("alpha", wheels=wheels))
    environment_kept_lock.save(layout, recipe, environment_kept_lock.KeptLock("", built.key, time.time()))
    assert prepare(layout, plan).key == built.key
    plan["requirements"].append("gamma")
    with pytest.raises(EnvironmentFailed) as caught:
        prepare(layout, plan)
    assert not caught.value.resolution
    assert "127.0.0.1" in caught.value.message
    assert "cannot be reached" in caught.value.advice


def test_where_a_plan_wants_no_index_none_is_asked(layout, wheels, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody who asks an index gets an answer
    with pytest.raises(EnvironmentFailed) as caught:
        prepare(layout, plan_of("six", wheels=wheels))
    assert caught.value.resolution
    assert "index lookups were disabled" in caught.value.message or "package locations" in caught.value.message


def test_requirements_without_a_solution_are_a_resolution_error_with_the_last_lines_of_uv(layout, wheels):
    with pytest.raises(EnvironmentFailed) as caught:
        prepare(layout, plan_of("alpha", "beta<2", wheels=wheels))
    assert caught.value.resolution
    assert "No solution found" in caught.value.message
    assert "alpha" in caught.value.message
    assert no_drafts(layout)


def test_what_was_resolved_stays_until_its_age_passes_or_a_refresh_is_asked_for(layout, wheels):
    first = prepare(layout, plan_of("beta", wheels=wheels))
    make_wheel(wheels, "beta", "3.0")
    assert prepare(layout, plan_of("beta", wheels=wheels)).key == first.key
    refreshed = prepare(layout, plan_of("beta", wheels=wheels, refresh=True))
    assert (refreshed.reused, refreshed.lock_reused) == (False, False)
    assert Path(refreshed.packages).read_text() == "beta==3.0\n"
    assert prepare(layout, plan_of("beta", wheels=wheels)).key == refreshed.key
    make_wheel(wheels, "beta", "3.1")
    aged = prepare(layout, plan_of("beta", wheels=wheels, lock_max_age_s=0.0))
    assert Path(aged.packages).read_text() == "beta==3.1\n"


def test_what_was_resolved_may_stay_for_ever():
    kept = environment_kept_lock.KeptLock("", "", resolved_at=0.0)
    assert kept.is_fresh(None, refresh=False, now=1e12)
    assert not kept.is_fresh(None, refresh=True, now=1e12)
    assert not kept.is_fresh(1.0, refresh=False, now=1e12)


def test_a_refresh_that_resolves_to_the_same_builds_nothing(layout, wheels):
    first = prepare(layout, plan_of("beta", wheels=wheels))
    again = prepare(layout, plan_of("beta", wheels=wheels, refresh=True))
    assert (again.key, again.reused, again.lock_reused) == (first.key, True, False)


def test_an_old_lock_is_used_with_a_warning_while_the_index_is_away(layout, wheels, capfd):
    plan = plan_of("beta", lock_max_age_s=0.0)
    plan["index"]["url"] = UNREACHABLE
    built = prepare(layout, plan_of("beta", wheels=wheels))
    recipe = recipe_key(plan, environment_python.own_base())
    old = environment_kept_lock.KeptLock("beta==2.5\n", built.key, time.time() - 864_000)
    environment_kept_lock.save(layout, recipe, old)
    capfd.readouterr()
    prepared = prepare(layout, plan)
    assert (prepared.key, prepared.reused, prepared.lock_reused) == (built.key, True, True)
    assert "using what was resolved 10.0 days ago" in capfd.readouterr().out
    assert prepare(layout, plan).key == built.key
    assert capfd.readouterr().out == ""  # the index is left in peace for a while
    with pytest.raises(EnvironmentFailed):
        prepare(layout, dict(plan, delivery=dict(plan["delivery"], refresh=True)))


def test_ten_runs_that_want_the_same_new_environment_build_it_once(layout, wheels):
    plan = plan_of("alpha", wheels=wheels)
    builders = [start_builder(layout, plan, dict(os.environ)) for _ in range(10)]
    outputs = [builder.communicate()[0] for builder in builders]
    results = [prepared_of(output) for output in outputs]
    assert sum("built environment" in output for output in outputs) == 1
    assert sum("resolving" in output for output in outputs) == 1
    assert sum(not result["reused"] for result in results) == 1
    assert len({result["key"] for result in results}) == 1
    assert no_drafts(layout)


def test_whoever_waits_for_another_builder_says_so(layout, wheels):
    plan = plan_of("alpha", wheels=wheels)
    recipe = recipe_key(plan, environment_python.own_base())
    os.makedirs(layout.locks, exist_ok=True)
    with open(layout.environment_flock(recipe), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        builder = start_builder(layout, plan, dict(os.environ))
        assert builder.stdout.readline().startswith("waiting for another run that resolves")
    assert not prepared_of(builder.communicate()[0])["reused"]


@pytest.mark.crash
@pytest.mark.slow
def test_a_builder_killed_at_any_moment_leaves_nothing_that_passes_for_an_environment(layout, wheels, tmp_path):
    make_wheel(wheels, "gamma", "1.0", modules=100)
    plan = plan_of("alpha", "gamma", wheels=wheels)
    started = time.monotonic()
    builder = start_builder(Layout(str(tmp_path / "other")), plan, dict(os.environ))
    builder.communicate()
    whole = time.monotonic() - started
    for turn in range(20):
        builder = start_builder(layout, plan, dict(os.environ))
        try:
            builder.wait(whole * (0.1 + 0.04 * turn))
        except subprocess.TimeoutExpired:
            builder.send_signal(signal.SIGKILL)
        builder.communicate()
        prepared = prepare(layout, plan)
        assert Path(prepared.packages).read_text() == "alpha==1.0\nbeta==2.5\ngamma==1.0\n"
        site = Path(layout.environment(prepared.key), "lib").glob("python*/site-packages/gamma_*.py")
        assert len(list(site)) == 99
        imports(prepared, "gamma")
        assert prepared.reused or no_drafts(layout)
        shutil.rmtree(layout.environments)
        shutil.rmtree(layout.locks)


def test_a_killed_builder_takes_its_tool_with_it(layout, wheels, tmp_path):
    """The tool is the seam: a program that says its pid and waits for ever."""
    pid_file = tmp_path / "pid"
    os.mkfifo(pid_file)
    fake = tmp_path / "uv"
    fake.write_text(f"#!/bin/sh\necho $$ > {pid_file}\nexec sleep 1000\n")
    fake.chmod(0o755)
    code = (
        "import sys; from airflow_provider.scriptrun.supervisor.environment.builders.tool import run;"
        "run([sys.argv[1]], environ={'PATH': '/usr/bin:/bin'}, secrets=[])"
    )
    builder = subprocess.Popen([sys.executable, "-c", code, str(fake)])
    tool = int(pid_file.read_text())
    descriptor = os.pidfd_open(tool)
    builder.kill()
    builder.wait()
    import select

    assert select.select([descriptor], [], [], 10)[0], "the tool lives on"
    os.close(descriptor)


def test_an_environment_without_its_mark_is_built_anew(layout, wheels):
    first = prepare(layout, plan_of("alpha", wheels=wheels))
    os.unlink(layout.environment_parts(first.key).complete)
    again = prepare(layout, plan_of("alpha", wheels=wheels))
    assert (again.key, again.reused, again.lock_reused) == (first.key, False, True)
    imports(again, "alpha")


def test_an_environment_whose_interpreter_has_gone_is_built_anew(layout, wheels):
    first = prepare(layout, plan_of("alpha", wheels=wheels))
    os.unlink(first.interpreter)
    os.symlink("/nowhere/python3", first.interpreter)
    again = prepare(layout, plan_of("alpha", wheels=wheels))
    assert (again.key, again.reused) == (first.key, False)
    imports(again, "alpha")


def test_a_damaged_lock_is_resolved_again(layout, wheels):
    plan = plan_of("alpha", wheels=wheels)
    first = prepare(layout, plan)
    Path(layout.environment_lock(recipe_key(plan, environment_python.own_base()))).write_text('{"lock": 3')
    again = prepare(layout, plan)
    assert (again.key, again.reused, again.lock_reused) == (first.key, True, False)


def test_hashes_in_the_requirements_are_checked(layout, wheels):
    import hashlib

    right = hashlib.sha256((wheels / "beta-2.5-py3-none-any.whl").read_bytes()).hexdigest()
    options = {"pre": False, "require_hashes": True, "no_binary": [], "only_binary": []}
    prepared = prepare(layout, plan_of(f"beta==2.5 --hash=sha256:{right}", wheels=wheels, options=options))
    assert Path(prepared.packages).read_text() == "beta==2.5\n"
    with pytest.raises(EnvironmentFailed, match=r"[Hh]ash"):
        prepare(layout, plan_of(f"beta==2.5 --hash=sha256:{'0' * 64}", wheels=wheels, options=options))
    assert no_drafts(layout)


def test_constraints_bound_what_is_resolved(layout, wheels):
    prepared = prepare(layout, plan_of("alpha", wheels=wheels, constraints=["beta<2.5"]))
    assert Path(prepared.packages).read_text() == "alpha==1.0\nbeta==2.0\n"


def test_an_environment_without_requirements_is_an_empty_one(layout):
    prepared = prepare(layout, plan_of())
    assert Path(prepared.packages).read_text() == ""
    assert subprocess.run([prepared.interpreter, "-c", "pass"], check=True).returncode == 0


def test_a_full_disk_is_one_clear_error(layout, wheels, monkeypatch):
    from airflow_provider.scriptrun.supervisor.environment import making as environment_making

    def full(*arguments):
        raise OSError(28, "No space left on device", "packages.txt")

    monkeypatch.setattr(environment_making, "write_complete", full)
    with pytest.raises(EnvironmentFailed, match="No space left on device") as caught:
        prepare(layout, plan_of("alpha", wheels=wheels))
    assert "no space left on the target" in caught.value.advice
    assert no_drafts(layout)


def test_a_python_without_its_modules_is_told_what_to_install(layout, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named venv\nexit 1\n")
    python.chmod(0o755)
    order = Order(plan_of("alpha"), own_base(), str(python), dict(os.environ), [], str(tmp_path))
    with pytest.raises(EnvironmentFailed, match="No module named venv") as caught:
        pip.install(order, "alpha==1.0", str(tmp_path / "environment"))
    assert f"apt install python3.{sys.version_info.minor}-venv" in caught.value.advice


@pytest.mark.slow
def test_without_uv_pip_builds_an_environment_that_works(layout, wheels, monkeypatch, capfd):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    plan = plan_of("alpha", wheels=wheels)
    prepared = environment.prepare(layout, plan, secrets={}, tools={})
    assert "with pip" in capfd.readouterr().out
    assert Path(prepared.packages).read_text() == "alpha==1.0\nbeta==2.5\n"
    script = Path(prepared.bin_dirs[0], "alpha-say")
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == "alpha 1.0\n"
    assert environment.prepare(layout, plan, secrets={}, tools={}).reused
    with pytest.raises(EnvironmentFailed) as caught:
        environment.prepare(layout, plan_of("alpha", "beta<2", wheels=wheels), secrets={}, tools={})
    assert caught.value.resolution
    assert no_drafts(layout)


def test_the_oldest_python_prepares_builds_and_reuses(layout, wheels, oldest_python, tmp_path):
    from tests.supervisor.environment_target import PREPARE, REPOSITORY

    package = tmp_path / "copy" / "airflow_provider" / "scriptrun"
    shutil.copytree(REPOSITORY / "airflow_provider/scriptrun/supervisor", package / "supervisor")
    asked = {"root": layout.root, "plan": plan_of("alpha", wheels=wheels), "secrets": {}, "tools": TOOLS}
    found = []
    for _ in range(2):
        answer = subprocess.run(
            [
                oldest_python,
                "-I",
                "-S",
                "-E",
                "-c",
                f"import sys; sys.path.insert(0, {str(tmp_path / 'copy')!r})\n" + PREPARE,
            ],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr + answer.stdout
        found.append(prepared_of(answer.stdout))
    assert [one["reused"] for one in found] == [False, True]
    assert found[0]["python"].startswith("3.8.")


def test_a_plan_of_a_later_provider_is_refused_by_name(layout):
    with pytest.raises(EnvironmentFailed, match="no environment of kind 'nix'"):
        prepare(layout, plan_of(kind="nix"))
    with pytest.raises(EnvironmentFailed, match="form 2"):
        prepare(layout, plan_of(schema=2))


@pytest.mark.needs("network")
def test_packages_come_from_the_index_that_the_machine_is_configured_for(layout, monkeypatch):
    monkeypatch.delenv("UV_CACHE_DIR")
    monkeypatch.delenv("PIP_CONFIG_FILE")
    prepared = prepare(layout, plan_of("six==1.17.0"))
    assert Path(prepared.packages).read_text() == "six==1.17.0\n"
    recipe = recipe_key(plan_of("six==1.17.0"), environment_python.own_base())
    assert "--hash=sha256:" in environment_kept_lock.load(layout, recipe).lock
