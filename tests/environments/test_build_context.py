"""The archive of a build context holds what was hashed, and nothing of the machine that it was made on."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from airflow_provider.scriptrun.environments.build_context import BuildContext
from airflow_provider.scriptrun.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "src" / "run.sh").write_text("true\n")
    (tmp_path / "src" / "run.sh").chmod(0o711)
    (tmp_path / "src" / "link").symlink_to("run.sh")
    (tmp_path / "src" / "wide open").write_bytes(b"x" * 3_000_000)
    (tmp_path / "src" / "wide open").chmod(0o666)
    return tmp_path


def archived(folder, digest=None):
    context = BuildContext.of(folder, "Dockerfile")
    file = io.BytesIO()
    context.write_archive(file, digest or context.digest())
    return file.getvalue()


def test_the_archive_holds_what_is_there(folder):
    with tarfile.open(fileobj=io.BytesIO(archived(folder))) as archive:
        items = {item.name: item for item in archive}
        assert list(items) == ["Dockerfile", "src", "src/link", "src/run.sh", "src/wide open"]
        assert items["src"].isdir()
        assert items["src/link"].linkname == "run.sh"
        assert {item.mode for item in items.values()} == {0o755, 0o644}
        assert items["src/run.sh"].mode == 0o755
        assert archive.extractfile("src/wide open").read() == b"x" * 3_000_000


def test_owners_times_and_the_umask_make_no_difference(folder):
    before = archived(folder)
    os.utime(folder / "Dockerfile", (1, 1))
    (folder / "Dockerfile").chmod(0o600)
    if os.geteuid() == 0:
        os.chown(folder / "Dockerfile", 1234, 1234)
    assert archived(folder) == before


def test_what_changed_since_it_was_hashed_is_refused(folder):
    digest = BuildContext.of(folder, "Dockerfile").digest()
    (folder / "src" / "run.sh").write_text("fals\n")
    with pytest.raises(ConfigurationError, match="changed while it was read"):
        archived(folder, digest)
