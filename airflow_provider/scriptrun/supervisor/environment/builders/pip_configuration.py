"""pip's own configuration of this machine, for uv, which does not read it: a mirror set up for pip just works.

Files and variables as in pip's documentation ("Configuration"): global, user, site; then ``PIP_*``.
"""

import configparser
import os
import sys
from typing import Dict, List, Mapping

_OPTIONS = ("index-url", "extra-index-url", "find-links", "trusted-host", "no-index", "cert")
_FALSE = ("", "0", "false", "no", "off")


def pip_configuration(inherited: Mapping[str, str]) -> Dict[str, List[str]]:
    """Return the options about indexes, each as its values; only how to connect unless pip has an index of its own.

    Folders among ``find-links`` alone are no such index: they add to one.
    """
    found: Dict[str, List[str]] = {}
    for path in _files(inherited):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself will complain about it; a build that does not need it shall not fail
        for section in ("global", "install"):
            if parser.has_section(section):
                _take(found, {name.replace("_", "-"): value for name, value in parser.items(section)})
    _take(found, {name[4:].lower().replace("_", "-"): v for name, v in inherited.items() if name.startswith("PIP_")})
    if found.get("no-index", [""])[0].lower() in _FALSE:
        found.pop("no-index", None)
    if {"index-url", "extra-index-url", "no-index"} & set(found):
        return found
    return {name: found[name] for name in ("cert", "trusted-host") if name in found}


def _take(found: Dict[str, List[str]], options: Mapping[str, str]) -> None:
    found.update({name: options[name].split() for name in _OPTIONS if (options.get(name) or "").strip()})


def _files(inherited: Mapping[str, str]) -> List[str]:
    chosen = inherited.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = os.path.expanduser("~")
    system = inherited.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    files = [os.path.join(folder, "pip", "pip.conf") for folder in system.split(os.pathsep)]
    files += ["/etc/pip.conf", os.path.join(home, ".pip", "pip.conf")]
    files.append(os.path.join(inherited.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "pip", "pip.conf"))
    files.append(os.path.join(sys.base_prefix, "pip.conf"))
    return files + ([chosen] if chosen else [])
