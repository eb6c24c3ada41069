"""What an engine is asked about registries, over its API, with a bound on how long it may say nothing.

An engine gives up on a registry that lets nobody in; on one that answers once and then no more, it waits for ever.
Credentials are always said, empty ones too: Docker's client would take what the worker's user is logged in to.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider.scriptrun.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker import APIClient
    from requests import Response

#: For a question; the engine itself gives up on a registry that does not even connect after 25 s.
ANSWER_S = 40.0
#: Between two lines of progress: without a word, an engine checks and unpacks what it has fetched.
STALL_S = 600.0


class Silence(Exception):  # noqa: N818  # not the engine's error: what it waits for
    """The engine has said nothing for ``seconds``, since it waits for a registry, or is away itself."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer for {seconds:.0f} s")


def log_in(client: APIClient, credentials: Mapping[str, str], seconds: float) -> None:
    """Let a registry (``serveraddress``) check a login. Raises :class:`Silence`, ``docker.errors.APIError``."""
    _ask(client, "POST", "/auth", seconds, json=dict(credentials))


def describe(client: APIClient, name: str, credentials: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """Return what the registry of an image says of it. Raises what :func:`log_in` does."""
    path = f"/distribution/{quote(name, safe='/:@')}/json"
    answer = _ask(client, "GET", path, seconds, headers=_headers(credentials)).json()
    return answer if isinstance(answer, dict) else {}


def pull(
    client: APIClient, repository: str, tag: str, platform: str | None, credentials: Mapping[str, str], seconds: float
) -> Iterator[dict[str, Any]]:
    """Yield the lines of progress while an image is fetched. Raises what :func:`log_in` does, :class:`ProtocolError`.

    :param seconds: between two of them.
    """
    parameters = {"fromImage": repository, "tag": tag, **({"platform": platform} if platform else {})}
    return _lines(client, "/images/create", parameters, credentials, seconds)


def push(
    client: APIClient, repository: str, tag: str, credentials: Mapping[str, str], seconds: float
) -> Iterator[dict[str, Any]]:
    """The same, while one is published."""
    return _lines(client, f"/images/{quote(repository, safe='/:')}/push", {"tag": tag}, credentials, seconds)


def _lines(
    client: APIClient, path: str, parameters: Mapping[str, str], credentials: Mapping[str, str], seconds: float
) -> Iterator[dict[str, Any]]:
    from requests import RequestException

    headers = _headers(credentials)
    with _ask(client, "POST", path, seconds, params=dict(parameters), headers=headers, stream=True) as response:
        try:
            for line in response.iter_lines():
                if line.strip():
                    yield _document(line)
        except RequestException as error:
            raise _silence(error, seconds) or error from None


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ProtocolError(
            "The engine's progress cannot be read", why=f"It said {line[:100]!r}, which is no JSON object"
        )
    return document


def _ask(client: APIClient, method: str, path: str, seconds: float, **options: Any) -> Response:
    from docker.errors import create_api_error_from_http_exception
    from requests import HTTPError, RequestException

    url = f"{client.base_url}/v{client.api_version}{path}"
    try:
        response = client.request(method, url, timeout=seconds, **options)
        response.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)
    except RequestException as error:
        raise _silence(error, seconds) or error from None
    return response


def _silence(error: Exception, seconds: float) -> Silence | None:
    """Return it where this is what a library has made of it; while lines are read, it is an error of its connection."""
    from requests.exceptions import ReadTimeout

    return Silence(seconds) if isinstance(error, ReadTimeout) or "Read timed out" in str(error) else None


def _headers(credentials: Mapping[str, str]) -> dict[str, str]:
    from docker.auth import encode_header

    return {"X-Registry-Auth": encode_header(dict(credentials)).decode()}
