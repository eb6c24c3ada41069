"""Which images a Dockerfile begins with."""

from __future__ import annotations

import pytest

from airflow_provider.scriptrun.targets.docker.dockerfile import base_images


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM python:3.11-slim\nRUN true\n", ["python:3.11-slim"]),
        ("# a comment\nfrom --platform=linux/amd64 a/b@sha256:00 as Build\nFROM build\n", ["a/b@sha256:00"]),
        ("FROM scratch\nCOPY x /x\n", []),
        ("FROM a AS one\nFROM b\nCOPY --from=one /x /x\nFROM a\n", ["a", "b"]),
        ("ARG TAG=3.11\nFROM python:${TAG}\n", ["python:3.11"]),
        ('ARG NAME="debian"\nFROM $NAME:12\n', ["debian:12"]),
        ("FROM python:${TAG:-3.12}\n", ["python:3.12"]),
        ("ARG TAG\nFROM python:$TAG\n", []),
        ("FROM a\nARG TAG=1\nFROM b:$TAG\n", ["a"]),
        ("RUN echo FROM nowhere\n", []),
    ],
)
def test_a_dockerfile_is_made_from_the_images_that_its_stages_begin_with(text: str, expected: list[str]) -> None:
    assert base_images(text) == expected
