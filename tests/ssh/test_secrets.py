"""Nothing secret can be read by anybody but the script: not in a command line, an environment, a file or a log."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest

from airflow_provider.scriptrun.hooks import ssh
from tests.network.sshd import Sshd
from tests.ssh.conftest import PASSWORD
from tests.ssh.watched import PATIENCE_S, Site, Watching

# Without a user of its own, the worker's own environment would be taken for one of the host's.
pytestmark = [pytest.mark.needs("sshd", "another user"), pytest.mark.slow]

PASSPHRASE = "open sesame and let the forty in"
#: Shows that it has the secret; a child of it has it too, and both wait until they are let go on.
SCRIPT = """
import hashlib, os, subprocess, sys
print(hashlib.sha256(os.environ["TOKEN"].encode()).hexdigest(), flush=True)
child = subprocess.Popen(["sleep", "600"])
print("begun", flush=True)
open(sys.argv[2]).read()
child.kill()
child.wait()
"""
#: What the argument vector of the script, and of its child, has in it.
SCRIPTS = (b"main.py", b"sleep\x00600")


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with Sshd({"LogLevel": "DEBUG3"}, own_network=False, password=PASSWORD) as server:
        yield server


class Secrets:
    """What may be seen nowhere.

    :param values: name -> text.
    """

    def __init__(self, **values: str) -> None:
        self._needles = {(name, form) for name, value in values.items() for form in _forms(value)}

    def seen_in(self, data: bytes) -> list[str]:
        """Return the names of those that can be read there."""
        return sorted({name for name, form in self._needles if form in data})


def _forms(value: str) -> Iterable[bytes]:
    plain = value.encode()
    yield plain
    yield json.dumps(value)[1:-1].encode()
    yield plain.hex().encode()
    for offset in range(3):  # as a part of a longer base64 text, without the characters that its neighbours change
        yield base64.b64encode(bytes(offset) + plain)[4:-4]


class Sampling:
    """A thread that reads every command line of this machine, and every environment of the host's user, all the time.

    Left as a context; then ``seen`` says what it saw, and ``commands`` which programs it has looked at.
    """

    def __init__(self, server: Sshd, secrets: Secrets) -> None:
        self._server, self._secrets = server, secrets
        self.seen: set[str] = set()
        self.commands: set[bytes] = set()
        self.holders: set[bytes] = set()
        self._is_over, self._changed = threading.Event(), threading.Condition()
        self._thread = threading.Thread(target=self._sample, name="sampling")

    def __enter__(self) -> Sampling:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def until_held(self, word: bytes) -> None:
        """Wait until it saw a program with this word in its command line that had a secret in its environment."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(word in command for command in self.holders), PATIENCE_S), word

    def _sample(self) -> None:
        user_id = self._server.host.user_id
        while not self._is_over.is_set():
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    with suppress(OSError):  # it is gone
                        self._look(Path(entry.path), is_theirs=entry.stat().st_uid == user_id)

    def _look(self, process: Path, *, is_theirs: bool) -> None:
        # The environment first: whoever becomes the script between the two reads is one that had nothing before.
        environment = (process / "environ").read_bytes() if is_theirs else b""
        command = (process / "cmdline").read_bytes()
        self.seen |= {f"{name} in a command line" for name in self._secrets.seen_in(command)}
        if is_theirs:
            self.commands.add(command)
        if names := self._secrets.seen_in(environment):
            with self._changed:
                self.holders.add(command)
                self._changed.notify_all()
            if names != ["secret_variables"] or not any(word in command for word in SCRIPTS):
                self.seen.add(f"{names} in the environment of {command!r}")


def seen_in_files(folder: str | Path, secrets: Secrets) -> list[tuple[str, list[str]]]:
    """Return the files of a folder that can be read to hold one, and which."""
    found, looked = [], 0
    for path in Path(folder).rglob("*"):
        if path.is_file() and not path.is_symlink():
            with suppress(FileNotFoundError):  # it was a temporary one
                looked += 1
                if names := secrets.seen_in(path.read_bytes() + os.fsencode(path)):
                    found.append((str(path), names))
    assert looked, folder
    return found


def encrypted_key(server: Sshd) -> str:
    """Return a private key under :data:`PASSPHRASE` that the server lets in."""
    text, key = io.StringIO(), paramiko.ECDSAKey.generate()
    key.write_private_key(text, password=PASSPHRASE)
    server.authorize(f"{key.get_name()} {key.get_base64()}")
    return text.getvalue()


def body(key: str) -> str:
    """Return the longest line of a private key's text: its name for a search that needs no line breaks."""
    return max(key.splitlines(), key=len)


@pytest.mark.parametrize("way", ["password", "key"])
def test_nothing_secret_can_be_read_anywhere(worker, server, way, monkeypatch, caplog, capfd):
    token = f"token-{uuid.uuid4().hex}"
    key = encrypted_key(server)
    secrets = Secrets(secret_variables=token, password=PASSWORD, key=body(key), passphrase=PASSPHRASE)
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", token)
    caplog.set_level(logging.DEBUG)
    for name in (ssh.LOGGER, "airflow_provider"):
        caplog.set_level(logging.DEBUG, logger=name)
    if way == "password":
        document = server.connection(password=PASSWORD)
    else:
        document = server.connection(private_key=key, private_key_passphrase=PASSPHRASE)
    site = Site(server, f"secret-{way}", gated=True)
    worker.connect(document)
    with Sampling(server, secrets) as sampling:
        config = {"arguments": site.arguments, "secret_variables": {"TOKEN": "var:token"}}
        watching = Watching(worker.submit({"main.py": SCRIPT}, **config))
        watching.heard("begun")
        assert seen_in_files(server.host.home, secrets) == []
        for word in SCRIPTS:
            sampling.until_held(word)
        site.let_go()
        record = watching.record()
    run = watching.run

    # the script had it, and others were looked at as well
    assert record["status"] == "Completed", record
    assert hashlib.sha256(token.encode()).hexdigest() in watching.ears.lines
    assert sampling.commands > sampling.holders  # the supervisor, for one

    assert sampling.seen == set()
    assert seen_in_files(server.host.home, secrets) == []
    assert "debug3:" in server.log()
    assert secrets.seen_in(server.log().encode()) == []
    ours = [json.dumps(record), json.dumps(run.submission["handle"]), repr(run), repr(run.submission)]
    heard = [*watching.ears.lines, *watching.ears.notes, *watching.ears.warnings]
    logged = [f"{message.getMessage()} {message.exc_text or ''}" for message in caplog.records]
    assert any(message.name.startswith(ssh.LOGGER) for message in caplog.records)
    assert secrets.seen_in("\n".join([*ours, *heard, *logged, *capfd.readouterr()]).encode()) == []
    assert seen_in_files(run.folder.uri(""), secrets) == []  # Airflow's home is the one of the first test that asked
    assert seen_in_files(worker.folder, secrets) == []


def test_what_is_looked_for_is_found_in_every_form():
    secrets = Secrets(one='a "quoted" secret of some length')
    plain = b'a "quoted" secret of some length'
    for text in (plain, json.dumps(plain.decode()).encode(), plain.hex().encode()):
        assert secrets.seen_in(b"before" + text + b"behind") == ["one"]
    for offset in range(3):
        assert secrets.seen_in(base64.b64encode(b"x" * offset + plain + b"behind")) == ["one"]
    assert secrets.seen_in(b"nothing of it") == []
