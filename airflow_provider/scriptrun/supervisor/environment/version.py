"""Whether a Python's version is one that was asked for: PEP 440, as far as a target needs it."""

import re
from typing import Tuple

from .errors import EnvironmentFailed


def release(version: str) -> Tuple[int, ...]:
    """Return the leading numbers of a version: ``3.14.0rc1`` is (3, 14, 0)."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    if numbers is None:
        raise ValueError("%r is no version" % version)
    return tuple(int(part) for part in numbers.group().split("."))


def satisfies(version: str, wish: str) -> bool:
    """Whether ``version`` satisfies every clause of ``wish``, a PEP 440 specifier; pre-release marks are ignored."""
    return all(_clause(release(version), clause.strip()) for clause in wish.split(",") if clause.strip())


def _clause(version: Tuple[int, ...], clause: str) -> bool:
    match = re.match(r"(===|==|!=|~=|>=|<=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?\s*$", clause)
    if match is None:
        raise EnvironmentFailed(
            "%r is no Python version that could be asked for." % clause, "Write for instance ==3.11.*"
        )
    operator, text, wildcard = match.groups()
    asked = release(text)
    if operator == "~=":
        return version >= asked and version[: len(asked) - 1] == asked[:-1]
    if wildcard:
        same = version[: len(asked)] == asked
    else:
        width = max(len(version), len(asked))
        version, asked = version + (0,) * (width - len(version)), asked + (0,) * (width - len(asked))
        same = version == asked
    return {
        "==": same,
        "===": same,
        "!=": not same,
        ">=": version >= asked,
        "<=": version <= asked,
        ">": version > asked,
        "<": version < asked,
    }[operator]
