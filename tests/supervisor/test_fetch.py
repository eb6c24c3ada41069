from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor import fetch as fetching
from airflow_provider.scriptrun.supervisor import run_files
from airflow_provider.scriptrun.supervisor.fetch import fetch, list_files
from airflow_provider.scriptrun.supervisor.layout import Layout, RunLayout
from airflow_provider.scriptrun.supervisor.refusal import Refusal
from tests.supervisor.store_target import Serve, Session, sha256

RUN = "run-1"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Layout(str(tmp_path / "root")))


@pytest.fixture
def run(session: Session) -> RunLayout:
    run = session.layout.run(RUN)
    for folder in (run.outputs, run.logs, run.inputs):
        os.makedirs(folder)
    Path(run.run_log).write_bytes(b"line\n")
    return run


def listed(session: Session, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    frames = session.call(list_files, {"op": "list", "run": RUN, **more})
    assert all(frame["more"] for frame in frames[:-1])
    files = [file for frame in frames for file in frame["files"]]
    assert frames[-1]["count"] == len(files)
    assert frames[-1]["bytes"] == sum(file["size"] for file in files)
    return {file["path"]: file for file in files}, frames[-1]["skipped"]


def fetched(session: Session, paths: list[Any], **more: Any) -> list[Any]:
    answers = session.call(fetch, {"op": "fetch", "run": RUN, "paths": paths, **more})
    assert answers.pop() == {"end": True}
    return answers


def test_a_list_names_outputs_logs_and_what_stands_beside_them(session: Session, run: RunLayout) -> None:
    contents = {
        "outputs/model.pt": b"model",
        "outputs/a/b/c.txt": b"",
        "logs/tb/events": b"events",
        "run.log": b"line\n",
        "build.log": b"built\n",
        "messages.jsonl": b"{}\n",
        "packages.txt": b"numpy==2.0\n",
    }
    for name, data in contents.items():
        path = Path(run.folder if "/" not in name else run.code, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    Path(run.outputs, "model.pt").chmod(0o755)
    Path(run.code, "train.py").write_bytes(b"not an output")
    Path(run.status).write_bytes(b"{}")
    files, skipped = listed(session)
    assert {path: (file["size"], file["sha256"]) for path, file in files.items()} == {
        name: (len(data), sha256(data)) for name, data in contents.items()
    }
    assert [path for path, file in files.items() if file["executable"]] == ["outputs/model.pt"]
    assert skipped == {"count": 0, "paths": []}


def test_a_list_without_hashes_reads_no_file(session: Session, run: RunLayout) -> None:
    with open(Path(run.outputs, "sparse"), "wb") as stream:
        stream.truncate(1 << 40)
    files, _ = listed(session, hash=False)
    assert files["outputs/sparse"] == {
        "path": "outputs/sparse",
        "size": 1 << 40,
        "sha256": None,
        "executable": False,
    }


def test_everything_listed_can_be_fetched_and_is_what_the_list_says(session: Session, run: RunLayout) -> None:
    Path(run.outputs, "big").write_bytes(random.Random(1).randbytes(300_001))
    Path(run.outputs, "empty").touch()
    files, _ = listed(session)
    answers = fetched(session, list(files))
    for file in files.values():
        head, *data, foot = answers[:3]
        del answers[:3]
        assert head == {"path": file["path"], "offset": 0, "size": file["size"]}
        assert (len(data[0]), sha256(data[0])) == (file["size"], file["sha256"])
        assert foot == {"path": file["path"], "bytes": file["size"], "sha256": file["sha256"]}
    assert answers == []


def test_a_fetch_goes_on_at_any_offset(session: Session, run: RunLayout) -> None:
    data = random.Random(2).randbytes(200_000)
    Path(run.outputs, "big").write_bytes(data)
    for offset in (0, 1, 65_536, 199_999, 200_000):
        head, body, foot = fetched(session, [{"path": "outputs/big", "offset": offset}])
        assert head == {"path": "outputs/big", "offset": offset, "size": 200_000}
        assert body == data[offset:]
        assert foot == {"path": "outputs/big", "bytes": 200_000 - offset, "sha256": sha256(data[offset:])}
    (refused,) = fetched(session, [{"path": "outputs/big", "offset": 200_001}])
    assert "fewer than the offset" in refused["error"]["message"]


@pytest.mark.parametrize(
    "path",
    [
        "outputs/../../status.json",
        "../run-2/run.log",
        "/etc/passwd",
        "outputs//etc/passwd",
        "outputs/./x",
        "outputs",
        "outputs/",
        "",
        "status.json",
        "request.json",
        "code/train.py",
        "code/outputs/x",
        "outputs/there-is-none",
        "outputs/nul\0",
        "outputs/\ud800",
        "outputs/" + "x" * 5000,
        "outputs/" + "x/" * 5000 + "x",
    ],
)
def test_a_path_that_is_none_of_the_runs_files_is_an_error_of_its_own(
    session: Session, run: RunLayout, path: str
) -> None:
    Path(run.status).write_bytes(b"{}")
    Path(run.outputs, "good").write_bytes(b"good")
    refused, *rest = fetched(session, [path, "outputs/good"])
    assert refused["path"] == path
    assert refused["error"]["code"] == "bad_request"
    assert rest[1] == b"good"


@pytest.mark.parametrize("paths", [None, "run.log", [7], [{"path": "run.log", "offset": -1}], [{"offset": 1}]])
def test_a_fetch_that_is_no_request_is_refused(session: Session, run: RunLayout, paths: object) -> None:
    with pytest.raises(Refusal):
        session.call(fetch, {"op": "fetch", "run": RUN, "paths": paths})


@pytest.mark.parametrize("run_id", ["unknown", "../x", None, ""])
def test_a_run_that_is_not_here_is_refused(session: Session, run: RunLayout, run_id: object) -> None:
    for handler in (list_files, fetch):
        with pytest.raises(Refusal):
            session.call(handler, {"run": run_id, "paths": []})


def test_links_count_only_if_they_lead_to_a_file_inside(session: Session, run: RunLayout, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    Path(run.code, "train.py").write_bytes(b"code")
    Path(run.outputs, "real").write_bytes(b"real")
    Path(run.logs, "log").write_bytes(b"log")
    Path(run.outputs, "folder").mkdir()
    links = {
        "inside": "real",
        "inside_absolute": Path(run.outputs, "real"),
        "to_logs": "../logs/log",
        "out": tmp_path / "secret",
        "out_relative": "../../../../../secret",
        "code": "../train.py",
        "status": "../../run.log",
        "to_folder": "folder",
        "dangling": "nothing",
        "loop": "loop",
        "proc": "/proc/self/environ",
        "zero": "/dev/zero",
    }
    for name, target in links.items():
        Path(run.outputs, name).symlink_to(target)
    files, skipped = listed(session)
    good = {"inside", "inside_absolute", "to_logs"}
    assert {path for path in files if path.startswith("outputs/")} == {f"outputs/{name}" for name in {"real", *good}}
    assert {item["path"] for item in skipped["paths"]} == {f"outputs/{name}" for name in set(links) - good}
    assert fetched(session, ["outputs/to_logs"])[1] == b"log"
    for name in set(links) - good:
        assert "error" in fetched(session, [f"outputs/{name}"])[0]


@pytest.mark.parametrize("folder", ["outputs", "logs"])
def test_a_folder_that_became_a_link_is_named_and_not_entered(
    session: Session, run: RunLayout, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"x")
    os.rmdir(Path(run.code, folder))
    Path(run.code, folder).symlink_to(tmp_path / "elsewhere")
    files, skipped = listed(session)
    assert list(files) == ["run.log"]
    assert [item["path"] for item in skipped["paths"]] == [folder]
    assert "error" in fetched(session, [folder + "/file"])[0]


def test_a_link_in_the_way_is_not_followed(session: Session, run: RunLayout, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    Path(run.outputs, "way").symlink_to(tmp_path)
    assert "error" in fetched(session, ["outputs/way/file"])[0]
    os.unlink(run.run_log)
    Path(run.run_log).symlink_to(tmp_path / "file")
    assert "error" in fetched(session, ["run.log"])[0]
    assert "run.log" not in listed(session)[0]


def test_fifos_sockets_and_devices_are_named_and_nothing_waits(session: Session, run: RunLayout) -> None:
    os.mkfifo(Path(run.outputs, "fifo"))
    here = os.open(run.outputs, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/socket")
    finally:
        os.close(here)
    files, skipped = listed(session)
    assert list(files) == ["run.log"]
    assert {item["path"] for item in skipped["paths"]} == {"outputs/fifo", "outputs/socket"}
    for name in ("fifo", "socket"):
        assert "error" in fetched(session, ["outputs/" + name])[0]


def test_of_very_much_that_is_left_out_some_is_named_and_all_is_counted(session: Session, run: RunLayout) -> None:
    for number in range(150):
        Path(run.outputs, str(number)).symlink_to("/")
    _, skipped = listed(session)
    assert skipped["count"] == 150
    assert len(skipped["paths"]) == run_files.NAMED_SKIPPED


@pytest.mark.parametrize("name", [b"new\nline", b"not \xff\xfe utf-8", "ünï".encode(), b"quote\"'\\", b"-rf", b" "])
def test_odd_names_come_back_as_they_are(session: Session, run: RunLayout, name: bytes) -> None:
    folder = os.fsencode(run.outputs) + b"/" + name
    os.mkdir(folder)
    with open(folder + b"/" + name, "wb") as stream:
        stream.write(b"odd")
    files, _ = listed(session)
    (path,) = set(files) - {"run.log"}
    assert path.encode("utf-8", "surrogateescape") == b"outputs/" + name + b"/" + name
    assert fetched(session, [path])[1] == b"odd"


def test_a_file_that_grows_meanwhile_is_listed_as_it_was_when_opened(
    session: Session, run: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.unlink(run.run_log)
    path = Path(run.outputs, "growing")
    path.write_bytes(b"a" * 200_000)
    whole = os.read

    def grow(descriptor: int, count: int) -> bytes:
        with open(path, "ab") as stream:
            stream.write(b"b" * 1000)
        return whole(descriptor, count)

    monkeypatch.setattr(os, "read", grow)
    files, _ = listed(session)
    assert (files["outputs/growing"]["size"], files["outputs/growing"]["sha256"]) == (200_000, sha256(b"a" * 200_000))


def test_a_file_that_shrinks_meanwhile_is_what_was_read_of_it(
    session: Session, run: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(run.outputs, "shrinking")
    path.write_bytes(b"a" * 200_000)
    whole = os.read

    def shrink(descriptor: int, count: int) -> bytes:
        chunk = whole(descriptor, count)
        os.truncate(path, 1000)
        return chunk

    monkeypatch.setattr(os, "read", shrink)
    head, body, foot = fetched(session, ["outputs/shrinking"])
    assert head["size"] == 200_000
    assert (foot["bytes"], foot["sha256"]) == (len(body), sha256(body))
    assert len(body) < 200_000


def test_a_disk_that_cannot_be_read_on_is_told_from_a_lost_connection(
    session: Session, run: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(run.outputs, "bad").write_bytes(b"a" * 200_000)
    Path(run.outputs, "good").write_bytes(b"good")
    whole = os.read
    counts = [0]

    def fail(descriptor: int, count: int) -> bytes:
        counts[0] += 1
        if counts[0] == 2:
            raise OSError(5, "Input/output error")
        return whole(descriptor, count)

    monkeypatch.setattr(os, "read", fail)
    head, part, broken, *rest = fetched(session, ["outputs/bad", "outputs/good"])
    assert head["size"] == 200_000
    assert part == b"a" * 65_536
    assert broken["error"]["code"] == "damaged"
    assert rest[1] == b"good"


def test_a_tree_of_a_thousand_levels_is_listed_and_fetched(deep_path: Path) -> None:
    session = Session(Layout(str(deep_path)))
    run = session.layout.run(RUN)
    os.makedirs(run.outputs)
    descriptor = os.open(run.outputs, os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("level", dir_fd=descriptor)
        inner = os.open("level", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    Path(run.outputs, "zz").write_bytes(b"after it")
    files, skipped = listed(session)
    deep = "outputs/" + "level/" * 1000 + "file"
    assert set(files) == {deep, "outputs/zz"}
    assert skipped["count"] == 0
    assert fetched(session, [deep])[1] == b""


def test_many_files_are_listed_in_several_frames(
    session: Session, run: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LISTED_PER_FRAME", 10)
    for number in range(29):
        Path(run.outputs, str(number)).touch()
    assert len(session.call(list_files, {"run": RUN})) == 4  # with run.log, the last one is empty
    assert len(listed(session)[0]) == 30


def test_a_list_that_takes_long_says_that_it_lives(
    session: Session, run: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SILENCE_S", -1.0)
    Path(run.outputs, "big").write_bytes(b"a" * 200_000)
    assert len(session.call(list_files, {"run": RUN})) == 6  # one for each chunk that was read, and the last
    assert set(listed(session)[0]) == {"run.log", "outputs/big"}


def test_a_run_without_a_working_copy_has_its_logs(session: Session) -> None:
    run = session.layout.run(RUN)
    os.makedirs(run.folder)
    Path(run.build_log).write_bytes(b"it failed")
    files, skipped = listed(session)
    assert list(files) == ["build.log"]
    assert skipped["count"] == 0


def test_saying_that_all_is_collected_marks_the_run(session: Session, run: RunLayout) -> None:
    fetched(session, ["run.log"])
    assert not os.path.exists(run.collected)
    fetched(session, [], collected=True)
    assert os.path.exists(run.collected)


UNPRIVILEGED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from s.layout import Layout
from s.run_files import RunFiles
os.setgid(65534)
os.setuid(65534)
with RunFiles(Layout(sys.argv[2]), "run-1") as files:
    print([(path, bool(files.describe(path, name, folder, int))) for path, name, folder in files])
    print(sorted(item["path"] for item in files.skipped))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="making files of another user takes root")
def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "s").symlink_to(Path(fetching.__file__).parent)
    with tempfile.TemporaryDirectory() as folder:  # where every user can go, unlike tmp_path
        os.chmod(folder, 0o755)
        run = Layout(folder).run(RUN)
        os.makedirs(run.outputs)
        Path(run.outputs, "closed").mkdir(0)
        Path(run.outputs, "secret").touch(0)
        Path(run.outputs, "open").touch(0o644)
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", UNPRIVILEGED, str(tmp_path), folder],
            capture_output=True,
            text=True,
            check=True,
        )
    files, skipped = done.stdout.splitlines()
    assert files == "[(b'outputs/open', True), (b'outputs/secret', False)]"
    assert skipped == "['outputs/closed', 'outputs/secret']"


def test_it_works_on_the_oldest_python(session: Session, run: RunLayout, tmp_path: Path, oldest_python: str) -> None:
    with open(os.fsencode(run.outputs) + b"/od\xffd", "wb") as stream:
        stream.write(b"odd")
    Path(run.outputs, "link").symlink_to("/etc/passwd")
    with Serve(Path(session.layout.root), oldest_python) as serve:
        answer = serve.ask({"op": "list", "run": RUN})
        assert [(file["path"], file["size"]) for file in answer["files"]] == [("run.log", 5), ("outputs/od\udcffd", 3)]
        assert answer["skipped"]["count"] == 1
        head = serve.ask({"op": "fetch", "run": RUN, "paths": ["outputs/od\udcffd"]})
        assert head["size"] == 3
        assert b"".join(serve.reader.data()) == b"odd"
        assert serve.reader.json() == {"path": "outputs/od\udcffd", "bytes": 3, "sha256": sha256(b"odd")}
        assert serve.reader.json() == {"end": True}


@settings(max_examples=50)
@given(path=st.text(max_size=40))
def test_no_text_makes_a_fetch_leave_the_run(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    session = Session(Layout(str(tmp_path_factory.mktemp("root"))))
    os.makedirs(session.layout.run(RUN).outputs)
    (answer,) = fetched(session, [path])
    assert "error" in answer
