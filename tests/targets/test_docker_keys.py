"""What an environment's image is called after: its packages, and what they are installed on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider.scriptrun.targets.docker.images import Image
from airflow_provider.scriptrun.targets.docker.package_image import key_of

BASE = Image("python:3.11-slim", "sha256:1", "sha256:2", "", platform="linux/amd64")
PLAN: dict[str, Any] = {
    "kind": "pip",
    "requirements": ["iniconfig"],
    "delivery": {"refresh": False},
    "image": {"reference": "python:3.11-slim", "registry": {"address": "r.example.com", "secret": "X"}},
}


def test_it_is_the_same_however_it_is_delivered_and_whatever_the_image_is_called() -> None:
    other = {**PLAN, "delivery": {"refresh": True}, "image": {"reference": "mirror.example.com/python:3.11-slim"}}
    assert key_of(other, replace(BASE, name="mirror.example.com/python:3.11-slim")) == key_of(PLAN, BASE)


@pytest.mark.parametrize("change", [{"digest": "sha256:3"}, {"platform": "linux/arm64/v8"}])
def test_another_image_and_another_platform_of_the_same_image_are_others(change: dict[str, str]) -> None:
    assert key_of(PLAN, replace(BASE, **change)) != key_of(PLAN, BASE)


def test_other_packages_are_others() -> None:
    assert key_of({**PLAN, "requirements": ["packaging"]}, BASE) != key_of(PLAN, BASE)
