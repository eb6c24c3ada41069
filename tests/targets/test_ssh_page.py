"""docs/targets/ssh.md explains every message that the way to a machine over SSH has, by its first words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider.scriptrun import errors

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "airflow_provider" / "scriptrun"
PAGE = (CHECKOUT / "docs" / "targets" / "ssh.md").read_text()
#: Where the messages are; each module has some.
MODULES = [
    "hooks/ssh.py",
    "hooks/ssh_errors.py",
    "hooks/surroundings.py",
    "targets/connection_fields.py",
    "targets/install.py",
    "targets/judging.py",
    "targets/lending.py",
    "targets/registry.py",
    "targets/sending.py",
    "targets/session.py",
    "targets/sessions.py",
    "targets/starting.py",
    "targets/transports/ssh.py",
    "targets/transports/ssh_connections.py",
]
#: What stands for a name in a message.
NAME = "…"
#: A message's first words are enough to find it; the page may leave out the rest.
FIRST_WORDS = 6


@pytest.mark.parametrize("module", MODULES)
def test_each_message_is_explained_on_the_page(module: str) -> None:
    said = set(messages(ast.parse((PACKAGE / module).read_text())))
    assert said, "a module without messages: does this test still read them?"
    page = plain(PAGE)
    missing = [message for message in said if first_words(message) not in page]
    assert not missing, f"docs/targets/ssh.md lacks {missing}"


def test_a_message_that_the_page_lacks_would_be_noticed() -> None:
    (message,) = messages(ast.parse('raise TargetRefusedError(f"The moon is in the way of {host}" + "", why=None)'))
    assert message == "The moon is in the way of …"
    assert first_words(message) not in plain(PAGE)


def messages(tree: ast.AST) -> Iterator[str]:
    """Yield the message of each error of ours, and of each warning, that is made there."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        name = node.func.id
        if name == "TargetWarning":
            yield text(node.args[1])
        elif hasattr(errors, name) or name in ("NoSupervisorError", "SessionBrokenError"):
            yield text(node.args[0])


def text(node: ast.expr) -> str:
    """Return what an expression says, with :data:`NAME` for what is only known when it runs."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(map(text, values))
        case ast.BinOp(left=left, op=ast.Add()):
            return text(left)
    return NAME


def first_words(message: str) -> str:
    """Return the words by which it is looked for: of a message that begins with names, those behind them."""
    words = plain(message).split()
    while words and NAME in words[0]:
        del words[0]
    return " ".join(words[:FIRST_WORDS])


def plain(words: str) -> str:
    """Return a text without what differs between a page and a message: marks, quotes, space."""
    return re.sub(r"\s+", " ", re.sub(r"[`'\",;:|.()]", " ", words.replace(f"{NAME}{NAME}", NAME)))
