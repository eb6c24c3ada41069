"""What tests of environments share: tiny wheels made by hand, plans to install them, builder processes."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.programs import UV

if TYPE_CHECKING:
    from airflow_provider.scriptrun.supervisor.layout import Layout

#: Nothing listens there: whoever asks this index fails at once.
UNREACHABLE = "https://127.0.0.1:9/simple"
#: Prepares the plan on standard input in a process of its own, as the supervisor's child does.
PREPARE = """
import json, sys
from airflow_provider.scriptrun.supervisor import environment
from airflow_provider.scriptrun.supervisor.layout import Layout
asked = json.load(sys.stdin)
try:
    prepared = environment.prepare(Layout(asked["root"]), asked["plan"], secrets=asked["secrets"], tools=asked["tools"])
except environment.EnvironmentFailed as error:
    print("FAILED " + json.dumps([error.message, error.advice, error.resolution]))
    raise SystemExit(1)
print("PREPARED " + json.dumps(prepared._asdict()))
"""
REPOSITORY = Path(__file__).resolve().parents[2]


def make_wheel(folder: Path, name: str, version: str, *, requires: tuple[str, ...] = (), modules: int = 1) -> Path:
    """Write a wheel of ``modules`` small modules (the first, ``name``, has a ``VERSION``) and a console script."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {f"{name}.py": f"VERSION = {version!r}\ndef main():\n    print({name!r}, VERSION)\n"}
    files |= {f"{name}_{number}.py": f"VALUE = {number}\n" for number in range(1, modules)}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {r}\n" for r in requires
    )
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name}-say = {name}:main\n"
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(zipfile.ZipInfo(inner), text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def plan_of(*requirements: str, wheels: Path | None = None, kind: str = "pip", **changes: Any) -> dict[str, Any]:
    """Return a plan to install from the folder ``wheels``, asking no index; ``changes`` may name delivery's parts."""
    delivery = {
        "name": "test",
        "variables": {},
        "lock_max_age_s": 86_400.0,
        "refresh": False,
        "ca": None,
        "trusted_hosts": [],
        "credentials": {},
        "git_credentials": {},
    }
    plan: dict[str, Any] = {
        "schema": 1,
        "kind": kind,
        "interpreter": None,
        "python": None,
        "requirements": list(requirements),
        "constraints": [],
        "options": {"pre": False, "require_hashes": False, "no_binary": [], "only_binary": []},
        "index": {
            "url": None,
            "extra": [],
            "find_links": [wheels.as_uri()] if wheels else [],
            "no_index": wheels is not None,
        },
        "conda": None,
        "delivery": delivery,
    }
    for name, value in changes.items():
        (delivery if name in delivery else plan)[name] = value
    return plan


def start_builder(
    layout: Layout, plan: dict[str, Any], environ: dict[str, str], secrets: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a process that prepares ``plan``; it waits for nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
        cwd=REPOSITORY,
    )
    assert process.stdin is not None
    tools = {"uv": UV}
    process.stdin.write(json.dumps({"root": layout.root, "plan": plan, "secrets": secrets or {}, "tools": tools}))
    process.stdin.close()
    process.stdin = None
    return process


def prepared_of(output: str) -> dict[str, Any]:
    """Return what a builder process prepared."""
    for line in output.splitlines():
        if line.startswith("PREPARED "):
            found: dict[str, Any] = json.loads(line.partition(" ")[2])
            return found
    raise AssertionError(output)
