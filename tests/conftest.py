"""What every test may rely on: ``needs(component)``, and no trace of the machine's own configuration."""

from __future__ import annotations

import pytest

from tests import components


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose component is missing, and say why; fail it where ``SCRIPTRUN_REQUIRE`` names the component."""
    for mark in item.iter_markers("needs"):
        for component in mark.args:
            if component not in components.PROBES:
                pytest.fail(f"needs({component!r}): there is no such component in tests/components.py", pytrace=False)
            reason = components.why_missing(component)
            if reason is None:
                continue
            if components.is_required(component):
                pytest.fail(f"{component} is required by SCRIPTRUN_REQUIRE: {reason}", pytrace=False)
            pytest.skip(f"{component}: {reason}")
