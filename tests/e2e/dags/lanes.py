"""One airflow DAG for each way to run a script, called after its kind and its lane: ``job_ssh_deferred``."""

from __future__ import annotations

from datetime import timedelta

from job_dag import make_dags

globals().update(make_dags("job"))
globals().update(make_dags("again", retries=1))
globals().update(make_dags("doomed"))
globals().update(make_dags("brief", execution_timeout=timedelta(seconds=60)))
globals().update(make_dags("limited", config={"max_run_duration_seconds": 20}))
# while the API server is away no try can start, so each costs a retry at once
globals().update(make_dags("patient", retry_delay=timedelta(seconds=60)))
