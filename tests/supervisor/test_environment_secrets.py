"""Credentials of an index reach uv and nothing else: no file under the root, no argv, no log, no key."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import os
import threading
from pathlib import Path

import pytest

from airflow_provider.scriptrun.supervisor import environment
from airflow_provider.scriptrun.supervisor.environment import EnvironmentFailed
from airflow_provider.scriptrun.supervisor.environment import python as environment_python
from airflow_provider.scriptrun.supervisor.environment.builders import index as builders_index
from airflow_provider.scriptrun.supervisor.environment.builders.tool import needles_of, run, scrub
from airflow_provider.scriptrun.supervisor.environment.key import environment_key, recipe_key
from airflow_provider.scriptrun.supervisor.layout import Layout
from scripts.programs import UV
from tests.supervisor.environment_target import make_wheel, plan_of, prepared_of, start_builder

#: One of them looks at every process of the machine, another one prints what must be on no command line.
pytestmark = pytest.mark.xdist_group("environment secrets")

PASSWORD = "s3cr3t/pass word"
QUOTED = "s3cr3t%2Fpass%20word"
USER = f"me:{QUOTED}"


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index (PEP 503, folders with links) that wants Basic authorization."""

    seen: list[str] = []

    def do_GET(self) -> None:
        self.seen.append(self.path)
        wanted = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""


@pytest.fixture
def index(tmp_path):
    """Yield the address (without credentials) of an index that holds alpha 1.0 and beta 2.0."""
    for name, version, requires in (("alpha", "1.0", ("beta",)), ("beta", "2.0", ())):
        wheel = make_wheel(tmp_path / "index" / "simple" / name, name, version, requires=requires)
        (wheel.parent / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')
    Index.seen = []
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Index, directory=str(tmp_path / "index"))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path / "root"))


@pytest.fixture(autouse=True)
def _own_uv(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))


def plan_for(url, *requirements, **changes):
    index = {"url": url, "extra": [], "find_links": [], "no_index": False}
    return plan_of(*requirements, index=index, **changes)


