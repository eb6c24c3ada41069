"""The page of connections: a form that is filled in, its row, and what the Test button answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Locator, expect

from airflow_provider.scriptrun.get_provider_info import get_provider_info
from tests.e2e.browser.site import Form, Site


def described(kind: str) -> dict[str, Any]:
    """Return what the provider says of a type of connection."""
    (found,) = [one for one in get_provider_info()["connection-types"] if one["connection-type"] == kind]
    return dict(found)


def new_connection(site: Site, kind: Mapping[str, Any], connection_id: str) -> Form:
    """Open the form and choose the type by the name that a person reads."""
    site.go("/connections")
    site.button("Add Connection").click()
    form = site.form()
    form.text("Connection ID").fill(connection_id)
    form.choice("Connection Type").fill("Script run")
    form.dialog.get_by_role("option", name=kind["hook-name"], exact=True).click()
    expect(form.text(kind["ui-field-behaviour"]["relabeling"].get("host", "Host"))).to_be_visible()
    return form


def row(site: Site, connection_id: str) -> Locator:
    """Return the line of a connection."""
    return site.page.get_by_role("row").filter(has_text=connection_id)


def press_test(site: Site, connection_id: str) -> dict[str, Any]:
    """Press the Test button; return what the hook answered."""
    with site.page.expect_response(re.compile("/connections/test$")) as answer:
        row(site, connection_id).get_by_role("button", name="Test Connection").click()
    assert answer.value.ok, f"{answer.value.text()} to {answer.value.request.post_data}"
    found: dict[str, Any] = answer.value.json()
    return found


def check_fields(form: Form, fields: Mapping[str, Mapping[str, Any]]) -> None:
    """Open each section; every field stands under its label, with its description and its default."""
    for name, field in fields.items():
        form.open_section(field["schema"]["section"])
        shown = form.field(field["label"])
        expect(shown).to_be_visible()
        expect(shown).to_contain_text(field["description"])
        default = field["schema"].get("default")
        if isinstance(default, bool):
            expect(form.switch(field["label"])).to_be_checked(checked=default)
        elif default is not None:
            expect(form.number(field["label"])).to_have_value(str(default))
        assert name in shown.inner_html(), "the field of this name, under this label"
