from __future__ import annotations

import pytest

from tests import components

pytest_plugins = ["pytester"]

SUITE = """
import pytest

@pytest.mark.needs("unicorn")
def test_a_ride():
    pass
"""
CONFTEST = """
from tests import components
components.PROBES["unicorn"] = lambda: "none was found in the garden"
from tests.conftest import pytest_runtest_setup
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setattr(components, "PROBES", dict(components.PROBES))
    pytester.makeini("[pytest]\nmarkers =\n    needs(component): a real component\n")
    pytester.makepyfile(SUITE)
    pytester.makeconftest(CONFTEST)
    return pytester


def test_a_test_whose_component_is_missing_skips_with_the_reason(suite, monkeypatch):
    monkeypatch.delenv("SCRIPTRUN_REQUIRE", raising=False)
    result = suite.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*unicorn: none was found in the garden*"])


@pytest.mark.parametrize("required", ["unicorn", "ssh, unicorn", "all"])
def test_a_required_component_that_is_missing_fails(suite, monkeypatch, required):
    monkeypatch.setenv("SCRIPTRUN_REQUIRE", required)
    suite.runpytest_inprocess().assert_outcomes(errors=1)


def test_a_component_that_is_required_and_there_runs(suite, monkeypatch):
    monkeypatch.setenv("SCRIPTRUN_REQUIRE", "unicorn")
    suite.makeconftest(CONFTEST.replace('"none was found in the garden"', "None"))
    suite.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_component_that_nobody_knows_is_an_error(suite):
    suite.makepyfile(SUITE.replace("unicorn", "unicron"))
    suite.runpytest_inprocess().assert_outcomes(errors=1)
