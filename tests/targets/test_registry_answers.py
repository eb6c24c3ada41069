"""What engines pass on of a registry is told apart: not there, and the ways in which nobody can tell."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.errors import TargetRefusedError, TargetUnreachableError
from airflow_provider.scriptrun.targets.docker.registry_answers import Answer, Obstacle, read_error

NAME = "r.example.com:5000/team/x:1"
URL = "https://r.example.com:5000/v2/team/x/manifests/1"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (404, "manifest unknown: manifest unknown"),
        (404, f"manifest for {NAME} not found: manifest unknown: manifest unknown"),
        (0, "manifest for r.example.com:5000/team/x:1 not found: name unknown: repository name not known to registry"),
        (404, f'failed to resolve reference "{NAME}": {NAME}: not found'),
    ],
)
def test_what_a_registry_does_not_know_is_not_there(code, said):
    assert read_error(code, said, NAME).answer is Answer.NO


@pytest.mark.parametrize(
    ("code", "said", "obstacle"),
    [
        (500, f'Get "{URL}": dial tcp 127.0.0.1:5000: connect: connection refused', Obstacle.UNREACHABLE),
        (500, f'Head "{URL}": dial tcp: lookup r.example.com: no such host', Obstacle.UNREACHABLE),
        (500, f'Get "{URL}": net/http: TLS handshake timeout', Obstacle.UNREACHABLE),
        (500, f'Get "{URL}": context deadline exceeded (Client.Timeout exceeded)', Obstacle.UNREACHABLE),
        (500, f'Get "{URL}": proxyconnect tcp: x', Obstacle.UNREACHABLE),
        (0, f'Get "{URL}": EOF', Obstacle.UNREACHABLE),
        (500, f'Get "{URL}": x509: certificate signed by unknown authority', Obstacle.TLS),
        (500, f'Get "{URL}": http: server gave HTTP response to HTTPS client', Obstacle.TLS),
        (401, "unauthorized: authentication required", Obstacle.REFUSED),
        (500, f'Head "{URL}": no basic auth credentials', Obstacle.REFUSED),
        (500, f"login attempt to {URL} failed with status: 401 Unauthorized", Obstacle.REFUSED),
        (404, "pull access denied for x, repository does not exist or may require 'docker login'", Obstacle.REFUSED),
        (0, "denied: requested access to the resource is denied", Obstacle.REFUSED),
        (500, "error parsing HTTP 403 response body: invalid character", Obstacle.REFUSED),
        (500, "received unexpected HTTP status: 500 Internal Server Error", Obstacle.FAILING),
        (500, "error parsing HTTP 404 response body: invalid character", Obstacle.FAILING),
        (500, "toomanyrequests: You have reached your pull rate limit.", Obstacle.FAILING),
        (0, "filesystem layer verification failed for digest sha256:0123", Obstacle.FAILING),
    ],
)
def test_what_keeps_it_from_answering_is_told_apart(code, said, obstacle):
    found = read_error(code, said, NAME)
    assert (found.answer, found.obstacle, found.why) == (Answer.UNKNOWN, obstacle, said)
    assert found.advice


@pytest.mark.parametrize("name", ["r.example.com/denied/x509:eof", "certificate:1", "r.io/unauthorized@sha256:1"])
def test_what_an_image_is_called_means_nothing(name):
    assert read_error(404, f"manifest for {name} not found: manifest unknown", name).answer is Answer.NO


def test_a_password_that_somebody_repeats_is_not_shown():
    found = read_error(500, "unauthorized: robot:hunter2 is nobody", NAME, "hunter2")
    assert found.obstacle is Obstacle.REFUSED
    assert "hunter2" not in repr(found)


def test_a_registry_that_is_away_may_be_there_later_and_one_that_refuses_will_not():
    away = read_error(500, "dial tcp: connection refused", NAME).error("It cannot be fetched")
    assert isinstance(away, TargetUnreachableError)
    refused = read_error(401, "unauthorized", NAME).error("It cannot be fetched")
    assert isinstance(refused, TargetRefusedError)
    assert str(refused).startswith("It cannot be fetched. unauthorized. Is the name right")
