"""Programs that tests and benchmarks run by hand."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

#: That of the virtual environment, which need not be on PATH.
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or "uv"
