"""Images with something odd about them, made from the base image without a network: each once, on first use."""

from __future__ import annotations

import contextlib
import hashlib
import textwrap

from scripts import base_image, docker_engine
from scripts.docker_engine import DockerEngineError

_ATTEMPTS = 4
_PYTHONS = "/usr/bin/python3*"

#: Name -> what is done to the base image, in the language of Dockerfiles.
VARIANTS: dict[str, str] = {
    "no-python": f"RUN rm -f {_PYTHONS}",
    "no-shell": 'RUN ["rm", "-f", "/bin/bash", "/bin/rbash", "/bin/dash", "/bin/sh"]\nCMD ["python3"]',
    "no-certificates": "RUN update-ca-certificates --fresh\nENV SSL_CERT_FILE= PIP_CERT=",
    # one that says nothing and fails, as a stub of a distribution's may
    "broken-python": f"RUN rm -f {_PYTHONS} && ln -s /bin/false /usr/bin/python3",
    "failing-entrypoint": 'ENTRYPOINT ["/bin/sh", "-c", "echo the entrypoint fails >&2; exit 64"]',
    # one that does its part and goes on with the command, as those of vendors do
    "entrypoint": 'ENTRYPOINT ["/usr/bin/env", "ENTRYPOINT_WAS_HERE=yes"]',
    "other-user": "RUN useradd --uid 1000 --create-home --shell /bin/bash app\nUSER app",
    "variable": "ENV FOO=bar",
    "workdir": "WORKDIR /srv/app",
    "volume": "VOLUME /data",
}


def reference(variant: str) -> str:
    """Return the name of a variant's image: its tag is what it is made from, as that of the base image is."""
    return f"scriptrun/test-{variant}:{_digest(base_image.reference() + VARIANTS[variant])}"


def ensure(variant: str, at: str | None = None) -> str:
    """Return the reference of a variant's image, made if the engine has none that is up to date.

    :param at: the engine's address; ``None``: the machine's.
    """
    base = base_image.ensure(at)
    base_id = docker_engine.ask("image", "inspect", "--format", "{{.Id}}", base, at=at).strip()
    dockerfile = f"FROM {base}\n{VARIANTS[variant]}\n"
    return build(reference(variant), dockerfile, base_id, at)


def build(name: str, dockerfile: str, salt: str = "", at: str | None = None) -> str:
    """Return the reference of an image that a Dockerfile makes, without a network and without files beside it.

    :param name: with its tag. What has been built under it by the same text and ``salt`` is not built again.
    """
    recipe = _digest(f"{salt}\n{dockerfile}")
    with base_image.one_at_a_time():
        if base_image.recipe_of(name, at) != recipe:
            remove(name, at)
            text = textwrap.dedent(dockerfile).encode()
            label = f"{base_image.RECIPE_LABEL}={recipe}"
            _build(["--label", label, "--tag", name], text, at)
    return name


def _build(options: list[str], text: bytes, at: str | None) -> None:
    """Build; begun again where an engine lost it, because any other image on the same base was removed meanwhile."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            docker_engine.ask("build", "--network", "none", *options, "-", at=at, data=text)
        except DockerEngineError as error:
            if not left or 'unable to find image "sha256:' not in str(error):
                raise
        else:
            return


def remove(name: str, at: str | None = None) -> None:
    """Remove an image, if it is there."""
    with contextlib.suppress(DockerEngineError):
        docker_engine.ask("image", "rm", "--force", name, at=at)


def remove_all(at: str | None = None) -> None:
    """Remove the images of all variants; the base image stays."""
    for variant in VARIANTS:
        remove(reference(variant), at)


def copy(name: str, to: str, at: str | None = None) -> None:
    """Bring an image to another engine, unless it is there."""
    if base_image.recipe_of(name, to) is None:
        docker_engine.hand_over(name, at or docker_engine.url(), to)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
