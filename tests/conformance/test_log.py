"""The log is whole: every byte once, in order, however the script ends."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from airflow_provider.scriptrun.supervisor.protocol.status import Status
from airflow_provider.scriptrun.targets.contract import Cursor, Stream

MEGABYTE = 1024 * 1024


@pytest.mark.core
def test_any_bytes_come_as_they_were_written(client):
    script = "import os\nfor _ in range(2000): os.write(1, bytes(range(256)))"
    assert client.finish(script).log == bytes(range(256)) * 2000


@pytest.mark.parametrize("max_bytes", [1, 2, 3, 7])
def test_characters_that_are_cut_between_two_polls_come_together_again(client, max_bytes):
    text = "\u00fc\u20ac\U0001f600\u0000x" * 20
    started = client.start(f"import os; os.write(1, {text.encode()!r})")
    client.follow(started.run_id)
    assert client.follow(started.run_id, max_bytes=max_bytes).log.decode() == text


def test_a_line_of_five_megabytes_comes_whole(client):
    followed = client.finish("import os, sys\nsys.stdout.buffer.write(b'x' * (5 * 1024 * 1024) + b'\\n')")
    assert (len(followed.log), set(followed.log)) == (5 * MEGABYTE + 1, {ord("x"), ord("\n")})


@pytest.mark.core
@pytest.mark.parametrize(
    "end", ["os._exit(7)", "os.kill(os.getpid(), 9)"], ids=["it exits at once", "it is killed at once"]
)
def test_a_burst_right_before_the_end_comes_whole(client, end):
    script = f"""
import os
block = b"".join(b"line %07d\\n" % number for number in range(400_000))
view = memoryview(block)
while view:
    view = view[os.write(1, view):]
{end}
"""
    followed = client.finish(script)
    expected = b"".join(b"line %07d\n" % number for number in range(400_000))
    assert hashlib.sha256(followed.log).digest() == hashlib.sha256(expected).digest()


def test_standard_output_and_error_are_one_log_in_order(client):
    script = """
import os, subprocess, sys
for number in range(50):
    print("out", number)
    print("err", number, file=sys.stderr)
    subprocess.call(["sh", "-c", "echo child; echo child >&2"]) if number == 25 else None
"""
    lines = []
    for number in range(50):
        lines += [f"out {number}", f"err {number}"] + (["child", "child"] if number == 25 else [])
    assert client.finish(script).log.decode().splitlines() == lines


def test_a_script_that_reopens_its_standard_error_truncates_nothing(client):
    script = "print('before'); import os; os.system('echo inner > /dev/stderr'); print('after')"
    followed = client.finish(script)
    assert followed.log == b"before\ninner\nafter\n"


def test_a_last_line_without_an_end_and_a_progress_bar_come_as_they_are(client):
    followed = client.finish("import os; os.write(1, b'10%\\r20%\\r100%\\ndone')")
    assert followed.log == b"10%\r20%\r100%\ndone"


def test_a_line_is_seen_while_the_script_still_runs(client, place):
    fifo = place.fifo(uuid.uuid4().hex)
    script = "import sys; print('early'); open(sys.argv[1]).read(); print('late')"
    started = client.start(script, argv=("python", "main.py", fifo))
    assert client.wait_for(started.run_id, "early\n").log == b"early\n"
    place.let_go(fifo)
    assert client.follow(started.run_id).log == b"early\nlate\n"


def test_the_log_can_be_read_again_from_any_byte(client, target):
    followed = client.finish("print('0123456789' * 1000)")
    for offset in (0, 1, 4999, 10000, 10001):
        news = target.poll([Cursor(followed.run_id, offsets={Stream.RUN_LOG: offset})], wait_s=0)
        assert news[0].data(Stream.RUN_LOG) == followed.log[offset:]


def test_one_poll_never_brings_more_than_it_was_asked_for(client, target):
    followed = client.finish("print('x' * 100_000)")
    news = target.poll([Cursor(followed.run_id)], wait_s=0, max_bytes=1000)
    assert 0 < sum(len(part.data) for part in news[0].parts) <= 1000
    assert not news[0].is_last
    again = client.follow(followed.run_id, max_bytes=1000)
    assert again.log == followed.log


def test_a_child_left_behind_neither_holds_up_the_end_nor_writes_after_it(client):
    script = """
import os, subprocess
subprocess.Popen(["sh", "-c", "echo child; while :; do sleep 1; done"])
os.write(1, b"parent\\n")  # in one piece: print writes the line and its end apart
"""
    followed = client.finish(script)
    assert followed.end.status is Status.COMPLETED
    assert sorted(followed.log.split()) in ([b"child", b"parent"], [b"parent"])


@pytest.mark.slow
def test_a_large_log_comes_whole_and_in_bounded_pieces(client):
    followed = client.finish("import os\nfor n in range(1024): os.write(1, (b'%063d\\n' % n) * 1024)")
    expected = hashlib.sha256()
    for number in range(1024):
        expected.update((b"%063d\n" % number) * 1024)
    assert hashlib.sha256(followed.log).digest() == expected.digest()
