"""What a supervisor is asked, as it stands on the wire."""

from airflow_provider.scriptrun.targets.contract import StartRequest
from airflow_provider.scriptrun.targets.lending import Lending
from airflow_provider.scriptrun.targets.starting import Starting


class Wire:
    """Keeps what is put."""

    def put(self, document):
        self.document = document


def put(request):
    wire = Wire()
    Starting(request, {}, {"uv": "/bin/uv"}, Lending("host")).put(wire)
    return wire.document


def test_options_of_a_container_never_travel_to_a_supervisor():
    plain = put(StartRequest("r", "l", "e"))
    assert put(StartRequest("r", "l", "e", container={"memory": 1024**3})) == plain
