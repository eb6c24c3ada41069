from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.supervisor.protocol.frames import Compressed
from airflow_provider.scriptrun.targets.pace import MEASURED_BYTES, Pace, Packer, is_sooner_compressed

TEXT = b"".join(b"value_%d = compute(%d)\n" % (n, n * 7) for n in range(10_000))
NOISE = random.Random(5).randbytes(200_000)
MB = 1e6


@pytest.mark.parametrize(
    ("link", "share", "sooner"),
    [
        (1 * MB, 0.3, True),
        (10 * MB, 0.3, True),
        (10 * MB, 0.8, True),
        (10 * MB, 0.95, False),
        (1 * MB, 1.0, False),
        (59 * MB, 0.3, False),
        (500 * MB, 0.01, False),
    ],
)
def test_compressing_is_for_links_slower_than_the_compressor_and_data_that_shrink(link, share, sooner):
    assert is_sooner_compressed(link, 60 * MB, share) is sooner


@given(*[st.floats(1e3, 1e10)] * 2, st.floats(0, 1), st.floats(0, 1))
def test_what_shrinks_more_is_never_left_alone_where_less_is_compressed(link, compressor, share, less):
    if is_sooner_compressed(link, compressor, max(share, less)):
        assert is_sooner_compressed(link, compressor, min(share, less))
        assert link < compressor


def test_a_pace_is_unknown_until_the_buffers_on_the_way_are_full():
    pace = Pace()
    pace.took(MEASURED_BYTES - 1, 0.001)
    assert pace.per_second(7.0) == 7.0
    pace.took(1, 0.001)
    assert pace.per_second(7.0) == pytest.approx(MEASURED_BYTES / 0.002)


def test_a_pace_forgets_how_fast_the_buffers_filled():
    pace = Pace()
    pace.took(4_000_000, 0.001)
    for _ in range(40):
        pace.took(1_000_000, 1.0)
    assert 0.9 * MB < pace.per_second(0.0) < 1.2 * MB


def test_a_link_without_any_time_is_fast():
    pace = Pace()
    pace.took(MEASURED_BYTES, 0.0)
    assert pace.per_second(0.0) > 1e12


def packer(link: float | None, compressor: float = 60 * MB) -> Packer:
    """Return a packer whose link has this pace, and whose clock shows this compressor."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += len(TEXT) / compressor
        return now

    made = Packer(clock)
    if link is not None:
        made.link.took(MEASURED_BYTES, MEASURED_BYTES / link)
    return made


@pytest.mark.parametrize("link", [None, 1 * MB, 20 * MB])
def test_text_is_compressed_for_a_slow_link_and_for_one_that_is_not_known(link):
    packed = packer(link).pack(TEXT)
    assert isinstance(packed, Compressed)
    assert zlib.decompress(packed) == TEXT
    assert len(packed) < len(TEXT) / 3


@pytest.mark.parametrize(("chunk", "link"), [(TEXT, 500 * MB), (NOISE, 1 * MB), (NOISE, None), (b"a" * 100, 1 * MB)])
def test_what_would_not_arrive_sooner_travels_as_it_is(chunk, link):
    assert packer(link).pack(chunk) is chunk


def test_a_compressor_that_turns_out_slower_than_the_link_is_not_used_any_more():
    slow = packer(20 * MB, compressor=1 * MB)
    packed = [isinstance(slow.pack(TEXT), Compressed) for _ in range(20)]
    assert packed[0]
    assert not packed[-1]
