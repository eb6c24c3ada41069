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
        "hooks": [
            {
                "integration-name": INTEGRATION,
                "python-modules": [f"{PACKAGE}.hooks.scriptrun", f"{PACKAGE}.hooks.docker"],
            }
        ],
        "triggers": [{"integration-name": INTEGRATION, "python-modules": [f"{PACKAGE}.triggers.run_over"]}],
        "extra-links": [f"{PACKAGE}.links.run_links.{name}" for name in ("RunFolderLink", "CommitLink")],
        "task-decorators": [{"name": "script_run", "class-name": f"{PACKAGE}.decorators.script_run.script_run_task"}],
        "connection-types": [_local_connection(), _ssh_connection(), _docker_connection()],
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
            **_RUN_FIELDS,
        },
    }


def _ssh_connection() -> dict[str, Any]:
    """Return the form of a connection to a remote machine; the SSH provider's fields under its names."""
    return {
        "connection-type": "scriptrun_ssh",
        "hook-class-name": f"{PACKAGE}.hooks.scriptrun.ScriptRunSshHook",
        "hook-name": "Script run: SSH",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "extra"],
            "relabeling": {"login": "User"},
            "placeholders": {
                "host": "gpu1.example.com",
                "port": "22",
                "login": "scriptrun",
                "password": "empty where there is a private key",
                "host_key": "ssh-ed25519 AAAAC3Nz...",
                "root": "~/.scriptrun",
                "interpreter": "python3",
            },
        },
        "conn-fields": {
            **_section("Key", _KEY_FIELDS),
            **_section("Host key check", _HOST_KEY_FIELDS),
            **_section("Network", _NETWORK_FIELDS),
            **_section("Runs there", _THERE_FIELDS | _RUN_FIELDS),
        },
    }


def _docker_connection() -> dict[str, Any]:
    """Return the form of a connection to a Docker engine; user and password are those of its registry."""
    return {
        "connection-type": "scriptrun_docker",
        "hook-class-name": f"{PACKAGE}.hooks.docker.ScriptRunDockerHook",
        "hook-name": "Script run: Docker",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "extra"],
            "relabeling": {"host": "Engine", "login": "Registry user", "password": "Registry password"},
            "placeholders": {
                "host": "unix:///var/run/docker.sock",
                "port": "2376",
                "login": "robot",
                "ssh_connection": "training_vm",
                "registry": "registry.example.com:5000",
                "base_image": "python:3.11-slim",
                "volume": "scriptrun",
                "interpreter": "python3",
                "memory": "8g",
                "proxies": '{"http": "http://proxy:3128", "no": "localhost"}',
            },
        },
        "conn-fields": {
            **_section("Engine", _ENGINE_FIELDS),
            **_section("Registry", _REGISTRY_FIELDS),
            **_section("Images", _IMAGE_FIELDS),
            **_section("Runs there", _CONTAINER_FIELDS | _RUN_FIELDS),
        },
    }


def _field(label: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema or {"type": ["string", "null"]}}


