from __future__ import annotations

import contextlib
import io
import os
import random
import select
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor import store, turn
from airflow_provider.scriptrun.supervisor.layout import Layout
from airflow_provider.scriptrun.supervisor.protocol import delta, frames
from airflow_provider.scriptrun.supervisor.protocol.manifest import Entry, encode, snapshot_id
from airflow_provider.scriptrun.supervisor.refusal import Refusal
from airflow_provider.scriptrun.supervisor.store import receive
from tests.supervisor.store_target import (
    Parcel,
    Serve,
    Session,
    contents,
    data_frames,
    named,
    offer_frames,
    parcel,
    send_request,
    sha256,
)

FILES = {"train.py": b"print()\n", "lib/a.py": b"a" * 100_000, "lib/b.py": b"b", "lib/same.py": b"b", "empty": b""}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Layout(str(tmp_path / "root")))


def half_received(session: Session) -> list[str]:
    """What has not come to its end; whose turn it is to send says nothing about that."""
    return [name for name in os.listdir(session.layout.incoming) if not name.endswith(".turn")]


def test_an_empty_store_misses_every_blob_once_in_the_manifests_order(session: Session) -> None:
    thing = parcel(FILES)
    expected = [sha256(FILES[name]) for name in ("empty", "lib/a.py", "lib/b.py", "train.py")]
    assert session.offer(thing) == expected


def test_a_snapshot_exists_only_when_its_last_blob_has_arrived(session: Session) -> None:
    thing = parcel(FILES)
    missing = session.offer(thing)
    answer = session.send(thing, missing[:-1])
    assert answer == {"received": 3, "bytes": 100_001, "complete": False}
    assert not store.has_snapshot(session.layout, thing.id)
    assert session.offer(thing) == missing[-1:]
    assert session.send(thing, missing[-1:])["complete"]
    assert store.has_snapshot(session.layout, thing.id)
    assert session.offer(thing) == []


def test_a_snapshot_of_blobs_that_are_all_here_is_complete_by_its_offer(session: Session) -> None:
    session.put(parcel(FILES))
    moved = parcel({"moved.py": FILES["lib/b.py"]})
    assert session.offer(moved) == []
    assert store.has_snapshot(session.layout, moved.id)


def test_a_snapshot_without_files_is_complete_by_its_offer(session: Session) -> None:
    empty = parcel({}, extra=[Entry(b"folder", "d", 0, b""), Entry(b"link", "l", 0, b"folder")])
    assert session.offer(empty) == []
    assert store.has_snapshot(session.layout, empty.id)


def test_only_what_another_snapshot_lacks_is_missing(session: Session) -> None:
    session.put(parcel(FILES))
    changed = parcel({**FILES, "train.py": b"print(1)\n"})
    assert session.offer(changed) == [sha256(b"print(1)\n")]


def test_blobs_cannot_be_written_to_and_nothing_half_is_left(session: Session) -> None:
    thing = parcel(FILES)
    session.put(thing)
    layout = session.layout
    for name, data in thing.blobs.items():
        path = Path(layout.blob(name))
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o444
    assert os.listdir(layout.incoming) == []


def test_blobs_and_root_have_their_modes_whatever_the_umask(session: Session) -> None:
    previous = os.umask(0o077)
    try:
        session.put(parcel({"a": b"a"}))
    finally:
        os.umask(previous)
    assert Path(session.layout.blob(sha256(b"a"))).stat().st_mode & 0o777 == 0o444
    assert Path(session.layout.root).stat().st_mode & 0o777 == 0o700


