"""What Airflow asks about this package when a process begins: options, hooks, operators, connection forms.

Imports no more than the table of options: every process of an Airflow installation pays for what stands here.
"""

from __future__ import annotations

from typing import Any

INTEGRATION = "Script run"
PACKAGE = "airflow_provider.scriptrun"
#: Options that may hold a password: Airflow masks their values, and takes them from a command or a secrets backend too.
SENSITIVE_OPTIONS = frozenset({"index_url", "extra_index_urls"})
#: The release that brought an option, where it was not the first one.
ADDED_LATER: dict[str, str] = {}
FIRST_RELEASE = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as Airflow's ``provider.yaml.schema.json`` defines it."""
    from airflow_provider.scriptrun.version import __version__

    return {
        "package-name": "airflow-provider-scriptrun",
        "name": INTEGRATION,
        "description": "Describe a training script once, and run it unchanged on any compute target that an Airflow "
        "connection names.",
        "state": "ready",
        "source-date-epoch": 0,
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://airflow.apache.org/docs/",
                "tags": ["machine-learning"],
            }
        ],
        "operators": [{"integration-name": INTEGRATION, "python-modules": [f"{PACKAGE}.operators.scriptrun"]}],
        "hooks": [{"integration-name": INTEGRATION, "python-modules": [f"{PACKAGE}.hooks.scriptrun"]}],
        "connection-types": [_local_connection()],
        "config": {"scriptrun": {"description": "Where runs happen, and what they may take.", "options": _options()}},
    }


def _options() -> dict[str, dict[str, Any]]:
    from airflow_provider.scriptrun.runs.settings import options

    return {
        option.name: {
            "description": option.description,
            "version_added": ADDED_LATER.get(option.name, FIRST_RELEASE),
            "type": option.type,
            "example": option.example,
            "default": str(option.default),
            **({"sensitive": True} if option.name in SENSITIVE_OPTIONS else {}),
        }
        for option in options()
    }


def _local_connection() -> dict[str, Any]:
    """Return the form of a connection to this host: what the options for ``local`` say, under a name of its own."""
    return {
        "connection-type": "scriptrun_local",
        "hook-class-name": f"{PACKAGE}.hooks.scriptrun.ScriptRunHook",
        "hook-name": "Script run: this host",
        "ui-field-behaviour": {
            "hidden-fields": ["host", "port", "login", "password", "schema", "extra"],
            "relabeling": {},
            "placeholders": {
                "root": "~/.scriptrun",
                "interpreter": "/usr/bin/python3.12",
            },
        },
        "conn-fields": {
            "root": {
                "label": "Root directory",
                "description": "The folder on the worker's host that keeps runs, sent files and environments. "
                "Empty: what [scriptrun] local_root says.",
                "schema": {"type": ["string", "null"]},
            },
            "interpreter": {
                "label": "Python interpreter",
                "description": "The Python that scripts get where their environment asks for none. "
                "Empty: what [scriptrun] local_interpreter says.",
                "schema": {"type": ["string", "null"]},
            },
            "max_runs": {
                "label": "Runs at once",
                "description": "How many runs execute at the same time; more are Queued. 0: no limit.",
                "schema": {"type": ["integer", "null"], "minimum": 0},
            },
            "environment_variables": {
                "label": "Environment variables",
                "description": "For every script that runs here, as a JSON object; a configuration's own win.",
                "schema": {"type": ["object", "null"]},
            },
        },
    }
