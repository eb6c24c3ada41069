from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor.layout import Layout
from airflow_provider.scriptrun.supervisor.protocol import delta
from airflow_provider.scriptrun.supervisor.protocol.manifest import Entry, decode, encode, snapshot_id, split
from airflow_provider.scriptrun.supervisor.refusal import Refusal
from tests.supervisor.store_target import Parcel, Session, parcel, sha256

parts = st.binary(min_size=1, max_size=3).filter(lambda part: not set(part) & {0, 0x2F} and part.strip(b"."))
hashes = st.integers(0, 30).map(lambda number: sha256(b"%d" % number).encode())
leaves = st.one_of(
    st.builds(lambda kind, size, content: (kind, size, content), st.sampled_from("fx"), st.integers(0, 2000), hashes),
    st.builds(lambda target: ("l", 0, target), parts),
    st.just(("d", 0, b"")),
)


@st.composite
def trees(draw: st.DrawFn) -> bytes:
    """Return the manifest of any tree."""
    names = draw(st.dictionaries(st.lists(parts, min_size=1, max_size=3).map(b"/".join), leaves, max_size=15))
    kept = {
        path: leaf
        for path, leaf in names.items()
        if not any(path[:at] in names for at in range(len(path)) if path[at : at + 1] == b"/")
    }
    return encode(Entry(path, *leaf) for path, leaf in kept.items())


@pytest.mark.slow
@settings(max_examples=300)
@given(trees(), trees(), st.sampled_from([0, 200, delta.SMALL_BYTES]))
def test_of_any_two_trees_one_becomes_the_other(base: bytes, manifest: bytes, small_bytes: int) -> None:
    change = delta.encode(base, manifest, small_bytes)
    assert delta.apply(base, change) == manifest
    assert delta.encode(base, manifest, small_bytes) == change
    assert (change == delta.HEADER) == (base == manifest)


@given(trees(), st.data())
def test_of_a_tree_that_changed_a_little_only_the_change_is_told(base: bytes, data: st.DataObject) -> None:
    entries = decode(base)
    chosen = data.draw(st.sets(st.sampled_from(range(len(entries))), max_size=3)) if entries else set()
    changed = [
        entry._replace(content=b"f" * 64, size=1) if number in chosen and entry.type in "fx" else entry
        for number, entry in enumerate(entries)
    ]
    manifest = encode(changed)
    change = delta.encode(base, manifest, small_bytes=0)
    assert delta.apply(base, change) == manifest
    assert len(delta.encode(base, manifest)) <= len(change) + delta.SMALL_BYTES
    new = set(split(manifest)) - set(split(base))
    assert len(change) <= len(delta.HEADER) + sum(len(entry) + 30 for entry in new)


@given(trees(), st.binary(max_size=40))
def test_nothing_but_a_delta_is_taken_for_one(base: bytes, data: bytes) -> None:
    try:
        made = delta.apply(base, delta.HEADER + data)
    except delta.DeltaError:
        return
    assert len(made) <= len(base) + len(data)


@pytest.mark.parametrize(
    "change",
    [
        b"",
        b"scriptrun-delta-2\n",
        b"0,1,0",
        b"0,1,5:abc",
        b"00,1,0:",
        b"0,01,0:",
        b"-1,1,0:",
        b"0,0,0:",
        b"50,0,0:",
        b"101,1,0:",
        b"100,1,0:",
        b"0,101,0:",
        b"60,1,0:60,1,0:",
        b"0,1,0:x",
        b"0,9999999999,0:",
    ],
)
def test_a_malformed_delta_is_refused(change: bytes) -> None:
    with pytest.raises(delta.DeltaError):
        delta.apply(b"x" * 100, change if change.startswith(b"scriptrun") or not change else delta.HEADER + change)


def test_a_delta_that_makes_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(delta.DeltaError, match="longer than the 100 bytes"):
        delta.apply(b"x" * 100, delta.HEADER + b"100,0,1:x")


FILES = {f"package{n % 7}/module_{n}.py": b"%d" % n for n in range(500)}


@pytest.fixture
def session(tmp_path) -> Session:
    return Session(Layout(str(tmp_path / "root")))


def test_a_snapshot_is_offered_as_a_change_of_one_that_is_here(session: Session) -> None:
    base, thing = parcel(FILES), parcel({**FILES, "package3/module_3.py": b"changed"})
    session.put(base)
    change = delta.encode(base.manifest, thing.manifest)
    assert len(change) < 200
    assert session.offer_change(thing, base.id, change) == [sha256(b"changed")]
    assert session.send(thing, [sha256(b"changed")])["complete"]
    assert Path(session.layout.snapshot(thing.id)).read_bytes() == thing.manifest


def test_a_change_that_needs_no_blob_is_complete_by_its_offer(session: Session) -> None:
    base, thing = parcel(FILES), parcel(dict(list(FILES.items())[:-1]))
    session.put(base)
    assert session.offer_change(thing, base.id, delta.encode(base.manifest, thing.manifest)) == []
    assert os.path.exists(session.layout.snapshot(thing.id))


def test_a_change_of_what_is_not_here_is_wanted_whole(session: Session) -> None:
    base, thing = parcel(FILES), parcel({**FILES, "new": b"new"})
    change = delta.encode(base.manifest, thing.manifest)
    assert session.offer_change(thing, base.id, change) is None
    session.offer(base)  # on its way is not there
    assert session.offer_change(thing, base.id, change) is None
    session.put(thing)


@pytest.mark.parametrize("damage", [b"", b"x", b"scriptrun-manifest-1\n", b"longer"])
def test_a_base_that_is_damaged_here_makes_the_manifest_wanted_whole(session: Session, damage: bytes) -> None:
    base, thing = parcel(FILES), parcel({**FILES, "new": b"new"})
    session.put(base)
    Path(session.layout.snapshot(base.id)).write_bytes(base.manifest + damage if damage == b"longer" else damage)
    assert session.offer_change(thing, base.id, delta.encode(base.manifest, thing.manifest)) is None
    assert not os.path.exists(session.layout.offered(thing.id))


def test_a_delta_of_another_snapshot_is_not_taken_for_this_one(session: Session) -> None:
    base, thing, other = parcel(FILES), parcel({**FILES, "new": b"new"}), parcel({**FILES, "new": b"other"})
    session.put(base)
    assert session.offer_change(thing, base.id, delta.encode(base.manifest, other.manifest)) is None


def test_a_delta_to_what_is_no_manifest_is_refused(session: Session) -> None:
    base = parcel(FILES)
    session.put(base)
    wrong = base.manifest + b"7:../../x,1:f,1:0,64:%b," % (b"0" * 64)
    change = delta.HEADER + b"%d,0,%d:" % (len(base.manifest), len(wrong) - len(base.manifest))
    change += wrong[len(base.manifest) :]
    assert delta.apply(base.manifest, change) == wrong
    with pytest.raises(Refusal, match="cannot be used"):
        session.offer_change(Parcel(snapshot_id(wrong), wrong, {}), base.id, change)
