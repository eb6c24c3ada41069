"""Runs in containers of a Docker engine."""

from airflow_provider.scriptrun.targets.docker.late_ssh import load_ssh_late

load_ssh_late()
