"""The generated trees that benchmarks work on: the same bytes on every machine."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Spread of the sizes' logarithm: most files are small, a few are hundreds of times larger, as in a real source tree.
_SIGMA = 1.2
_ENDINGS = (".py", ".py", ".py", ".json", ".yaml", ".txt", ".csv", ".bin")


@dataclass(frozen=True)
class Tree:
    """A tree to be made: files of log-normal sizes, spread over folders of two levels."""

    name: str
    files: int
    total: int  #: bytes of all files together
    folders: int
    seed: int


LARGE = Tree("large", 10_000, 120_000_000, 100, 20_260_630)
SMALL = Tree("small", 2_000, 27_000_000, 40, 20_250_331)


def make(folder: Path, tree: Tree) -> list[Path]:
    """Write the tree into ``folder``, which is made, and return its files' paths."""
    chance = random.Random(tree.seed)
    weights = [chance.lognormvariate(0, _SIGMA) for _ in range(tree.files)]
    scale = tree.total / sum(weights)
    places = []
    for number in range(tree.folders):
        place = folder / f"package{number % 10}" / f"part{number:03}"
        place.mkdir(parents=True, exist_ok=True)
        places.append(place)
    paths = []
    for number, weight in enumerate(weights):
        path = places[number % tree.folders] / f"module_{number:05}{chance.choice(_ENDINGS)}"
        path.write_bytes(chance.randbytes(int(weight * scale)))
        paths.append(path)
    (folder / ".gitignore").write_text("*.pyc\n__pycache__/\n/data/\n.venv\n*.egg-info/\n")
    return [*paths, folder / ".gitignore"]