def test_a_manifest_that_is_not_what_its_id_says_is_refused(session: Session) -> None:
    thing = parcel(FILES)
    with pytest.raises(Refusal, match="arrived with other content") as refused:
        session.offer(Parcel(thing.id, thing.manifest + b" ", {}))
    assert refused.value.code == "damaged"


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(b"../out", "f", 1, sha256(b"a").encode())],
        [Entry(b"/etc/x", "f", 1, sha256(b"a").encode())],
        [Entry(b"a/../../b", "f", 1, sha256(b"a").encode())],
        [Entry(b"link", "l", 0, b"/etc"), Entry(b"link/passwd", "f", 1, sha256(b"a").encode())],
        [Entry(b"file", "f", 1, sha256(b"a").encode()), Entry(b"file/x", "d", 0, b"")],
        [Entry(b"a", "f", 1, b"no hash")],
        [Entry(b"a", "l", 0, b"")],
    ],
)
def test_a_manifest_that_leaves_its_root_is_refused(session: Session, entries: list[Entry]) -> None:
    manifest = encode(entries)
    with pytest.raises(Refusal) as refused:
        session.offer(Parcel(snapshot_id(manifest), manifest, {}))
    assert refused.value.code == "bad_request"
    assert not os.path.exists(session.layout.offered(snapshot_id(manifest)))


def test_a_manifest_over_the_limit_is_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider.scriptrun.supervisor.protocol.manifest.MAX_MANIFEST_BYTES", 100)
    with pytest.raises(Refusal, match="longer than the 100 bytes"):
        session.offer(parcel(FILES))


@pytest.mark.parametrize("name", ["../../x", "", None, "A" * 64, "0" * 63, 7])
def test_a_snapshot_id_that_is_no_sha256_is_refused(session: Session, name: object) -> None:
    with pytest.raises(Refusal):
        session.call(receive.offer, {"op": "offer", "snapshot": name})
    with pytest.raises(Refusal):
        session.call(receive.send, {"op": "send", "snapshot": name})


def test_blobs_of_a_snapshot_that_was_not_offered_are_refused(session: Session) -> None:
    with pytest.raises(Refusal, match="was not offered"):
        session.send(parcel(FILES), [])


@pytest.mark.parametrize(
    "places",
    [None, 7, [7], [[0]], [[0, 1, 2]], {}, [["0", 1]], [[0, 0]], [[-1, 1]], [[4, 1]], [[3, 2]], [[0, 5]],
     [[1, 1], [0, 1]], [[0, 1], [0, 1]], [[0, 1], [1, 1]], [[0, True]], [[0.0, 1]], [[0, 10**30]], [[10**30, 1]],
     [[0, 1]] * 100],
)  # fmt: skip
def test_places_that_the_snapshot_does_not_have_are_refused(session: Session, places: object) -> None:
    thing = parcel(FILES)
    session.offer(thing)
    with pytest.raises(Refusal, match="no blobs of") as refused:
        session.call(receive.send, {"op": "send", "snapshot": thing.id, "blobs": places}, data_frames(b"b" * 100))
    assert refused.value.code == "bad_request"
    assert sum(len(files) for _, _, files in os.walk(session.layout.blobs)) == 0


def test_a_damaged_blob_is_refused_by_name_and_the_others_are_kept(session: Session) -> None:
    thing = parcel(FILES)
    missing = session.offer(thing)
    bad = sha256(FILES["lib/a.py"])
    answer = session.send(thing, missing, contents(thing, missing).replace(b"a" * 100_000, b"x" * 100_000))
    assert answer["error"]["code"] == "damaged"
    assert bad in answer["error"]["message"]
    assert (answer["damaged"], answer["received"], answer["complete"]) == ([bad], 3, False)
    assert session.offer(thing) == [bad]
    assert half_received(session) == [thing.id]


@pytest.mark.parametrize("size", [300_000, receive.SMALL_BYTES + 300_000])
def test_a_flipped_bit_anywhere_in_the_data_is_noticed(session: Session, size: int) -> None:
    data = random.Random(7).randbytes(size)
    thing = parcel({"data": data})
    for position in (0, 65_535, 65_536, size - 1):
        session.offer(thing)
        flipped = bytearray(data)
        flipped[position] ^= 1
        assert session.send(thing, [sha256(data)], bytes(flipped))["damaged"] == [sha256(data)]


