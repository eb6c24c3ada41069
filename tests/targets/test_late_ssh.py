"""Docker's SDK is imported without paramiko, and its SSH works for whoever uses it."""

from __future__ import annotations

import subprocess
import sys

NOTHING_OF_SSH = """
import sys
import airflow_provider.scriptrun.targets.docker.opening
assert "docker" not in sys.modules and "requests" not in sys.modules
import docker
assert "paramiko" not in sys.modules
"""
CONNECTS = """
import sys
{first}
import docker
try:
    docker.APIClient(base_url="ssh://nobody@127.0.0.1:1", version="1.41").version()
except Exception as error:
    print(type(error).__module__, type(error).__name__)
assert "paramiko" in sys.modules
import docker.transport.sshconn
print(docker.transport.sshconn.SSHHTTPAdapter.__mro__[1].__name__)
"""


def python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_a_target_loads_docker_when_it_is_needed_and_paramiko_never() -> None:
    python(NOTHING_OF_SSH)


def test_whoever_connects_with_the_sdk_over_ssh_gets_what_they_would_have_got_without_us() -> None:
    ours = python(CONNECTS.format(first="import airflow_provider.scriptrun.targets.docker.opening"))
    assert ours == python(CONNECTS.format(first=""))
    assert "BaseHTTPAdapter" in ours