def command_lines():
    """Every argv on this machine, now."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found.append(Path("/proc", entry, "cmdline").read_bytes())
            except OSError:
                continue
    return b"\n".join(found)


def everything_under(*folders):
    return b"\0".join(path.read_bytes() for folder in folders for path in Path(folder).rglob("*") if path.is_file())


SECRET_FORMS = [PASSWORD.encode(), QUOTED.encode(), base64.b64encode(f"me:{PASSWORD}".encode())]


def test_an_index_that_wants_a_password_is_used_and_the_password_shows_nowhere(index, layout, tmp_path):
    plan = plan_for(index, "alpha", credentials={index: {"user": "SCRIPTRUN_USER_1"}})
    builder = start_builder(layout, plan, dict(os.environ), {"SCRIPTRUN_USER_1": USER})
    seen_arguments = b""
    while builder.poll() is None:
        seen_arguments += command_lines()
    output = builder.communicate()[0]
    prepared = prepared_of(output)
    assert Path(prepared["packages"]).read_text() == "alpha==1.0\nbeta==2.0\n"
    for form in SECRET_FORMS:
        assert form not in output.encode()
        assert form not in everything_under(layout.root)
        assert form not in seen_arguments
    assert b"\0sync\0" in seen_arguments or b"\0compile\0" in seen_arguments  # the sampling did see uv


def test_an_index_that_refuses_the_password_is_said_to(index, layout, capfd):
    plan = plan_for(index, "alpha", credentials={index: {"user": "SCRIPTRUN_USER_1"}})
    with pytest.raises(EnvironmentFailed) as caught:
        environment.prepare(layout, plan, secrets={"SCRIPTRUN_USER_1": "me:wrong-password"}, tools={"uv": UV})
    assert "credentials" in caught.value.advice
    assert not caught.value.resolution
    assert "wrong-password" not in caught.value.message + capfd.readouterr().out


def test_a_package_named_by_an_address_with_a_password_is_installed_without_keeping_it(index, layout):
    wheel = f"{index}/beta/beta-2.0-py3-none-any.whl"
    plan = plan_for(index, f"beta @ {wheel}", credentials={wheel: {"user": "SCRIPTRUN_USER_2"}})
    for _ in range(2):
        builder = start_builder(layout, plan, dict(os.environ), {"SCRIPTRUN_USER_2": USER})
        output = builder.communicate()[0]
        assert Path(prepared_of(output)["packages"]).read_text() == "beta==2.0\n"
    for form in SECRET_FORMS:
        assert form not in output.encode()
        assert form not in everything_under(layout.root)


@pytest.mark.slow
def test_pip_gets_the_password_in_the_same_way(index, layout, monkeypatch, capfd):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    plan = plan_for(index, "alpha", credentials={index: {"user": "SCRIPTRUN_USER_1"}})
    prepared = environment.prepare(layout, plan, secrets={"SCRIPTRUN_USER_1": USER}, tools={})
    assert Path(prepared.packages).read_text() == "alpha==1.0\nbeta==2.0\n"
    output = capfd.readouterr().out
    assert "with pip" in output
    for form in SECRET_FORMS:
        assert form not in output.encode()
        assert form not in everything_under(layout.root)


def test_credentials_and_ages_never_change_a_key_but_everything_else_does():
    python = environment_python.own_base()
    plan = plan_for("https://mirror/simple", "alpha")
    same = json.loads(json.dumps(plan))
    same["delivery"].update(
        credentials={"https://mirror/simple": {"user": "X"}}, name="other", ca="PEM", lock_max_age_s=1.0, refresh=True
    )
    assert recipe_key(plan, python) == recipe_key(same, python)
    assert environment_key(plan, python, "alpha==1.0\n") == environment_key(same, python, "alpha==1.0\n")
    for name, value in (
        ("requirements", ["alpha", "beta"]),
        ("constraints", ["beta<2"]),
        ("python", "==3.11.*"),
        ("index", dict(plan["index"], url="https://other/simple")),
        ("index", dict(plan["index"], extra=["https://a", "https://b"])),
        ("options", dict(plan["options"], pre=True)),
    ):
        assert recipe_key(dict(plan, **{name: value}), python) != recipe_key(plan, python)
    two = dict(plan, index=dict(plan["index"], extra=["https://a", "https://b"]))
    other_order = dict(plan, index=dict(plan["index"], extra=["https://b", "https://a"]))
    assert recipe_key(two, python) != recipe_key(other_order, python)
    for change in ({"version": "3.99.1"}, {"implementation": "pypy"}, {"bits": 32}):
        other = python._replace(**change)
        assert environment_key(plan, other, "") != environment_key(plan, python, "")
    assert environment_key(plan, python._replace(executable="/elsewhere"), "") == environment_key(plan, python, "")


def test_every_form_of_a_secret_is_replaced_in_what_a_tool_prints(capfd):
    forms = [USER, PASSWORD, QUOTED, f"me:{PASSWORD}", base64.b64encode(f"me:{PASSWORD}".encode()).decode()]
    for form in forms:
        ended = run(["/bin/echo", f"before {form} after"], environ={}, secrets=[USER])
        assert ended.tail == "before **** after"
        assert capfd.readouterr().out == "before **** after\n"


def test_the_password_of_a_proxy_is_replaced_with_its_address_and_without():
    needles = needles_of([f"http://{USER}@proxy:3128"])
    basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    for form in (f"http://{USER}@proxy:3128", USER, PASSWORD, QUOTED, basic):
        assert scrub(form.encode(), needles) == b"****"


def test_a_short_secret_does_not_eat_the_log():
    assert scrub(b"a banana", needles_of(["a"])) == b"a banana"


def test_a_line_is_passed_on_as_soon_as_it_is_there(tmp_path):
    import subprocess
    import sys

    hold = tmp_path / "hold"
    os.mkfifo(hold)
    code = (
        "from airflow_provider.scriptrun.supervisor.environment.builders.tool import run;"
        f"run(['/bin/sh', '-c', 'echo first; cat {hold}; echo second'], environ={{'PATH': '/bin'}}, secrets=[])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"first\n"
    hold.write_bytes(b"")
    assert process.communicate()[0] == b"second\n"


def test_git_gets_a_password_as_a_header_from_its_variables():
    plan = plan_of(git_credentials={"https://git/repo": "SCRIPTRUN_GIT_1"})
    environ = builders_index.uv_environment(plan, {"SCRIPTRUN_GIT_1": "tok%2Fen"}, {"PATH": "/bin"}, None)
    assert environ["GIT_CONFIG_KEY_0"] == "http.https://git/repo.extraHeader"
    encoded = environ["GIT_CONFIG_VALUE_0"].rpartition(" ")[2]
    assert base64.b64decode(encoded) == b"tok/en:"
    assert environ["GIT_CONFIG_COUNT"] == "1"
    assert "SCRIPTRUN_GIT_1" not in environ


def test_a_build_sees_nothing_of_airflow_and_no_switch_that_changes_what_is_built():
    inherited = {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "x",
        "AIRFLOW_CONN_A": "x",
        "PYTHONPATH": "/x",
        "UV_CONSTRAINT": "x",
        "UV_CACHE_DIR": "/cache",
        "UV_DEFAULT_INDEX": "https://machine/simple",
        "PIP_USER": "1",
    }
    environ = builders_index.uv_environment(plan_of("alpha"), {}, inherited, "/ca.pem")
    assert environ["UV_DEFAULT_INDEX"] == "https://machine/simple"
    assert environ["SSL_CERT_FILE"] == "/ca.pem"
    assert environ["HTTPS_PROXY"] == "http://proxy"
    assert environ["UV_CACHE_DIR"] == "/cache"
    assert not {name for name in environ if name.startswith(("AIRFLOW", "PYTHONPATH", "UV_CONSTRAINT", "PIP_USER"))}


def test_an_index_of_the_plan_takes_the_place_of_all_that_the_machine_is_configured_for():
    inherited = {
        "UV_INDEX": "https://machine/extra",
        "UV_DEFAULT_INDEX": "https://machine/simple",
        "UV_CONFIG_FILE": "x",
    }
    environ = builders_index.uv_environment(plan_for("https://ours/simple", "alpha"), {}, inherited, None)
    assert environ["UV_DEFAULT_INDEX"] == "https://ours/simple"
    assert environ["UV_NO_CONFIG"] == "1"
    assert "UV_INDEX" not in environ
    assert "UV_CONFIG_FILE" not in environ


def test_a_machine_that_is_configured_for_pip_alone_serves_uv_as_well(tmp_path, monkeypatch):
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://mirror/simple\nextra-index-url =\n  https://a/simple\n  https://b/simple\n"
        "trusted-host = mirror\ncert = /etc/mirror.pem\n"
    )
    inherited = {"PATH": "/bin", "PIP_CONFIG_FILE": str(configuration)}
    environ = builders_index.uv_environment(plan_of("alpha"), {}, inherited, None)
    assert environ["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert environ["UV_INDEX"] == "https://a/simple https://b/simple"
    assert environ["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert environ["UV_INSECURE_HOST"] == "mirror"
    assert environ["SSL_CERT_FILE"] == "/etc/mirror.pem"
    environ = builders_index.uv_environment(
        plan_of("alpha"), {}, dict(inherited, UV_DEFAULT_INDEX="https://uv/simple"), None
    )
    assert environ["UV_DEFAULT_INDEX"] == "https://uv/simple"
    assert "UV_INDEX" not in environ


def test_what_is_kept_of_a_lock_names_no_credentials():
    clean = "https://host/beta.whl"
    plan = plan_of(credentials={clean: {"user": "U", "query": "Q"}})
    placed = builders_index.with_placeholders(plan, f"beta @ {clean} \\\n    --hash=sha256:0\n")
    assert placed == "beta @ https://${U}@host/beta.whl?${Q} \\\n    --hash=sha256:0\n"
    assert builders_index.without_placeholders(plan, placed) == f"beta @ {clean} \\\n    --hash=sha256:0\n"


def test_conda_trusts_the_authority_of_the_plan_and_keeps_its_own_channels():
    inherited = {"CONDA_CHANNEL_ALIAS": "https://mirror/conda", "CONDA_PREFIX": "/opt/conda", "PATH": "/bin"}
    environ = builders_index.conda_environment(plan_for("https://mirror/simple"), {}, inherited, "/ca.pem")
    assert environ["CONDA_SSL_VERIFY"] == environ["PIP_CERT"] == "/ca.pem"
    assert environ["PIP_INDEX_URL"] == "https://mirror/simple"
    assert environ["CONDA_CHANNEL_ALIAS"] == "https://mirror/conda"
    assert "CONDA_PREFIX" not in environ
