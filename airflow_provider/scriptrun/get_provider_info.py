"""What Airflow asks about this package at the start of every process: it must stay cheap to import."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as ``provider.yaml.schema.json`` of Airflow defines it."""
    from airflow_provider.scriptrun import __version__

    return {
        "package-name": "airflow-provider-scriptrun",
        "name": "Script run",
        "description": "Describe a training script once, and run it unchanged on any compute target.",
        "versions": [__version__],
    }
