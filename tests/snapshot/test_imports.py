"""What importing the package costs: nothing, until a name of it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import airflow_provider.scriptrun.snapshot as package

LOADED = """
import sys
import airflow_provider.scriptrun.snapshot
print(*sorted(name for name in sys.modules if name.startswith("airflow_provider.scriptrun.snapshot")))
airflow_provider.scriptrun.snapshot.Limits
print("subprocess" in sys.modules, "airflow" in sys.modules)
"""


def test_importing_the_package_imports_no_module_of_it():
    root = Path(__file__).parents[2]
    output = subprocess.run(
        [sys.executable, "-S", "-c", LOADED], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    assert output.splitlines() == ["airflow_provider.scriptrun.snapshot", "False False"]


def test_every_name_that_is_offered_is_there():
    for name in package.__all__:
        assert callable(getattr(package, name))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(package, "nonsense")
