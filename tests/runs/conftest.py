"""Workspaces on every kind of root, a real S3 server, and the world of a submission."""

from __future__ import annotations

import secrets

import pytest

from airflow_provider.scriptrun.runs.workspace import Workspace
from tests.runs.world import World


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server (moto's) with a bucket; yields its URL. It lives in a thread of this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server, monkeypatch):
    """The name of a bucket of its own, on the server that ``AWS_ENDPOINT_URL`` names from now on."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"bucket-{secrets.token_hex(6)}"
    s3fs.S3FileSystem().mkdir(bucket)
    yield bucket
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["folder", "file", "memory", pytest.param("s3", marks=pytest.mark.needs("s3"))])
def workspace(request, tmp_path) -> Workspace:
    """A workspace on each kind of root in turn."""
    root = {
        "folder": lambda: tmp_path / "workspace",
        "file": lambda: f"file://{tmp_path}/work%20space",
        "memory": lambda: f"memory://{secrets.token_hex(6)}",
        "s3": lambda: f"s3://{request.getfixturevalue('s3_bucket')}/team/scriptrun",
    }[request.param]()
    return Workspace(root)


@pytest.fixture
def folder_workspace(tmp_path) -> Workspace:
    """A workspace in a folder."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a file system of 1 MB."""
    import subprocess

    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True)
    yield str(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    """Fake targets, a source directory, and a way to submit."""
    return World(tmp_path, monkeypatch)
