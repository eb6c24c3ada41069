"""Write the table of `[scriptrun]` options into docs/workspace.md, from the one place where they are defined."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from airflow_provider.scriptrun.runs.settings import options

PAGE = Path(__file__).resolve().parent.parent / "docs" / "workspace.md"
_PLACE = re.compile(r"<!-- settings -->\n.*<!-- /settings -->", re.DOTALL)


def page() -> str:
    """Return the page as it should be."""
    rows = [f"| `{o.name}` | {_shown(o.default)} | {o.description} |" for o in options()]
    table = "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])
    return _PLACE.sub(lambda _: f"<!-- settings -->\n{table}\n<!-- /settings -->", PAGE.read_text())


def _shown(default: object) -> str:
    return f"`{default}`" if default != "" else "empty"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)
