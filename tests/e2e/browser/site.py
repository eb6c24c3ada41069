"""Airflow's web interface as a person uses it: pages, forms, buttons, found by what they say."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from playwright.sync_api import Locator, Page, expect

#: What a page of documentation can carry.
MAX_PICTURE_BYTES = 200_000


def labelled(text: str) -> re.Pattern[str]:
    """Match a field's label, which has a star where a value is required."""
    return re.compile(rf"^\s*{re.escape(text)}\s*\*?\s*$")


@dataclass(frozen=True)
class Form:
    """A dialog with labelled fields in sections, of which one is open at a time."""

    dialog: Locator

    def field(self, label: str) -> Locator:
        """Return all of a field: its label, what is filled in, its description."""
        return self.dialog.get_by_role("group").filter(has=self.dialog.page.get_by_text(labelled(label)))

    def text(self, label: str) -> Locator:
        """Return where text is filled in."""
        return self.field(label).get_by_role("textbox")

    def number(self, label: str) -> Locator:
        """Return where a number is filled in."""
        return self.field(label).get_by_role("spinbutton")

    def choice(self, label: str) -> Locator:
        """Return a drop-down."""
        return self.field(label).get_by_role("combobox")

    def switch(self, label: str) -> Locator:
        """Return a switch, to ask about; :meth:`turn` moves it."""
        return self.field(label).get_by_role("checkbox")

    def turn(self, label: str) -> None:
        """Turn a switch, of which only the picture around it can be clicked."""
        self.switch(label).locator("xpath=..").click()

    def choose(self, label: str, option: str) -> None:
        """Choose from a drop-down."""
        self.choice(label).click()
        self.dialog.get_by_role("option", name=option, exact=True).click()

    def options(self, label: str) -> list[str]:
        """Return what a drop-down offers."""
        self.choice(label).click()
        expect(self.dialog.get_by_role("option").first).to_be_visible()
        found = self.dialog.get_by_role("option").all_inner_texts()
        self.choice(label).blur()  # Escape would close the form, too
        expect(self.dialog.get_by_role("option")).to_have_count(0)
        return found

    def open_section(self, heading: str) -> None:
        """Open a section where it is folded."""
        button = self.dialog.get_by_role("button", name=heading, exact=True)
        if button.get_attribute("aria-expanded") != "true":
            button.click()
        expect(button).to_have_attribute("aria-expanded", "true")

    def submit(self, button: str) -> None:
        """Press a button of the form; return when the form is gone."""
        self.dialog.get_by_role("button", name=button, exact=True).click()
        expect(self.dialog).to_be_hidden()


@dataclass(frozen=True)
class Site:
    """An Airflow in a browser.

    :param folder: where pictures are taken, and what a failed test saw.
    :param pictures: where pictures for the documentation are copied to, if anywhere.
    """

    page: Page
    url: str
    folder: Path
    pictures: Path | None

    def go(self, path: str) -> None:
        """Open a page."""
        self.page.goto(self.url + path)

    def go_to_task(self, dag_id: str, run_id: str, task_id: str, tab: str = "") -> None:
        """Open a task's page: its log, or another tab of it by the last part of its address."""
        self.go(f"/dags/{dag_id}/runs/{quote(run_id)}/tasks/{task_id}/{tab}".rstrip("/"))

    def button(self, name: str) -> Locator:
        """Return a button by all of its name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def form(self) -> Form:
        """Return the form that is open."""
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        return Form(dialog)

    def run_shown(self, dag_id: str, other_than: str = "") -> str:
        """Return the id of the run whose page the interface turns to."""
        page = re.compile(rf"/dags/{dag_id}/runs/([^/?]+)")

        def shown(url: str) -> str:
            found = page.search(url)
            return unquote(found.group(1)) if found else ""

        self.page.wait_for_url(lambda url: shown(url) not in ("", other_than))
        return shown(self.page.url)

    def picture(self, name: str) -> None:
        """Take a picture for the documentation, which is small enough for it."""
        path = self.folder / f"{name}.png"
        self.page.mouse.move(0, 0)
        self.page.screenshot(path=path, animations="disabled", caret="hide")
        assert path.stat().st_size < MAX_PICTURE_BYTES
        if self.pictures is not None:
            self.pictures.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.pictures / path.name)

    def evidence(self) -> str:
        """Keep what the page shows, as a picture and as text; return where."""
        picture, text = self.folder / "failed.png", self.folder / "failed.txt"
        self.page.screenshot(path=picture)
        text.write_text(f"{self.page.url}\n\n{self.page.locator('body').inner_text()}")
        return f"what the browser showed: {picture} and {text}"
