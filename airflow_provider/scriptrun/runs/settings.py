"""Every option of the ``[scriptrun]`` section: its default, its unit and one line that says what it is for.

One table: the provider registers it with Airflow (``options()``), and ``Settings`` is made from it in plain Python too.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider.scriptrun.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE


class Option(NamedTuple):
    """One option as a person reads about it."""

    name: str
    type: str  #: ``string``, ``integer``, ``float`` or ``boolean``, as Airflow names them
    default: Any
    description: str
    example: str | None


def _option(default: Any, description: str, example: str | None = None) -> Any:
    return field(default=default, metadata={"description": description, "example": example})


@dataclass(frozen=True)
class Settings:
    """The options with their values. Unit and meaning stand in ``options()``; an empty text means "not set"."""

    workspace: str = _option(
        "",
        "Where snapshots, run records, logs and outputs are kept: a folder, or any object storage URL that fsspec "
        "knows. Empty: the folder scriptrun under AIRFLOW_HOME.",
        "s3://team-bucket/scriptrun",
    )
    workspace_options: str = _option(
        "",
        "Options for the workspace's file system, as a JSON object of fsspec storage options. No credentials here: "
        "they come from the environment or the cloud's own configuration.",
        '{"client_kwargs": {"region_name": "eu-west-1"}}',
    )
    workspace_page: str = _option(
        "",
        "Where a browser finds the workspace, for the link to a run's folder: a web server or file browser that shows "
        "it. Empty: the console of S3 or Google Cloud Storage; any other workspace has no such link then.",
        "https://files.example.com/scriptrun",
    )
    cache_directory: str = _option(
        "",
        "Where a worker remembers what it has hashed and stored. Deleting it costs time, never data. "
        "Empty: the folder scriptrun-cache under AIRFLOW_HOME.",
        "/var/cache/scriptrun",
    )
    local_root: str = _option(
        "~/.scriptrun", "The folder under which the compute target `local` keeps its runs.", "/data/scriptrun"
    )
    local_interpreter: str = _option(
        "",
        "The Python that the compute target `local` offers. Empty: the one that runs the worker.",
        "/usr/bin/python3.12",
    )
    local_max_runs: int = _option(0, "How many runs `local` executes at once; more are Queued. 0: no limit.", "4")
    inherit_variables: str = _option(
        "",
        "Names (patterns with *, separated by commas) of the worker's variables that a `local` script may see.",
        "CUDA_*,LD_LIBRARY_PATH",
    )
    orphan_after_seconds: int = _option(
        86400, "A run that nobody watched for so many seconds ends itself. 0: never.", "604800"
    )
    local_orphan_after_seconds: int = _option(3600, "The same for runs on `local`. 0: never.", "0")
    cancel_grace_seconds: float = _option(
        30.0, "How many seconds a cancelled script has between SIGTERM and SIGKILL.", "90"
    )
    defer_after_seconds: float = _option(
        30.0,
        "A deferrable task waits in its worker for so many seconds first, so that short runs never defer.",
        "120",
    )
    triggerer_shares_host: bool = _option(
        False,
        "Whether the triggerer runs on the worker's own host, so that runs on `local` can be watched from there. "
        "Elsewhere a deferrable task on `local` waits in its worker.",
        "True",
    )
    poll_wait_seconds: float = _option(20.0, "How many seconds a request for news may wait on the target.", "10")
    unreachable_after_seconds: int = _option(
        600,
        "A submission gives up on a target that it cannot reach for so many seconds, unless a run of it may be there: "
        "then it waits until that has surely ended itself. 0: it never gives up.",
        "3600",
    )
    task_log_cap_bytes: int = _option(
        64 * MEBIBYTE,
        "How many bytes of a script's log are shown in the task log; beyond them the last lines, and where the rest "
        "is. 0: no limit.",
        "1048576",
    )
    snapshot_warn_bytes: int = _option(
        300 * MEBIBYTE, "A larger source directory is sent with a warning (bytes).", "1073741824"
    )
    snapshot_warn_files: int = _option(2000, "More changed files than this are sent with a warning.", "10000")
    snapshot_max_bytes: int = _option(0, "A larger source directory is refused (bytes). 0: no limit.", "10737418240")
    outputs_record_files: int = _option(50, "How many output files a run record names; the rest is counted.", "10")
    index_url: str = _option(
        "", "The package index that environments are built from. Empty: the tools' own default.", None
    )
    extra_index_urls: str = _option("", "More package indexes, separated by commas or spaces.", None)
    ca_file: str = _option(
        "", "A file of certificates that the package index is checked against.", "/etc/ssl/company.pem"
    )
    environment_lock_max_age_days: float = _option(
        30.0, "After so many days requirements are resolved again. 0: never.", "7"
    )
    environment_max_age_days: float = _option(
        30.0, "An environment that nobody used for so many days is removed. 0: never.", "90"
    )
    environment_budget_bytes: int = _option(
        20 * GIBIBYTE, "How much disk environments may take on a target (bytes). 0: no limit.", None
    )
    target_budget_bytes: int = _option(
        20 * GIBIBYTE, "How much disk runs and sent files may take on a target (bytes). 0: no limit.", "107374182400"
    )
    target_max_age_days: float = _option(14.0, "What a target kept longer than so many days is removed. 0: never.", "3")

    @classmethod
    def read(cls, get: Callable[[str], str | None]) -> Settings:
        """Make settings from ``get(name)``, the raw text of one option or ``None`` where it is not set.

        Raises :class:`ConfigurationError` that names the option when a text is no number of the option's type.
        """
        values = {}
        for option in options():
            text = get(option.name)
            if text is not None and text.strip() != "":
                values[option.name] = _convert(option, text.strip())
        return cls(**values)

    @property
    def storage_options(self) -> Mapping[str, Any]:
        """``workspace_options`` as a mapping. Raises :class:`ConfigurationError` when it is no JSON object."""
        try:
            value = json.loads(self.workspace_options or "{}")
        except ValueError as error:
            raise ConfigurationError("[scriptrun] workspace_options is no JSON", why=str(error)) from None
        if not isinstance(value, dict):
            raise ConfigurationError(
                "[scriptrun] workspace_options must be a JSON object", advice='Write {"key": "value"}'
            )
        return value


def options() -> Iterator[Option]:
    """Yield every option, in the order of the table."""
    for item in fields(Settings):
        kind = {str: "string", int: "integer", float: "float", bool: "boolean"}[type(item.default)]
        yield Option(item.name, kind, item.default, item.metadata["description"], item.metadata["example"])


def _flag(option: Option, text: str) -> bool:
    """Read a truth value as Airflow's own configuration does."""
    if text.lower() in ("t", "true", "1"):
        return True
    if text.lower() in ("f", "false", "0"):
        return False
    raise ConfigurationError(f"[scriptrun] {option.name} = {text!r} is not valid", advice="Write True or False")


def _convert(option: Option, text: str) -> Any:
    if option.type == "string":
        return text
    if option.type == "boolean":
        return _flag(option, text)
    try:
        value = int(text) if option.type == "integer" else float(text)
    except ValueError:
        value = -1
    if not (math.isfinite(value) and value >= 0):
        kind = "a whole number" if option.type == "integer" else "a number"
        raise ConfigurationError(
            f"[scriptrun] {option.name} = {text!r} is not valid",
            advice=f"Write {kind} of 0 or more; the default is {option.default}",
        )
    return value
