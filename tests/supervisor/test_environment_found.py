"""Environments that are there already, and which Python is chosen: checked, named in every refusal, asked once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from airflow_provider.scriptrun.supervisor import environment
from airflow_provider.scriptrun.supervisor.environment import EnvironmentFailed
from airflow_provider.scriptrun.supervisor.environment import packages as environment_packages
from airflow_provider.scriptrun.supervisor.environment import python as environment_python
from airflow_provider.scriptrun.supervisor.environment import version as environment_version
from airflow_provider.scriptrun.supervisor.layout import Layout
from scripts.programs import UV
from tests.supervisor.environment_target import make_wheel, plan_of


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path / "root"))


@pytest.fixture
def venv(tmp_path):
    """A virtual environment with alpha 1.0 in it."""
    folder = tmp_path / "venv"
    wheel = make_wheel(tmp_path / "wheels", "alpha", "1.0")
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([UV, "pip", "install", "-q", "--no-index", "--python", python, wheel], check=True)
    return folder


def prepare(layout, plan, tools=None):
    return environment.prepare(layout, plan, secrets={}, tools=tools or {})


def user_managed(interpreter, **changes):
    return plan_of(kind="user_managed", interpreter=interpreter, **changes)


def test_the_default_environment_is_the_interpreter_of_the_target_and_says_what_it_was(layout):
    prepared = prepare(layout, plan_of(kind="default"))
    assert os.path.samefile(prepared.interpreter, sys.executable)
    assert prepared.python == sys.version.split()[0]
    assert (prepared.kind, prepared.reused, prepared.hold) == ("default", True, None)
    assert len(prepared.key) == 64
    assert "pytest==" in Path(prepared.packages).read_text()


def test_a_named_interpreter_is_used_with_its_own_packages(layout, venv):
    prepared = prepare(layout, user_managed(str(venv / "bin" / "python")))
    assert prepared.interpreter == str(venv / "bin" / "python")
    assert prepared.bin_dirs == [str(venv / "bin")]
    assert prepared.variables["VIRTUAL_ENV"] == str(venv)
    assert Path(prepared.packages).read_text() == "alpha==1.0\n"
    assert prepared.package_count == 1


def test_an_interpreter_is_asked_once_and_again_when_it_changes(layout, venv, monkeypatch):
    plan = user_managed(str(venv / "bin" / "python"))
    first = prepare(layout, plan)
    asked = []
    ask = environment_python._ask
    monkeypatch.setattr(environment_python, "_ask", lambda executable: asked.append(executable) or ask(executable))
    assert prepare(layout, plan) == first
    assert asked == []
    os.utime(venv / "pyvenv.cfg", ns=(1, 1))
    prepare(layout, plan)
    assert len(asked) == 1


def test_a_package_that_was_installed_since_is_in_the_list(layout, venv, tmp_path):
    plan = user_managed(str(venv / "bin" / "python"))
    prepare(layout, plan)
    wheel = make_wheel(tmp_path / "wheels", "beta", "2.0")
    subprocess.run([UV, "pip", "install", "-q", "--no-index", "--python", venv / "bin" / "python", wheel], check=True)
    assert Path(prepare(layout, plan).packages).read_text() == "alpha==1.0\nbeta==2.0\n"


def test_an_interpreter_is_found_on_the_path_of_the_target(layout, venv, monkeypatch):
    os.symlink("python", venv / "bin" / "training-python")
    monkeypatch.setenv("PATH", str(venv / "bin"), prepend=os.pathsep)
    assert prepare(layout, user_managed("training-python")).package_count == 1


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        (None, "/nowhere/python", "no interpreter /nowhere/python on the target"),
        (None, "no-such-python", "no interpreter named no-such-python on the target's PATH"),
        (None, "bin/python", "relative path"),
        (lambda path: path.mkdir(), None, "is a folder"),
        (lambda path: path.write_text("x"), None, "may not be executed"),
        (lambda path: (path.write_text("#!/bin/sh\necho hello; exit 3\n"), path.chmod(0o755)), None, "exit code 3"),
        (lambda path: (path.write_bytes(b"\x7fELF"), path.chmod(0o755)), None, "does not run"),
    ],
)
def test_an_interpreter_that_cannot_be_used_is_refused_by_name(layout, tmp_path, make, name, said):
    if make is not None:
        make(tmp_path / "thing")
    with pytest.raises(EnvironmentFailed, match=said) as caught:
        prepare(layout, user_managed(name or str(tmp_path / "thing")))
    assert caught.value.advice
    assert not caught.value.resolution


def test_an_interpreter_of_another_version_than_asked_is_refused(layout, venv):
    with pytest.raises(EnvironmentFailed, match=r"asks for ==2\.7\.\*"):
        prepare(layout, user_managed(str(venv / "bin" / "python"), python="==2.7.*"))


def test_another_python_of_the_target_is_found_for_an_environment_that_asks_for_it(
    layout, oldest_python, tmp_path, monkeypatch
):
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "alpha", "1.0")
    folder = tmp_path / "bin"
    folder.mkdir()
    os.symlink(oldest_python, folder / "python3.8")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    plan = plan_of("alpha", wheels=wheels, python="==3.8.*")
    prepared = prepare(layout, plan, {"uv": UV})
    assert prepared.python.startswith("3.8.")
    monkeypatch.setattr(subprocess, "Popen", None)
    assert prepare(layout, plan, {"uv": UV}).reused  # which Python it was is known without a process


@pytest.mark.slow
def test_a_python_that_the_target_does_not_have_is_refused_with_those_it_has(layout):
    with pytest.raises(EnvironmentFailed, match=r"asks for Python ==3\.99\.\*") as caught:
        prepare(layout, plan_of("alpha", python="==3.99.*"), {"uv": UV})
    assert sys.version.split()[0] in caught.value.message


def test_environments_do_not_depend_on_the_virtual_environment_that_the_supervisor_runs_in(layout, venv):
    code = "from airflow_provider.scriptrun.supervisor.environment.python import own_base; print(own_base().executable)"
    repository = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [venv / "bin" / "python", "-S", "-c", code], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found == os.path.realpath(sys.executable)


def test_a_copied_virtual_environment_leads_to_its_base_as_well(tmp_path):
    base = os.path.realpath(sys.executable)
    copy = tmp_path / "copy"
    (copy / "bin").mkdir(parents=True)
    shutil.copy(base, copy / "bin" / "python")
    (copy / "pyvenv.cfg").write_text(f"home = {os.path.dirname(base)}\n")
    assert os.path.dirname(environment_python.base_executable(str(copy / "bin" / "python"))) == os.path.dirname(base)


versions = st.tuples(st.just(3), st.integers(6, 15), st.integers(0, 12)).map(lambda parts: ".".join(map(str, parts)))
clauses = st.builds("{}{}".format, st.sampled_from(["==", "!=", ">=", "<=", ">", "<", "~="]), versions) | st.builds(
    "{}3.{}.*".format, st.sampled_from(["==", "!="]), st.integers(6, 15)
)


@given(versions, st.lists(clauses, min_size=1, max_size=3).map(",".join))
def test_a_python_version_satisfies_a_wish_as_packaging_says(version, wish):
    assert environment_version.satisfies(version, wish) == SpecifierSet(wish).contains(Version(version))


def test_a_wish_that_is_no_version_is_refused():
    with pytest.raises(EnvironmentFailed, match="no Python version"):
        environment_version.satisfies("3.11.1", "=>3")


def test_the_package_list_agrees_with_the_metadata_that_python_reads():
    code = (
        "import importlib.metadata as m, re;"
        "print(''.join(sorted({re.sub(r'[-_.]+', '-', d.metadata['Name']).lower() + '==' + d.version + chr(10)"
        " for d in m.distributions()})), end='')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout
    ours = environment_packages.package_list([path for path in sys.path if path.endswith("site-packages")])
    assert sorted(ours.splitlines()) == sorted(said.splitlines())


def test_old_forms_of_metadata_are_listed(tmp_path):
    (tmp_path / "six-1.0-py3.8.egg-info").write_text("x")
    (tmp_path / "numpy-1.2.3-py3.8-linux-x86_64.egg-info").mkdir()
    (tmp_path / "Flask_Thing-2.0.dist-info").mkdir()
    (tmp_path / "~broken-1.0.dist-info").mkdir()
    tree = tmp_path / "developed.egg-info"
    tree.mkdir()
    (tree / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: Developed_Thing\nVersion: 0.1\n\nbody: x\n")
    assert environment_packages.package_list([str(tmp_path)]) == (
        "developed-thing==0.1\nflask-thing==2.0\nnumpy==1.2.3\nsix==1.0\n"
    )


# conda: the programs are the seam. What stands in for them is a small script that makes a virtual environment.

FAKE_CONDA = """#!{python}
import json, os, subprocess, sys
log = os.environ["FAKE_CONDA_LOG"]
with open(log, "a") as stream:
    stream.write(json.dumps(sys.argv[1:]) + "\\n")
