"""``make demo-ssh``: the example DAG on a machine over SSH, which is this one behind a private SSH server.

Keys are made for it and go with it; what the "machine" keeps is under the checkout, so the second time nothing is
built or sent.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.airflow_api import AirflowInstanceError
from scripts.airflow_home import CHECKOUT
from scripts.airflow_instance import AirflowInstance, demo
from scripts.private_sshd import PLACES, PrivateSshd, SshdError

#: The connection that the example names.
VARIABLE = "AIRFLOW_CONN_TRAINING_VM"
DAG_ID = "train_on_vm"
PACKAGE = "openssh-server"


def connection(server: PrivateSshd, root: Path) -> dict[str, Any]:
    """Return the Airflow connection to the server, as ``AIRFLOW_CONN_<ID>`` has it; ``root`` is where it keeps all."""
    return {
        "conn_type": "scriptrun_ssh",
        "host": "127.0.0.1",
        "port": server.port,
        "login": server.user,
        "extra": {
            "private_key": server.client_key,
            "host_key": server.host_key,
            "root": str(root),
            "interpreter": str(Path(sys.executable).resolve()),  # whatever PATH says in a session
        },
    }


def install_sshd() -> None:
    """See to it that there is a program ``sshd``. Raises :class:`SshdError` that says what to install."""
    if shutil.which("sshd", path=PLACES) is not None:
        return
    # Where systemd runs, the package starts a server for everybody at once: that is the owner's to decide.
    if os.geteuid() != 0 or shutil.which("apt-get") is None or Path("/run/systemd/system").exists():
        raise SshdError(f"There is no sshd. On Debian and Ubuntu: sudo apt-get install {PACKAGE}")
    print(f"Installing {PACKAGE} ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", PACKAGE]):
        done = subprocess.run(
            ["apt-get", "-qq", *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SshdError(f"apt-get {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def main() -> int:
    """Run the example over SSH and print its report."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--home", type=Path, default=CHECKOUT / ".airflow", help="where everything is kept")
    home: Path = parser.parse_args().home
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        install_sshd()
        with PrivateSshd(home).running() as server:
            print(f"A private sshd listens on 127.0.0.1:{server.port} and lets {server.user} in", flush=True)
            options = {VARIABLE: json.dumps(connection(server, home / "vm"))}
            code = demo(AirflowInstance(home, CHECKOUT / "dags", options=options), DAG_ID, "report")
            if code:
                print(f"sshd wrote:\n{server.log}", file=sys.stderr)
            return code
    except (AirflowInstanceError, SshdError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; sshd and its keys are gone.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
