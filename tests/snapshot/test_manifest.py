"""The manifest format: one tree, one byte string, and nothing else is taken for one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor.protocol import manifest
from airflow_provider.scriptrun.supervisor.protocol.manifest import (
    HEADER,
    Entry,
    ManifestError,
    decode,
    encode,
    encode_entry,
    snapshot_id,
)

name = st.binary(min_size=1, max_size=8).filter(lambda n: not set(n) & set(b"/\0") and n not in (b".", b".."))
path = st.lists(name, min_size=1, max_size=3).map(b"/".join)
digests = st.binary(max_size=3).map(lambda data: hashlib.sha256(data).hexdigest().encode())
entry = st.one_of(
    st.builds(Entry, path, st.sampled_from("fx"), st.integers(0, 2**63), digests),
    st.builds(
        Entry, path, st.just("l"), st.just(0), st.binary(min_size=1, max_size=12).filter(lambda t: b"\0" not in t)
    ),
    st.builds(Entry, path, st.just("d"), st.just(0), st.just(b"")),
)


def is_tree(some: list[Entry]) -> bool:
    """Whether no path lies below another, which only a folder could have below it."""
    paths = {one.path for one in some}
    return not any(path[:at] in paths for path in paths for at in range(len(path)) if path[at : at + 1] == b"/")


entries = st.lists(entry, max_size=6, unique_by=lambda one: one.path).filter(is_tree)


@given(entries)
def test_what_is_encoded_is_decoded_in_the_order_of_bytes(some):
    assert decode(encode(some)) == sorted(some)


plain = entry.filter(lambda one: b"," not in one.path + one.content)


@given(st.lists(plain, min_size=1, max_size=6, unique_by=lambda one: one.path))
def test_what_holds_no_comma_is_read_fast_and_no_other_way(some):
    data = encode(some)
    assert manifest._decode_plain(data) == manifest._decode_any(data) == sorted(some)


@given(st.lists(entry, max_size=6, unique_by=lambda one: one.path), st.data())
def test_what_is_read_fast_is_what_is_read_slowly(some, data):
    whole = bytearray(encode(some))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(len(HEADER), len(whole)))
        whole[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    fast = manifest._decode_plain(bytes(whole))
    if fast is not None:
        assert fast == manifest._decode_any(bytes(whole))


@given(entries, st.randoms())
def test_the_order_of_entries_does_not_matter(some, random):
    shuffled = list(some)
    random.shuffle(shuffled)
    assert encode(shuffled) == encode(some)


@given(entries, entries)
def test_different_entries_never_share_their_bytes(some, others):
    assert (encode(some) == encode(others)) is (sorted(some) == sorted(others))


@given(entries)
def test_a_manifest_is_its_header_and_its_entries(some):
    assert encode(some) == HEADER + b"".join(encode_entry(*one) for one in sorted(some))


@given(entries.filter(bool), st.data())
def test_a_manifest_that_is_cut_off_is_refused_or_a_shorter_one(some, data):
    whole = encode(some)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        decoded = decode(cut)
    except ManifestError:
        return
    assert encode(decoded) == cut  # it ended between two entries: another manifest, with another id
    assert snapshot_id(cut) != snapshot_id(whole)


@given(entries.filter(bool), st.data())
def test_no_other_bytes_decode_to_the_same_entries(some, data):
    whole = bytearray(encode(some))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(whole))
    except ManifestError:
        return
    assert decoded != sorted(some)


@given(st.binary(max_size=60))
def test_noise_is_refused_with_the_one_error(noise):
    for data in (noise, HEADER + noise):
        try:
            assert encode(decode(data)) == data
        except ManifestError:
            continue


@pytest.mark.parametrize("bad", [b"/a", b"a/", b"a//b", b"..", b"a/../b", b"./a", b"a/.", b"", b"a\0b"])
def test_a_path_that_leaves_its_root_is_refused(bad):
    with pytest.raises(ManifestError):
        decode(HEADER + encode_entry(bad, "d", 0, b""))


@pytest.mark.parametrize(
    "bad",
    [
        Entry(b"a", "q", 0, b""),
        Entry(b"a", "f", 1, b"0" * 63),
        Entry(b"a", "f", 1, b"G" * 64),
        Entry(b"a", "f", -1, b"0" * 64),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ManifestError):
        decode(HEADER + encode_entry(*bad))


@pytest.mark.parametrize(
    "bad",
    [
        b"01:a,1:d,1:0,0:,",
        b"1:a,1:d,2:00,0:,",
        b"1:a,1:d,1:1,0:,",
        b"1:a,1:d,1:0,1:x,",
        b"1:a,1:l,1:1,1:x,",
        b"1:a,1:l,1:0,0:,",
        b"1:a,1:d,1:0,0:",
        b"1:a,1:d,1:0,",
        b" 1:a,1:d,1:0,0:,",
        b"+1:a,1:d,1:0,0:,",
        b"99999999999999999999:a,1:d,1:0,0:,",
    ],
)
def test_no_tree_has_a_second_manifest(bad):
    with pytest.raises(ManifestError):
        decode(HEADER + bad)


@pytest.mark.parametrize("below", [Entry(b"a/b", "d", 0, b""), Entry(b"a/b/c", "d", 0, b"")])
def test_nothing_lies_below_what_is_no_folder(below):
    with pytest.raises(ManifestError):
        decode(encode([Entry(b"a", "l", 0, b"x"), below]))


def test_a_path_that_stands_twice_is_refused():
    twice = encode_entry(b"a", "d", 0, b"")
    with pytest.raises(ManifestError, match="twice"):
        decode(HEADER + twice + twice)


def test_an_id_is_the_hash_of_the_bytes():
    assert snapshot_id(HEADER) == hashlib.sha256(b"scriptrun-manifest-1\n").hexdigest()
