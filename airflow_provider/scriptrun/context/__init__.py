"""What a training script may import: ``get_context()``, the run it belongs to."""

from __future__ import annotations

from airflow_provider.scriptrun.context.context import NoRun, RunContext, get_context

__all__ = ["NoRun", "RunContext", "get_context"]