@pytest.mark.parametrize("chunk", [1, 7, 1000, 65_536, 10**6])
@pytest.mark.parametrize("compress", [False, True])
def test_blobs_arrive_however_they_are_cut_into_chunks(session: Session, chunk: int, compress: bool) -> None:
    large = random.Random(chunk).randbytes(receive.SMALL_BYTES + 1000) if chunk > 1000 else b"large"
    thing = parcel({"a": b"a" * 3000, "b": b"", "c": large, "d": b"d" * 10, "e": b"e"})
    missing = session.offer(thing)
    answer = session.send(thing, missing, chunk=chunk, compress=compress)
    assert answer == {"received": 5, "bytes": 3011 + len(large), "complete": True}
    for name, data in thing.blobs.items():
        assert Path(session.layout.blob(name)).read_bytes() == data


def test_more_than_was_announced_ends_the_session_and_what_was_announced_stays(session: Session) -> None:
    thing = parcel(FILES)
    missing = session.offer(thing)
    with pytest.raises(Refusal, match="More came"):
        session.send(thing, missing[:2], contents(thing, missing[:2]) + b"more")
    assert session.offer(thing) == missing[2:]


def test_less_than_was_announced_ends_the_session(session: Session) -> None:
    thing = parcel(FILES)
    missing = session.offer(thing)
    with pytest.raises(frames.FrameError, match="before the last blob"):
        session.send(thing, missing, contents(thing, missing)[:-1])
    assert session.offer(thing) == missing[-1:]


def test_a_compressed_chunk_that_grows_without_end_is_refused(session: Session) -> None:
    thing = parcel({"a": bytes(frames.MAX_CHUNK_BYTES + 1)})
    missing = session.offer(thing)
    with pytest.raises(frames.FrameError, match="more than the"):
        session.send(thing, missing, chunk=frames.MAX_CHUNK_BYTES + 1, compress=True)
    assert session.offer(thing) == missing


@pytest.mark.slow
@pytest.mark.parametrize("compress", [False, True])
def test_a_transfer_cut_at_any_byte_goes_on_where_it_was(tmp_path: Path, compress: bool) -> None:
    generator = random.Random(11)
    thing = parcel({f"f{n}": generator.randbytes(generator.choice([1, 5, 3000, 70_000])) for n in range(20)})
    for round_number in range(60):
        session = Session(Layout(str(tmp_path / str(round_number))))
        missing = session.offer(thing)
        body = data_frames(contents(thing, missing), 1000, compress)
        cut = generator.randrange(len(body))
        with pytest.raises(frames.FrameError):
            session.call(receive.send, send_request(thing, missing), body[:cut])
        whole = 0
        arrived = len(_readable(body[:cut]))
        for name in missing:
            arrived -= len(thing.blobs[name])
            whole += arrived >= 0
        left = session.offer(thing)
        assert left == missing[whole:]
        if left:
            assert session.send(thing, left) == {
                "received": len(left),
                "bytes": sum(len(thing.blobs[name]) for name in left),
                "complete": True,
            }
        assert store.has_snapshot(session.layout, thing.id)
        assert os.listdir(session.layout.incoming) == []


def _readable(stream: bytes) -> bytes:
    """Return the data of the frames that are whole."""
    found = b""
    with contextlib.suppress(frames.FrameError):
        for chunk in frames.FrameReader(io.BytesIO(stream)).data():
            found += chunk
    return found


@pytest.mark.parametrize("content", [b"", b"a" * 50, b"a" * 100_001])
def test_a_blob_that_a_power_loss_or_a_killed_writer_left_is_asked_for_again(session: Session, content: bytes) -> None:
    thing = parcel({"small": b"a" * 100, "large": b"b" * (receive.SMALL_BYTES + 1)})
    session.put(thing)
    os.unlink(session.layout.snapshot(thing.id))
    for name in thing.blobs:
        os.chmod(session.layout.blob(name), 0o600)
        Path(session.layout.blob(name)).write_bytes(content)
    assert session.offer(thing) == [*thing.blobs][::-1]
    assert session.send(thing, [*thing.blobs][::-1])["complete"]
    for name, data in thing.blobs.items():
        assert Path(session.layout.blob(name)).read_bytes() == data
        assert Path(session.layout.blob(name)).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("size", [1000, receive.SMALL_BYTES + 1])