def _section(heading: str, fields: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the fields under a heading of their own: Airflow shows one section of a form at a time."""
    return {
        name: {**described, "schema": {**described["schema"], "section": heading}} for name, described in fields.items()
    }


_KEY_FIELDS: dict[str, dict[str, Any]] = {
    "private_key": _field(
        "Private key",
        "The key itself, with its first and last line. Every worker can use it then.",
        {"type": ["string", "null"], "format": "multiline"},
    ),
    "key_file": _field("Private key file", "In its place: the path of a key that is on every worker."),
    "private_key_passphrase": _field(
        "Passphrase",
        "Of the private key, where it has one.",
        {"type": ["string", "null"], "format": "password"},
    ),
}
_HOST_KEY_FIELDS: dict[str, dict[str, Any]] = {
    "host_key": _field(
        "Host key",
        "The machine's public key, as in /etc/ssh/ssh_host_ed25519_key.pub there. Empty: it must be in known_hosts.",
    ),
    "known_hosts": _field(
        "Known hosts file", "The path of one that is on every worker. Empty: ~/.ssh/known_hosts of the worker's user."
    ),
    "no_host_key_check": _field(
        "Skip the host key check",
        "Whoever is in between can then read and change everything. For throw-away machines only.",
        {"type": ["boolean", "null"], "default": False},
    ),
}
_NETWORK_FIELDS: dict[str, dict[str, Any]] = {
    "jump_hosts": _field(
        "Jump hosts", "Ids of SSH connections to go through, the first one first, separated by commas."
    ),
    "keepalive_interval": _field(
        "Keepalive, seconds",
        "How often something is sent over a quiet connection, so that no firewall forgets it.",
        {"type": ["integer", "null"], "minimum": 1, "default": 30},
    ),
    "conn_timeout": _field(
        "Connect timeout, seconds",
        "How long the machine may take to accept the connection.",
        {"type": ["integer", "null"], "minimum": 1, "default": 10},
    ),
}
_THERE_FIELDS: dict[str, dict[str, Any]] = {
    "root": _field(
        "Root directory", "The folder there that keeps runs, sent files and environments. Empty: ~/.scriptrun."
    ),
    "interpreter": _field(
        "Python interpreter",
        "Python 3.8 or later: it looks after runs, and scripts get it where their environment asks for none. "
        "Empty: python3.",
    ),
}
_ENGINE_FIELDS: dict[str, dict[str, Any]] = {
    "ssh_connection": _field(
        "SSH connection",
        "Id of the SSH connection to the engine's machine; ssh://<id> in Engine is the same. Empty: it is reached "
        "directly.",
    ),
    "tls_ca_file": _field(
        "TLS: CA file", "The certificates that the engine's is checked against: a path that is on every worker."
    ),
    "tls_cert_file": _field("TLS: certificate file", "Ours, where the engine asks for one, on every worker."),
    "tls_key_file": _field("TLS: key file", "The key of our certificate, on every worker."),
    "tls_verify": _field(
        "TLS: check the certificate",
        "Without a CA file: against the system's. Unchecked, whoever is in between can read and change everything.",
        {"type": ["boolean", "null"]},
    ),
    "tls_hostname": _field("TLS: name in the certificate", "Where it is not the one in Engine."),
}
_REGISTRY_FIELDS: dict[str, dict[str, Any]] = {
    "registry": _field(
        "Registry",
        "Where built images are pushed to and pulled from, so that engines share them. Empty, with a user: Docker Hub.",
    ),
    "registry_connection": _field(
        "Registry connection",
        "Id of an Airflow connection of type docker with the login, in place of user and password.",
    ),
    "share_environments": _field(
        "Share environments",
        "Where a registry is named: environments that one engine has built are published there, and others fetch them.",
        {"type": ["boolean", "null"], "default": True},
    ),
}
_IMAGE_FIELDS: dict[str, dict[str, Any]] = {
    "base_image": _field("Base image", "What environments without an image are made from. Empty: python:3.11-slim."),
    "interpreter": _field("Python interpreter", "The Python in images, 3.8 or later. Empty: python3."),
    "index_url": _field(
        "Package index",
        "What environments are built from. Empty: what [scriptrun] index_url says.",
        {"type": ["string", "null"], "format": "password"},
    ),
    "ca_file": _field(
        "CA file for builds",
        "On every worker: what the index is checked against. Empty: what [scriptrun] ca_file says.",
    ),
    "proxies": _field(
        "Proxies", "For builds and runs, as a JSON object of http, https and no.", {"type": ["object", "null"]}
    ),
}
_CONTAINER_FIELDS: dict[str, dict[str, Any]] = {
    "volume": _field(
        "Volume",
        "The engine's volume that keeps sent files and runs, and begins their containers' names. Empty: scriptrun.",
    ),
    "network": _field("Network", "Of every container, where a configuration names none."),
    "cpus": _field(
        "CPUs", "Of every run, where a configuration does not say.", {"type": ["number", "null"], "exclusiveMinimum": 0}
    ),
    "memory": _field("Memory", "Of every run, where a configuration does not say: 8g."),
}
#: What every connection to a host may say about the runs there.
_RUN_FIELDS: dict[str, dict[str, Any]] = {
    "max_runs": _field(
        "Runs at once",
        "How many runs execute at the same time; more are Queued. 0: no limit.",
        {"type": ["integer", "null"], "minimum": 0},
    ),
    "environment_variables": _field(
        "Environment variables",
        "For every script that runs here, as a JSON object; a configuration's own win.",
        {"type": ["object", "null"]},
    ),
}
