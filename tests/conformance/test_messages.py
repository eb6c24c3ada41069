"""Metrics come back as they are logged, by an append-only file of JSON lines, from any language."""

from __future__ import annotations

import json
import uuid

from airflow_provider.scriptrun.targets.contract import Cursor, Stream


def test_lines_come_in_order_from_any_language_and_while_the_script_runs(client, place, target):
    fifo = place.fifo(uuid.uuid4().hex)
    script = """
import json, os, subprocess, sys
with open(os.environ["SCRIPTRUN_MESSAGES"], "a") as file:
    for step in range(3):
        print(json.dumps({"metric": "loss", "value": 1 / (step + 1)}), file=file, flush=True)
subprocess.check_call(["sh", "-c", 'echo "{\\\\"from\\\\": \\\\"sh\\\\"}" >> "$SCRIPTRUN_MESSAGES"'])
print("logged", flush=True)
open(sys.argv[1]).read()
with open(os.environ["SCRIPTRUN_MESSAGES"], "a") as file:
    print(json.dumps({"last": True}), file=file)
"""
    started = client.start(script, argv=("python", "main.py", fifo))
    early = client.follow(started.run_id, until=lambda followed: followed.messages.count(b"\n") == 4)
    lines = [json.loads(line) for line in early.messages.splitlines()]
    assert lines == [*({"metric": "loss", "value": 1 / n} for n in (1, 2, 3)), {"from": "sh"}]
    place.let_go(fifo)
    whole = client.follow(started.run_id).messages
    assert whole == early.messages + b'{"last": true}\n'
    rest = target.poll([Cursor(started.run_id, offsets={Stream.MESSAGES: len(early.messages)})], wait_s=0)
    assert rest[0].data(Stream.MESSAGES) == b'{"last": true}\n'
