"""The airflow DAGs whose runs end themselves when nobody watches them for a minute.

That is a setting of the worker. Airflow reads a DAG file in a process of each task's own, so it is set here for the
tasks of this file alone.
"""

from __future__ import annotations

import os

from job_dag import make_dags

for name in ("ORPHAN_AFTER_SECONDS", "LOCAL_ORPHAN_AFTER_SECONDS"):
    os.environ[f"AIRFLOW__SCRIPTRUN__{name}"] = "60"

globals().update(make_dags("leased"))
