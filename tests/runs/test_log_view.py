from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.runs import log_view
from airflow_provider.scriptrun.runs.log_view import LogView


def shown(chunks, **options) -> list[str]:
    lines: list[str] = []
    view = LogView(lines.append, **options)
    for chunk in chunks:
        view.feed(chunk)
    view.finish()
    return lines


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


def expected(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "replace").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


text_without_bars = st.binary(max_size=400).map(lambda data: data.replace(b"\r", b""))
texts = st.one_of(
    text_without_bars, st.text(max_size=200).map(lambda text: text.replace("\r", "").encode("utf-8", "replace"))
)


@given(texts, st.lists(st.integers(0, 10_000), max_size=12))
def test_every_line_comes_once_and_in_order_however_the_bytes_are_cut(data, cuts):
    assert shown(cut(data, cuts)) == expected(data)


@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=12))
def test_progress_bars_and_all_else_look_the_same_however_the_bytes_are_cut(data, cuts):
    assert shown(cut(data, cuts)) == shown([data])


@given(st.text(min_size=1, max_size=60), st.lists(st.integers(0, 10**7), max_size=6))
def test_a_very_long_line_comes_in_pieces_that_together_are_the_line(unit, cuts):
    unit = unit.replace("\r", "").replace("\n", "") or "é"
    data = unit.encode("utf-8", "replace") * (3 * log_view.MAX_LINE_BYTES // len(unit.encode("utf-8", "replace")) + 1)
    lines = shown(cut(data, cuts))
    assert "".join(lines) == data.decode()
    assert max(len(line.encode()) for line in lines) <= log_view.MAX_LINE_BYTES


@given(texts, st.integers(0, 400), st.lists(st.integers(0, 1000), max_size=5))
def test_a_successor_goes_on_at_the_first_line_that_was_not_shown(data, read, cuts):
    first: list[str] = []
    view = LogView(first.append)
    for chunk in cut(data[:read], cuts):
        view.feed(chunk)
    rest = shown([data[view.shown_offset :]], offset=view.shown_offset)
    assert first + rest == expected(data)


def test_a_progress_bar_shows_its_last_state():
    assert shown([b"\r 10%|#", b"\r 50%|###\r100%|######", b"\ndone\n"]) == ["100%|######", "done"]


def test_a_windows_line_end_is_no_progress_bar():
    assert shown([b"one\r\ntwo\r", b"\n"]) == ["one", "two"]


def test_a_progress_bar_without_an_end_shows_itself_now_and_then():
    lines: list[str] = []
    view = LogView(lines.append)
    view.tick(0.0)
    view.feed(b"\r 1%")
    view.feed(b"\r 2%")
    view.tick(1.0)
    view.tick(2.0)
    assert lines == []
    view.tick(1.0 + log_view.REDRAW_SECONDS)
    assert lines == [" 1%"]


def test_a_progress_bar_of_hours_takes_no_memory():
    lines: list[str] = []
    view = LogView(lines.append)
    for step in range(20_000):
        view.feed(b"\r%8d of 20000 steps" % step)
    assert len(view._pending) <= 2 * log_view.MAX_LINE_BYTES
    view.feed(b"\n")
    assert lines == ["   19999 of 20000 steps"]
    assert view.shown_offset == 20_000 * 24 + 1


def test_over_the_cap_come_the_head_the_last_lines_and_where_the_rest_is():
    lines = shown([b"".join(b"line %d\n" % n for n in range(10_000))], cap_bytes=100, whole="/somewhere/run.log")
    head = lines.index(next(line for line in lines if "/somewhere/run.log" in line))
    assert lines[:head] == [f"line {n}" for n in range(head)]
    assert 5 < head < 20
    assert lines[-1] == "line 9999"
    tail = lines[head + 1 :]
    assert tail == [f"line {n}" for n in range(10_000 - len(tail), 10_000)]
    assert len(tail) == log_view.TAIL_LINES


def test_a_log_of_exactly_the_cap_is_shown_whole():
    assert shown([b"12345678\n"], cap_bytes=9) == ["12345678"]


def test_what_was_left_out_is_counted_in_bytes():
    lines = shown([b"1234\n", b"5678\n", b"9"], cap_bytes=5)
    assert lines[0] == "1234"
    assert "6 bytes are not shown" in lines[1]
    assert lines[2:] == ["5678", "9"]
