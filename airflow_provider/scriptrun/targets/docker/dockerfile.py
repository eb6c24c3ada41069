"""What a Dockerfile is made from: the images that its stages begin with."""

from __future__ import annotations

import re

#: https://docs.docker.com/reference/dockerfile/#from and #arg
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_ARGUMENT = re.compile(r"""^\s*ARG\s+([A-Za-z_]\w*)(?:=(?:"([^"]*)"|'([^']*)'|(\S*)))?\s*$""", re.IGNORECASE)
_REFERENCE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::-([^}]*))?\})")
#: Stands for no image at all.
_NOTHING = "scratch"


def base_images(text: str) -> list[str]:
    """Return the names of the images that a Dockerfile's stages begin with, in order, each once.

    Not those that are stages themselves, nor one whose name depends on what nobody but the engine knows: an ``ARG``
    without a default.
    """
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    found: list[str] = []
    for line in text.splitlines():
        argument = _ARGUMENT.match(line)
        if argument and not stages and not found:
            value = next((part for part in argument.groups()[1:] if part is not None), None)
            if value is not None:
                arguments[argument.group(1)] = value
        begin = _FROM.match(line)
        if begin is None:
            continue
        name = _filled_in(begin.group(1), arguments)
        if name and name.lower() not in stages and name != _NOTHING and name not in found:
            found.append(name)
        if begin.group(2):
            stages.add(begin.group(2).lower())
    return found


def _filled_in(name: str, arguments: dict[str, str]) -> str | None:
    filled = _REFERENCE.sub(lambda match: arguments.get(match[1] or match[2], match[3] or "$"), name)
    return None if "$" in filled else filled