if "list" in sys.argv:
    print(json.dumps({{"envs": [{root!r}, {root!r} + "/envs/train"]}}))
    raise SystemExit
if os.path.exists(log + ".unreachable"):
    print("CondaHTTPError: HTTP 000 CONNECTION FAILED", file=sys.stderr)
    raise SystemExit(1)
content = json.load(open(sys.argv[sys.argv.index("--file") + 1]))
if "nothing-has-this" in content["dependencies"]:
    print("PackagesNotFoundError: The following packages are not available: nothing-has-this", file=sys.stderr)
    raise SystemExit(1)
prefix = sys.argv[sys.argv.index("--prefix") + 1]
subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
os.makedirs(prefix + "/conda-meta")
os.makedirs(prefix + "/etc/conda/activate.d")
open(prefix + "/etc/conda/activate.d/gdal.sh", "w").write('export GDAL_DATA="$CONDA_PREFIX/share/gdal"\\n')
json.dump({{"env_vars": {{"KEPT": "1"}}}}, open(prefix + "/conda-meta/state", "w"))
if os.path.exists(log + ".die"):
    os.kill(os.getppid(), 9)
"""


@pytest.fixture
def conda(tmp_path, monkeypatch):
    """A fake micromamba; returns (tools, path of the log of its calls)."""
    program = tmp_path / "micromamba"
    root = tmp_path / "conda"
    program.write_text(FAKE_CONDA.format(python=os.path.realpath(sys.executable), root=str(root)))
    program.chmod(0o755)
    log = tmp_path / "calls"
    monkeypatch.setenv("FAKE_CONDA_LOG", str(log))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return {"micromamba": str(program)}, log


def conda_plan(*packages, **changes):
    return plan_of("six", kind="conda", conda={"channels": ["conda-forge"], "packages": list(packages)}, **changes)


def calls(log):
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_conda_environment_is_built_in_place_once_and_reused(layout, conda):
    tools, log = conda
    first = prepare(layout, conda_plan("python=3.11", "gdal"), tools)
    again = prepare(layout, conda_plan("python=3.11", "gdal"), tools)
    assert (first.reused, again.reused, again.key) == (False, True, first.key)
    assert [call[:2] for call in calls(log)] == [["create", "--yes"]]
    assert first.variables == {
        "CONDA_PREFIX": layout.environment(first.key),
        "CONDA_DEFAULT_ENV": first.key,
        "GDAL_DATA": layout.environment(first.key) + "/share/gdal",
        "KEPT": "1",
    }
    assert again.variables == first.variables


def test_a_conda_environment_without_its_mark_is_built_anew(layout, conda):
    tools, log = conda
    first = prepare(layout, conda_plan("python"), tools)
    os.unlink(layout.environment_parts(first.key).complete)
    again = prepare(layout, conda_plan("python"), tools)
    assert (again.key, again.reused) == (first.key, False)
    assert len(calls(log)) == 2


def test_packages_that_conda_does_not_have_are_a_resolution_error(layout, conda):
    with pytest.raises(EnvironmentFailed, match="nothing-has-this") as caught:
        prepare(layout, conda_plan("nothing-has-this"), conda[0])
    assert caught.value.resolution


def test_an_old_conda_environment_is_used_while_its_channels_are_away(layout, conda, capfd):
    tools, log = conda
    first = prepare(layout, conda_plan("python"), tools)
    Path(f"{log}.unreachable").touch()
    prepared = prepare(layout, conda_plan("python", lock_max_age_s=0.0), tools)
    assert (prepared.key, prepared.reused) == (first.key, True)
    assert "warning" in capfd.readouterr().out


def test_a_target_without_conda_is_told_what_it_needs_by_name(layout, conda, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(EnvironmentFailed, match="neither conda nor mamba nor micromamba"):
        prepare(layout, conda_plan("python", "gdal"))


def test_an_existing_conda_environment_without_conda_is_an_error_about_that_environment(layout, conda, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(EnvironmentFailed, match=r"conda environment train cannot be found: .* neither conda nor"):
        prepare(layout, plan_of(kind="existing_conda", conda={"environment": "train"}))


def test_a_program_that_is_no_python_is_refused_without_our_own_question_to_it(layout):
    with pytest.raises(EnvironmentFailed) as caught:
        prepare(layout, plan_of(kind="user_managed", interpreter="/bin/ls"))
    assert "/bin/ls does not behave as a Python 3 interpreter (exit code 2)" in str(caught.value)
    assert "import" not in str(caught.value)


def test_an_existing_conda_environment_is_found_by_the_list_of_conda(layout, conda, venv, tmp_path):
    tools, log = conda
    prefix = tmp_path / "conda" / "envs" / "train"
    prefix.parent.mkdir(parents=True)
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, prefix], check=True)
    (prefix / "conda-meta").mkdir()
    plan = plan_of(kind="existing_conda", conda={"environment": "train"})
    prepared = prepare(layout, plan, tools)
    assert prepared.interpreter == str(prefix / "bin" / "python")
    assert prepared.variables["CONDA_PREFIX"] == str(prefix)
    assert (
        prepare(layout, plan_of(kind="existing_conda", conda={"environment": str(prefix)}), tools).key == prepared.key
    )
    with pytest.raises(EnvironmentFailed, match="no conda environment named other; conda env list shows: train"):
        prepare(layout, plan_of(kind="existing_conda", conda={"environment": "other"}), tools)
    registry = Path(os.environ["HOME"], ".conda", "environments.txt")
    registry.parent.mkdir(parents=True)
    registry.write_text(f"{prefix}\n")
    asked = len(calls(log))
    assert prepare(layout, plan, tools).key == prepared.key
    assert len(calls(log)) == asked
