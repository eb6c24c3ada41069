"""The exact package list of an interpreter, read from what is installed: no process, a millisecond or so."""

import os
import re
from typing import Dict, Iterable, Optional, Tuple

#: PEP 427 and PEP 376: ``name-version.dist-info``; setuptools before that: ``name-version[-py3.11].egg-info``.
_METADATA = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+?)(?:-py[\d.]+(?:-.+)?)?\.(?:dist-info|egg-info)$")


def package_list(folders: Iterable[str]) -> str:
    """Return sorted ``name==version`` lines of what is in ``folders``; an earlier folder hides a later one."""
    versions: Dict[str, str] = {}
    for folder in folders:
        try:
            names = os.listdir(folder)
        except OSError:
            continue  # a zip file, or a folder that has gone
        for name in names:
            found = _distribution(folder, name)
            if found is not None:
                versions.setdefault(*found)
    return "".join("%s==%s\n" % pair for pair in sorted(versions.items()))


def _distribution(folder: str, name: str) -> Optional[Tuple[str, str]]:
    if not name.endswith((".dist-info", ".egg-info")) or name.startswith("~"):  # ~: what pip was removing when it died
        return None
    match = _METADATA.match(name)
    if match is not None:
        return _normalized(match.group("name")), match.group("version")
    return _from_metadata(os.path.join(folder, name))  # ``name.egg-info``: a source tree in development mode


def _from_metadata(path: str) -> Optional[Tuple[str, str]]:
    fields: Dict[str, str] = {}
    for candidate in (os.path.join(path, "PKG-INFO"), os.path.join(path, "METADATA"), path):
        try:
            with open(candidate, encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    field, colon, value = line.partition(":")
                    if not colon:
                        break  # the end of the header
                    fields.setdefault(field.strip().lower(), value.strip())
        except OSError:
            continue
        if "name" in fields and "version" in fields:
            return _normalized(fields["name"]), fields["version"]
    return None


def _normalized(name: str) -> str:
    """Return the name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def site_folder(prefix: str, version: str, implementation: str) -> str:
    """Return where a virtual environment at ``prefix`` keeps its packages."""
    name = "pypy" if implementation == "pypy" else "python"
    return os.path.join(prefix, "lib", "%s%s" % (name, ".".join(version.split(".")[:2])), "site-packages")
