"""Where packages come from, as the variables that uv and pip read: credentials travel in nothing else.

A plan that names no index leaves the choice to the machine: uv's own configuration holds, and where uv has none,
pip's (see ``pip_configuration.py``). A plan that names one uses exactly that.
"""

import base64
import os
import re
from typing import Any, Dict, List, Mapping, Optional
from urllib.parse import unquote

from .pip_configuration import pip_configuration

#: What of a machine's uv variables a build keeps when the plan leaves the index open.
_UV_INDEX = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
)
#: How to get at an index and where to keep things: kept always. All other ``UV_*`` would change what is built.
_UV_KEPT = re.compile(
    r"UV_(CACHE_DIR|CONCURRENT_\w+|HTTP_\w+|REQUEST_TIMEOUT|INDEX_STRATEGY|INDEX_\w+_(USERNAME|PASSWORD)|INSECURE_HOST"
    r"|KEYRING_PROVIDER|LINK_MODE|NATIVE_TLS|SYSTEM_CERTS|NO_CACHE|OFFLINE|CONFIG_FILE|NO_CONFIG|EXCLUDE_NEWER)$"
)
_PIP_KEPT = re.compile(
    r"PIP_(CACHE_DIR|CERT|CLIENT_CERT|DEFAULT_TIMEOUT|TIMEOUT|RETRIES|PROXY|KEYRING_PROVIDER|TRUSTED_HOST)$"
)
_CONDA_KEPT = re.compile(r"CONDA_(PKGS_DIRS|CHANNEL\w*|DEFAULT_CHANNELS|SSL_VERIFY|OVERRIDE_\w+|SUBDIR|OFFLINE)$")
_PIP_INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONFIG_FILE")
#: A build sees the machine's environment without these: Airflow's secrets, and what would steer Python or uv elsewhere.
_DROPPED = ("AIRFLOW_", "_AIRFLOW_", "AIRFLOW__", "PYTHON", "UV_", "PIP_", "VIRTUAL_ENV", "CONDA_", "SCRIPTRUN_")
#: By which the processes of a run are found when its supervisor is dead.
_RUN = ("SCRIPTRUN_RUN_ID",)


def names_index(plan: Mapping[str, Any]) -> bool:
    """Whether the plan says where packages come from, so that the machine's own choice does not hold."""
    index = plan.get("index") or {}
    return bool(index.get("url") or index.get("no_index"))


