"""What the run record says was sent is what went over the wire: nothing more, and nothing twice."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import pytest

from airflow_provider.scriptrun import Run
from tests.network.proxy import DelayingProxy

pytestmark = [pytest.mark.needs("sshd"), pytest.mark.slow]

KILOBYTE = 1024
#: The login, the requests and what the encryption adds, whatever is sent; the install of the supervisor is apart.
OVERHEAD_BYTES = 100 * KILOBYTE
#: A name, a mode, a hash and a length.
OVERHEAD_PER_FILE_BYTES = 50
#: A submission for which nothing is sent: logging in, the start, the answers that are acknowledged.
NOTHING_BYTES = 30 * KILOBYTE
COUNT, SIZE_BYTES = 20, 100 * KILOBYTE


@pytest.fixture
def proxy(server):
    with DelayingProxy(server) as proxy:
        yield proxy


@pytest.fixture
def submit(worker, server, proxy) -> Callable[..., tuple[Run, int]]:
    """Submit files to a host that has the supervisor, wait for the end; return the run, and the bytes that went up."""
    document = server.connection(via=proxy, host_key=None, no_host_key_check=True)
    worker.check(document)
    script = f"print('{uuid.uuid4().hex}')\n"  # the tests before have left theirs there

    def submit(files: dict[str, bytes]) -> tuple[Run, int]:
        before = proxy.traffic().up_bytes
        run = worker.submit({"main.py": script, **files})
        went_up = proxy.traffic().up_bytes - before
        run.wait_for_completion()
        return run, went_up

    return submit


def sent(run: Run) -> tuple[int, int]:
    assert run.record is not None
    snapshot = run.record["snapshot"]
    return snapshot["sent_files"], snapshot["sent_bytes"]


def random_files() -> dict[str, bytes]:
    return {f"data/{number}": os.urandom(SIZE_BYTES) for number in range(COUNT)}


def test_files_travel_once_and_little_else_does(submit):
    run, went_up = submit(random_files())
    files, size = sent(run)
    assert files == COUNT + 1
    assert size >= COUNT * SIZE_BYTES
    assert size <= went_up <= size + OVERHEAD_BYTES + files * OVERHEAD_PER_FILE_BYTES


def test_of_files_that_did_not_change_nothing_travels(submit):
    files = random_files()
    submit(files)
    run, went_up = submit(files)
    assert sent(run) == (0, 0)
    assert went_up <= NOTHING_BYTES


def test_of_files_of_which_one_changed_that_one_travels(submit):
    files = random_files()
    submit(files)
    run, went_up = submit({**files, "data/7": os.urandom(SIZE_BYTES + 1)})
    assert sent(run) == (1, SIZE_BYTES + 1)
    assert SIZE_BYTES < went_up <= SIZE_BYTES + 1 + NOTHING_BYTES + OVERHEAD_PER_FILE_BYTES


def test_files_of_the_same_content_travel_once(submit):
    content = os.urandom(SIZE_BYTES)
    run, went_up = submit({f"copy{number}": content for number in range(COUNT)})
    assert sent(run)[0] == 2
    assert sent(run)[1] < SIZE_BYTES + KILOBYTE
    assert went_up <= SIZE_BYTES + OVERHEAD_BYTES + COUNT * OVERHEAD_PER_FILE_BYTES


def test_what_compresses_takes_less_than_it_is_said_to_hold(submit):
    run, went_up = submit({f"zeros{number}": bytes([number]) * SIZE_BYTES for number in range(COUNT)})
    assert sent(run)[0] == COUNT + 1
    assert went_up < COUNT * SIZE_BYTES // 2
