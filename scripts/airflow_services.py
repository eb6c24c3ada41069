"""An Airflow of separate processes on PostgreSQL, each started, stopped, killed and frozen by itself, on one machine.

It is as near to a deployment as one machine gets: API server, scheduler with the LocalExecutor, dag-processor, and two
triggerers, of which one can go away. Linux only.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.airflow_api import AirflowInstanceError
from scripts.airflow_home import AirflowHome
from scripts.private_postgresql import PrivatePostgresql
from scripts.service import STOP_TIMEOUT_SECONDS, Service

API_SERVER, SCHEDULER, DAG_PROCESSOR = "api-server", "scheduler", "dag-processor"
TRIGGERERS = ("triggerer-1", "triggerer-2")
#: Service -> its ``airflow`` command. Logs are read from the folder that all share, so nothing serves them.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    API_SERVER: ("api-server",),
    SCHEDULER: ("scheduler", "--skip-serve-logs"),
    DAG_PROCESSOR: ("dag-processor",),
    **dict.fromkeys(TRIGGERERS, ("triggerer", "--skip-serve-logs")),
}
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
#: How long all of it may take until it is healthy: under a minute alone, several on a machine that is busy.
START_TIMEOUT_SECONDS = 300


class AirflowServices(AirflowHome):
    """Airflow's processes and their database.

    :param database: started and removed with it.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        *,
        port: int = 0,
        python: Path = Path(sys.executable),
        options: Mapping[str, str] | None = None,
        database: PrivatePostgresql | None = None,
    ) -> None:
        super().__init__(home, dags_folder, port=port, python=python, options=options)
        self.database = database or PrivatePostgresql()
        self.services: dict[str, Service] = {}
        self.seconds_to_start = 0.0

    def __getitem__(self, name: str) -> Service:
        """Return the service of this name: one of :data:`COMMANDS`."""
        return self.services[name]

    @property
    def where_to_look(self) -> str:
        """What an error names as the place to read on."""
        return f"the *.log files in {self.home}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every process of this Airflow, and every ``airflow`` command for it, runs with."""
        return {
            **super().environment,
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database.url,
            **self.options,
        }

    def start(self) -> None:
        """Start everything from nothing; return when it is healthy, with :attr:`seconds_to_start` set.

        Raises ``AirflowInstanceError`` or ``PostgresqlError``, with nothing left running.
        """
        began = time.monotonic()
        try:
            self.choose_password()
            self.database.start()
            self.command("db", "migrate")
            for name, arguments in COMMANDS.items():
                self.services[name] = Service(
                    name, [str(self.python), "-m", "airflow", *arguments],
                    environment=self.environment, folder=self.home, log=self.home / f"{name}.log",
                )  # fmt: skip
                self.services[name].start()
            self.wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        self.seconds_to_start = time.monotonic() - began

    def wait_until_healthy(self) -> None:
        """Wait until every part works, after a start or after one of them was away. Raises ``AirflowInstanceError``."""
        self.until(self._all_are_well, START_TIMEOUT_SECONDS, "Airflow did not become healthy")

    def restore(self) -> None:
        """Let go on what was frozen, and start again what has ended, as a service manager does, until all is well."""
        if not self.database.service.is_running:
            self.database.start()
        for service in (self.database.service, *self.services.values()):
            service.thaw()

        def is_restored() -> bool:
            for service in self.services.values():
                service.start()
            return self._works()

        self.until(is_restored, START_TIMEOUT_SECONDS, "Airflow did not become healthy again")

    def living_triggerers(self) -> dict[int, str]:
        """Return the ids of the triggerers' jobs that Airflow takes for alive, with the time of the last heartbeat."""
        jobs = self.api("GET", "/jobs?job_type=TriggererJob&is_alive=true")["jobs"]
        return {int(job["id"]): str(job["latest_heartbeat"]) for job in jobs}

    def stop(self) -> None:
        """End every process and remove the database."""
        for service in self.services.values():
            service.thaw()
            service.ask_to_stop()
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for service in self.services.values():
            service.stop(max(0.1, deadline - time.monotonic()))
        self.database.remove()

    @contextlib.contextmanager
    def running(self) -> Iterator[AirflowServices]:
        """Start, hand over, stop whatever happens."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def _all_are_well(self) -> bool:
        for service in self.services.values():
            if not service.is_running:
                raise AirflowInstanceError(f"{service.name} ended with {service.exit_code}; see {service.log}")
        return self._works()

    def _works(self) -> bool:
        if not (self.is_healthy(*PARTS) and self.serves_tasks()):
            return False
        return len(self.living_triggerers()) >= len(TRIGGERERS)
