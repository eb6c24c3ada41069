"""Names that are hashes: the same for short and long data, and no start of a run waits for OpenSSL."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from airflow_provider.scriptrun.supervisor.protocol.canonical import LONG_BYTES, digest


@pytest.mark.parametrize("size", [0, 1, LONG_BYTES - 1, LONG_BYTES, LONG_BYTES + 1])
def test_a_digest_is_the_sha256_of_short_and_long_data_alike(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert digest(data) == hashlib.sha256(data).hexdigest()


def test_a_start_does_not_load_openssl_before_it_is_accepted() -> None:
    package = "airflow_provider.scriptrun.supervisor"
    code = f"""if True:
        import importlib, sys
        for name in ("serve", "start", "layout", "store"):
            importlib.import_module("{package}." + name)
        from {package}.layout import Layout
        Layout("/root").lineage("a name")
        print("_hashlib" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
