"""Airflow DAGs of the job in a container, which shares a folder with its test, one for each lane: ``job_docker``."""

from __future__ import annotations

from job_dag import make_dags

#: Lane -> (compute target, deferrable).
LANES = {"docker": ("engine", False), "docker_deferred": ("engine", True)}
MOUNT = {"arguments": ["-v", "{{ params.folder }}:{{ params.folder }}"]}

globals().update(make_dags("job", lanes=LANES, config={"docker_runtime_config": MOUNT}))
