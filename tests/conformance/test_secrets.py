"""No secret stands in an argument vector or in a file, while a run goes on and after it."""

from __future__ import annotations

import uuid

from airflow_provider.scriptrun.supervisor.protocol.status import Status

SCRIPT = """
import hashlib, os, sys
print(hashlib.sha256(os.environ["HF_TOKEN"].encode()).hexdigest(), flush=True)
open(sys.argv[1]).read()
"""


def test_a_secret_variable_reaches_the_script_and_stands_nowhere(client, place, target):
    import hashlib

    secret = f"hf-{uuid.uuid4().hex}"
    fifo = place.fifo(uuid.uuid4().hex)
    request, tree = client.request(
        SCRIPT,
        argv=("python", "main.py", fifo),
        secret_variables={"HF_TOKEN": secret},
        secret_environment={"index": secret},
    )
    assert secret not in repr(request)
    client.submit(request, tree)
    expected = hashlib.sha256(secret.encode()).hexdigest()
    client.wait_for(request.run_id, expected)
    assert secret.encode() not in everything_written(place)
    assert secret.encode() not in command_lines(place)
    assert secret not in str(target.status([request.run_id])[request.run_id].document)
    assert secret not in target.handle(request.run_id, request.lineage).to_json()
    place.let_go(fifo)
    assert client.follow(request.run_id).end.status is Status.COMPLETED
    assert secret.encode() not in everything_written(place)


def everything_written(place) -> bytes:
    """Return the content of every file of the root."""
    return place.run("find", place.root, "-type", "f", "-size", "-4096k", "-exec", "cat", "{}", "+", check=False)


def command_lines(place) -> bytes:
    """Return the argument vectors of all processes."""
    return place.run("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null", check=False)


def test_what_is_kept_is_for_its_owner_alone(client, place):
    client.finish("print('x')")
    mode = place.run("stat", "-c", "%a", place.root).strip()
    assert mode == place.root_mode
