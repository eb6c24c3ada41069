"""Environments by ``python -m venv`` and pip, where there is no uv: slower, built in place, the mark written last."""
