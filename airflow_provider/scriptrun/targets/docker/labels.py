"""What containers, volumes and images of ours are labelled with, so that anyone can find them."""

from __future__ import annotations

from airflow_provider.scriptrun.targets.docker.engine import VOLUME_LABEL

#: What a container is for: :data:`RUN`, :data:`KEEPER` or :data:`BUILD`.
KIND_LABEL = "scriptrun.kind"
RUN, KEEPER, BUILD = "run", "keeper", "build"
RUN_LABEL = "scriptrun.run"
EXPERIMENT_LABEL = "scriptrun.experiment"

__all__ = ["BUILD", "EXPERIMENT_LABEL", "KEEPER", "KIND_LABEL", "RUN", "RUN_LABEL", "VOLUME_LABEL"]