def test_a_blob_that_cannot_be_written_leaves_nothing(
    session: Session, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    thing = parcel({"a": b"a" * size})
    (name,) = session.offer(thing)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:500])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            session.send(thing, [name])
    assert half_received(session) == [thing.id]
    assert not os.path.exists(session.layout.blob(name))
    assert session.offer(thing) == [name]


@pytest.mark.parametrize("size", [1000, receive.SMALL_BYTES + 1])
def test_short_writes_are_gone_on_with(session: Session, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = parcel({"a": random.Random(3).randbytes(size)})
    (name,) = session.offer(thing)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:999]))
        answer = session.send(thing, [name])
    assert answer["complete"]
    assert Path(session.layout.blob(name)).read_bytes() == thing.blobs[name]


def test_two_senders_of_one_snapshot_at_once_both_end_well(tmp_path: Path) -> None:
    thing = parcel({f"f{n}": os.urandom(2000) for n in range(200)})
    root = tmp_path / "root"
    with Serve(root) as first, Serve(root) as second:
        for one in (first, second):
            missing = one.offer(thing)
            assert len(missing) == 200
            one.writer.json(send_request(thing, missing))
            os.unlink(Layout(str(root)).turn(thing.id))  # a turn that was lost
        body = data_frames(contents(thing, missing), 10_000)
        half = len(body) // 2
        for one in (first, second):  # both are in the middle of it at once
            one.input.write(body[:half])
            one.input.flush()
        for one in (second, first):
            one.input.write(body[half:])
            one.input.flush()
            answer = one.reader.json()
            assert answer == {"received": 200, "bytes": 400_000, "complete": True}
    assert Session(Layout(str(root))).offer(thing) == []


def test_a_write_that_fails_is_answered_and_ends_the_session_cleanly(tmp_path: Path) -> None:
    thing = parcel({"big": os.urandom(400_000)})
    root = tmp_path / "root"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "sys.path.insert(0, sys.argv.pop(1)); from scriptrun_supervisor.serve import main; main()"
    )
    folder = tmp_path / "started"
    folder.mkdir()
    (folder / "scriptrun_supervisor").symlink_to(Path(receive.__file__).parent.parent)
    request = io.BytesIO()
    writer = frames.FrameWriter(request)
    writer.json({"op": "offer", "snapshot": thing.id})
    request.write(offer_frames(thing))
    writer.json(send_request(thing, thing.blobs))
    request.write(data_frames(contents(thing, thing.blobs)))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code, str(folder), "serve", "--root", str(root)],
        input=request.getvalue(),
        capture_output=True,
        check=False,
    )
    output = io.BytesIO(done.stdout)
    frames.find_marker(output)
    reader = frames.FrameReader(output)
    assert reader.json() == {"missing": [[0, 1]]}
    answer = reader.json()
    assert answer
    assert "error" in answer
    assert reader.json() is None
    assert half_received(Session(Layout(str(root)))) == [thing.id]
    assert sum(len(files) for _, _, files in os.walk(root / "blobs")) == 0


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@settings(max_examples=40)
@given(files=st.dictionaries(names, st.binary(max_size=200), max_size=12), have=st.data())
def test_what_is_missing_is_what_is_not_there(tmp_path_factory: pytest.TempPathFactory, files, have) -> None:
    session = Session(Layout(str(tmp_path_factory.mktemp("root"))))
    there = have.draw(st.sets(st.sampled_from(sorted(files)))) if files else set()
    if there:
        session.put(parcel({name: files[name] for name in there}))
    missing = session.offer(parcel(files))
    assert set(missing) == {sha256(data) for data in files.values()} - {sha256(files[name]) for name in there}
    assert len(missing) == len(set(missing))


