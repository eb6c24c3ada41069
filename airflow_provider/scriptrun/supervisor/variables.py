"""The environment of a script: an allow-list of what the supervisor's own holds, then what was asked for, then ours."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # spares the import of typing, a third of the start-up
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Mapping, Optional

    from .layout import RunLayout

#: What a program needs from the account it runs under, and what finds certificates, GPUs and their libraries.
INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH",
)  # fmt: skip
#: Whatever patterns are asked for: these carry Airflow's own secrets.
NEVER = ("AIRFLOW*", "_AIRFLOW*")
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
#: The variable by which a process is known to belong to a run.
RUN_ID = "SCRIPTRUN_RUN_ID"


def inherited(base: Mapping[str, str], patterns: Iterable[str]) -> Dict[str, str]:
    """Return what a script gets of ``base``: the allow-list, and names that match one of ``patterns`` (``fnmatch``)."""
    from fnmatch import fnmatchcase

    allowed = (*INHERITED, *patterns)
    return {
        name: value
        for name, value in base.items()
        if any(fnmatchcase(name, pattern) for pattern in allowed)
        and not any(fnmatchcase(name, pattern) for pattern in NEVER)
        and not name.startswith("SCRIPTRUN_")
    }


def of_run(run: RunLayout, experiment: str, checkpoints: str) -> Dict[str, str]:
    """Return what is ours: where the script finds what, under names that win over everybody else's."""
    return {
        RUN_ID: run.id,
        "SCRIPTRUN_EXPERIMENT": experiment,
        "SCRIPTRUN_OUTPUTS": run.outputs,
        "SCRIPTRUN_LOGS": run.logs,
        "SCRIPTRUN_MESSAGES": run.messages,
        "SCRIPTRUN_CHECKPOINTS": checkpoints,
        "SCRIPTRUN_CONTEXT": run.context,
        "PYTHONUNBUFFERED": "1",
    }


def of_environment(interpreter: Optional[str]) -> Dict[str, str]:
    """Return ``VIRTUAL_ENV`` when the interpreter is one's."""
    if interpreter:
        folder = os.path.dirname(os.path.dirname(interpreter))
        if os.path.isfile(os.path.join(folder, "pyvenv.cfg")):
            return {"VIRTUAL_ENV": folder}
    return {}


def with_path(variables: Dict[str, str], first: List[str]) -> Dict[str, str]:
    """Return the variables with these folders first on PATH."""
    path = variables.get("PATH") or DEFAULT_PATH
    return dict(variables, PATH=os.pathsep.join([*first, path]))