def machine_environment(inherited: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables of this machine that every build tool sees."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(_DROPPED)}
    kept.update({name: inherited[name] for name in _RUN if name in inherited})
    kept.update({"NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"})
    return kept


def uv_environment(
    plan: Mapping[str, Any], secrets: Mapping[str, str], inherited: Mapping[str, str], ca_file: Optional[str]
) -> Dict[str, str]:
    """Return the variables with which uv is run: the machine's, the plan's indexes, and credentials in them."""
    environ = machine_environment(inherited)
    environ.update({name: value for name, value in inherited.items() if _UV_KEPT.match(name)})
    environ.update({"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"})
    if names_index(plan):
        environ["UV_NO_CONFIG"] = "1"
        environ.pop("UV_CONFIG_FILE", None)
    else:
        own = {name: inherited[name] for name in _UV_INDEX if name in inherited}
        environ.update(own or _as_uv(pip_configuration(inherited)))
    index = _with_credentials(plan, secrets)
    _set(environ, "UV_DEFAULT_INDEX", index["url"])
    _join(environ, "UV_INDEX", index["extra"], " ")
    _join(environ, "UV_FIND_LINKS", index["find_links"], ",")
    _join(environ, "UV_INSECURE_HOST", index["trusted_hosts"], " ")
    if index["no_index"]:
        environ["UV_NO_INDEX"] = "1"
    if ca_file:
        environ["SSL_CERT_FILE"] = ca_file
    environ.update(_for_urls(plan, secrets))
    return environ


def pip_environment(
    plan: Mapping[str, Any], secrets: Mapping[str, str], inherited: Mapping[str, str], ca_file: Optional[str]
) -> Dict[str, str]:
    """Return the variables with which pip is run, see :func:`uv_environment`."""
    environ = machine_environment(inherited)
    environ.update({name: value for name, value in inherited.items() if _PIP_KEPT.match(name)})
    environ.update({"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_PROGRESS_BAR": "off"})
    if names_index(plan):
        environ["PIP_CONFIG_FILE"] = os.devnull  # pip's word for: read no configuration
    else:
        environ.update({name: inherited[name] for name in _PIP_INDEX if name in inherited})
    index = _with_credentials(plan, secrets)
    _set(environ, "PIP_INDEX_URL", index["url"])
    _join(environ, "PIP_EXTRA_INDEX_URL", index["extra"], " ")
    _join(environ, "PIP_FIND_LINKS", index["find_links"], " ")
    _join(environ, "PIP_TRUSTED_HOST", index["trusted_hosts"], " ")
    if index["no_index"]:
        environ["PIP_NO_INDEX"] = "1"
    if ca_file:
        environ["PIP_CERT"] = ca_file
    environ.update(_for_urls(plan, secrets))
    return environ


def conda_environment(
    plan: Mapping[str, Any], secrets: Mapping[str, str], inherited: Mapping[str, str], ca_file: Optional[str]
) -> Dict[str, str]:
    """Return the variables with which conda or its like is run; it runs pip itself, which reads its own among them."""
    environ = pip_environment(plan, secrets, inherited, ca_file)
    environ.update({name: value for name, value in inherited.items() if _CONDA_KEPT.match(name)})
    if ca_file:
        environ.update({"CONDA_SSL_VERIFY": ca_file, "MAMBA_SSL_VERIFY": ca_file, "REQUESTS_CA_BUNDLE": ca_file})
    return environ


def with_placeholders(plan: Mapping[str, Any], text: str) -> str:
    """Return requirement text in which each URL that needs credentials names the variable that holds them.

    Both uv and pip replace ``${NAME}`` themselves when they read a requirements file.
    """
    return _swap(text, {clean: _placed(clean, names) for clean, names in _credentials(plan).items()})


def without_placeholders(plan: Mapping[str, Any], text: str) -> str:
    """Undo :func:`with_placeholders`: what is kept depends on no credentials."""
    return _swap(text, {_placed(clean, names): clean for clean, names in _credentials(plan).items()})


def _swap(text: str, table: Dict[str, str]) -> str:
    if not table:
        return text
    longest_first = sorted(table, key=len, reverse=True)
    return re.sub("|".join(re.escape(old) for old in longest_first), lambda match: table[match.group()], text)


def _placed(clean: str, names: Mapping[str, str]) -> str:
    """Return the URL ``clean`` with ``${NAME}`` where its user information and query go."""
    scheme, _, rest = clean.partition("://")
    if names.get("user"):
        rest = "${%s}@%s" % (names["user"], rest)
    return "%s://%s%s" % (scheme, rest, "?${%s}" % names["query"] if names.get("query") else "")


def _credentials(plan: Mapping[str, Any]) -> Dict[str, Dict[str, str]]:
    found: Dict[str, Dict[str, str]] = plan.get("delivery", {}).get("credentials") or {}
    return found


def _with_credentials(plan: Mapping[str, Any], secrets: Mapping[str, str]) -> Dict[str, Any]:
    """Return the plan's index section with every ``${NAME}`` replaced: only ever in memory."""
    index = plan.get("index") or {}

    def whole(url: str) -> str:
        names = _credentials(plan).get(url)
        text = _placed(url, names) if names else url
        return re.sub(r"\$\{(\w+)\}", lambda match: secrets.get(match.group(1), match.group()), text)

    def wholes(name: str) -> List[str]:
        return [whole(url) for url in index.get(name) or []]

    return {
        "url": whole(index["url"]) if index.get("url") else None,
        "extra": wholes("extra"),
        "find_links": wholes("find_links"),
        "trusted_hosts": list(plan.get("delivery", {}).get("trusted_hosts") or []),
        "no_index": bool(index.get("no_index")),
    }


def _for_urls(plan: Mapping[str, Any], secrets: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables that requirement lines name, and Git's: it takes headers from variables (git-config(1))."""
    found = dict(secrets)
    repositories = plan.get("delivery", {}).get("git_credentials") or {}
    pairs = [(url, secrets[name]) for url, name in sorted(repositories.items()) if name in secrets]
    for number, (url, value) in enumerate(pairs):
        found.pop(repositories[url], None)
        basic = base64.b64encode(unquote(value if ":" in value else value + ":").encode("utf-8")).decode("ascii")
        found["GIT_CONFIG_KEY_%d" % number] = "http.%s.extraHeader" % url
        found["GIT_CONFIG_VALUE_%d" % number] = "Authorization: Basic " + basic
    if pairs:
        found["GIT_CONFIG_COUNT"] = str(len(pairs))
        found["GIT_TERMINAL_PROMPT"] = "0"
    return found


def _as_uv(pip: Mapping[str, List[str]]) -> Dict[str, str]:
    """Return pip's configuration in uv's variables, with pip's rule for several indexes: the best version of all."""
    environ: Dict[str, str] = {}
    _join(environ, "UV_DEFAULT_INDEX", pip.get("index-url", [])[:1], " ")
    _join(environ, "UV_INDEX", pip.get("extra-index-url", []), " ")
    _join(environ, "UV_FIND_LINKS", pip.get("find-links", []), ",")
    _join(environ, "UV_INSECURE_HOST", pip.get("trusted-host", []), " ")
    if pip.get("no-index"):
        environ["UV_NO_INDEX"] = "1"
    if environ.get("UV_INDEX"):
        environ["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if pip.get("cert"):
        environ["SSL_CERT_FILE"] = pip["cert"][0]
    return environ


def _set(environ: Dict[str, str], name: str, value: Optional[str]) -> None:
    if value:
        environ[name] = value


def _join(environ: Dict[str, str], name: str, values: List[str], separator: str) -> None:
    if values:
        environ[name] = separator.join(values)
