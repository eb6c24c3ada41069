from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider.scriptrun.runs import metrics
from airflow_provider.scriptrun.runs.metrics import Messages


def folded(data: bytes, *, step: int | None = None) -> Messages:
    messages = Messages(keep_series=True)
    for at in range(0, len(data), step or len(data) or 1):
        messages.feed(data[at : at + (step or len(data))])
    messages.finish()
    return messages


def test_the_last_value_and_the_series_are_kept():
    data = b'{"metric":"rmse","value":2.0,"step":1}\n{"metric":"rmse","value":1.0}\n{"tag":"stage","value":"fit"}\n'
    messages = folded(data)
    assert messages.last == {"rmse": 1.0}
    assert messages.series == {"rmse": [2.0, 1.0]}
    assert messages.tags == {"stage": "fit"}
    assert messages.bad_lines == 0


def test_a_bad_line_is_counted_and_does_no_harm():
    bad = [
        b"nonsense",
        b"[1]",
        b'{"metric":5}',
        b'{"metric":"","value":1}',
        b'{"metric":"a","value":{"b":[1]}}',
        b"\xff",
    ]
    data = b"\n".join([*bad, b"", b'{"metric":"ok","value":1}', b""])
    messages = folded(data)
    assert messages.last == {"ok": 1}
    assert messages.bad_lines == 6


def test_a_last_line_without_a_newline_counts():
    assert folded(b'{"metric":"a","value":1}').last == {"a": 1}


def test_numbers_that_are_not_finite_stay_plain_json():
    messages = folded(b'{"metric":"a","value":NaN}\n{"metric":"b","value":-Infinity}\n{"metric":"c","value":[1e999]}\n')
    assert messages.last == {"a": "nan", "b": "-inf", "c": ["inf"]}
    json.dumps(messages.last, allow_nan=False)


def test_a_line_longer_than_allowed_is_left_alone_without_filling_the_memory():
    messages = Messages()
    for _ in range(100):
        messages.feed(b"x" * metrics.MAX_MESSAGE_BYTES)
        assert len(messages._pending) <= 2 * metrics.MAX_MESSAGE_BYTES
    messages.feed(b'\n{"metric":"a","value":1}\n')
    assert messages.last == {"a": 1}
    assert messages.bad_lines == 1


def test_more_names_than_allowed_are_counted():
    data = b"".join(b'{"metric":"m%d","value":1}\n' % n for n in range(metrics.MAX_NAMES + 5))
    messages = folded(data)
    assert len(messages.last) == metrics.MAX_NAMES
    assert messages.left_out == 5


def test_rows_and_lists_are_values():
    messages = folded(b'{"metric":"r","value":{"a":1,"b":"x"}}\n{"metric":"l","value":[1,null,true]}\n')
    assert messages.last == {"r": {"a": 1, "b": "x"}, "l": [1, None, True]}


@given(
    st.binary(max_size=300)
    | st.lists(
        st.dictionaries(st.sampled_from(["metric", "tag", "value"]), st.text() | st.floats() | st.integers())
    ).map(lambda items: b"\n".join(json.dumps(item).encode() for item in items)),
    st.integers(1, 50),
)
def test_messages_are_the_same_however_their_bytes_are_cut(data, step):
    assert folded(data, step=step) == folded(data)
