"""The last task of the examples: print what a run record says."""

from __future__ import annotations

from airflow.sdk import task


@task
def report(record: dict) -> None:
    """Print where it ran, what it found, what was built and sent for it, and where everything is."""
    environment, outputs = record["environment"], record["outputs"]
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in record["phases"].items())
    lines = [
        f"run          {record['run_id']} on {record['target']['name']} ({record['target']['host']})",
        f"status       {record['status']}",
        *(f"metric       {name} = {value:.4f}" for name, value in record["metrics"].items()),
        f"environment  {environment['name']}: {'reused, nothing was built' if environment['reused'] else 'built'}",
        f"snapshot     {_sent(record['snapshot'])}",
        *(f"input        {name}: {_sent(facts)}" for name, facts in record["inputs"].items()),
        f"outputs      {outputs['uri']}: " + ", ".join(file["path"] for file in outputs["files"]),
        f"log          {record['log']['uri']} ({record['log']['bytes']} bytes)",
        f"phases       {phases}",
    ]
    print("=" * 78, *lines, "=" * 78, sep="\n")


def _sent(facts: dict) -> str:
    sent = "nothing had to be sent"
    if facts["sent_files"]:
        sent = f"sent {facts['sent_files']} files, {facts['sent_bytes']} bytes"
    return f"{facts['files']} files, {facts['bytes']} bytes; {sent}"