def test_it_works_on_the_oldest_python(tmp_path: Path, oldest_python: str) -> None:
    thing = parcel({**FILES, "od\udcffd\n": b"odd"})
    root = tmp_path / "root"
    base = parcel(FILES)
    with Serve(root, oldest_python) as serve:
        serve.put(base)
        request = {"op": "offer", "snapshot": thing.id, "base": base.id}
        missing = named(thing, serve.ask(request, data_frames(delta.encode(base.manifest, thing.manifest))))
        assert missing == [sha256(b"odd")]
        damaged = serve.ask(send_request(thing, missing), data_frames(b"ood", compress=True))
        assert damaged["damaged"] == missing
        serve.put(thing)
    assert store.has_snapshot(Layout(str(root)), thing.id)


# Two at once -------------------------------------------------------------------------------------------------------


def test_who_offers_what_another_one_sends_waits_and_finds_it_there(tmp_path: Path) -> None:
    thing = parcel({**FILES, "large": b"x" * 3_000_000})
    with Serve(tmp_path / "root") as first, Serve(tmp_path / "root") as second:
        missing = first.offer(thing)
        assert missing
        second.writer.json({"op": "offer", "snapshot": thing.id})
        second.input.write(offer_frames(thing))
        second.input.flush()
        assert not select.select([second.output], [], [], 0.3)[0], "it is the first one's turn"
        assert first.ask(send_request(thing, missing), data_frames(contents(thing, missing)))["complete"]
        answer = second.reader.json()
        assert answer == {"missing": []}
        assert half_received(Session(Layout(str(tmp_path / "root")))) == []


def test_who_waits_has_the_turn_of_a_sender_that_died(tmp_path: Path) -> None:
    thing = parcel(FILES)
    with Serve(tmp_path / "root") as first, Serve(tmp_path / "root") as second:
        missing = first.offer(thing)
        second.writer.json({"op": "offer", "snapshot": thing.id})
        second.input.write(offer_frames(thing))
        second.input.flush()
        first.process.kill()
        assert named(thing, second.reader.json() or {}) == missing
        assert second.ask(send_request(thing, missing), data_frames(contents(thing, missing)))["complete"]


def test_who_waits_says_so_and_waits_for_nobody_who_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "SIGN_OF_LIFE_S", 0.05)
    monkeypatch.setattr(turn, "STALLED_S", 0.5)
    thing = parcel(FILES)
    with Serve(tmp_path / "root") as first:
        missing = first.offer(thing)
        session = Session(Layout(str(tmp_path / "root")))
        *signs, answer = session.call(receive.offer, {"op": "offer", "snapshot": thing.id}, offer_frames(thing))
        assert signs
        assert all(sign == {"waiting": True} for sign in signs)
        assert named(thing, answer) == missing
        session.send(thing, missing)
        assert first.ask(send_request(thing, missing), data_frames(contents(thing, missing)))["complete"]


def test_a_sender_whose_connection_broke_unnoticed_does_not_wait_for_itself(tmp_path: Path) -> None:
    thing = parcel(FILES)
    offer = {"op": "offer", "snapshot": thing.id, "sender": "me"}
    with Serve(tmp_path / "root") as first, Serve(tmp_path / "root") as second, Serve(tmp_path / "root") as other:
        missing = named(thing, first.ask(offer, offer_frames(thing)))
        assert named(thing, second.ask(offer, offer_frames(thing))) == missing
        other.writer.json({**offer, "sender": "another"})
        other.input.write(offer_frames(thing))
        other.input.flush()
        assert not select.select([other.output], [], [], 0.3)[0], "the others still wait"
        assert second.ask(send_request(thing, missing), data_frames(contents(thing, missing)))["complete"]
        assert other.reader.json() == {"missing": []}


@pytest.mark.parametrize("sender", [None, "", 5, "x" * 1000, "\udcff"])
def test_a_sender_without_a_good_name_has_its_turn_all_the_same(session: Session, sender: object) -> None:
    thing = parcel(FILES)
    request = {"op": "offer", "snapshot": thing.id, "sender": sender}
    (answer,) = session.call(receive.offer, request, offer_frames(thing))
    assert len(named(thing, answer)) == 4
