"""What preparing an environment gives to whoever starts the script."""

from typing import Dict, List, NamedTuple, Optional


class Prepared(NamedTuple):
    """An environment that is ready. Plain JSON values only: ``_asdict()`` travels from the child that prepares it.

    Whoever starts the script opens ``hold`` and takes a shared ``flock`` on it for as long as the run lives:
    that, and nothing else, says that the environment is in use. It does so within ten minutes, during which
    nothing that was just used is removed.
    """

    key: str  #: sha256 that names the environment: the run record's ``environment.id``
    kind: str  #: the plan's kind
    reused: bool  #: nothing was built (nor installed) for this run
    lock_reused: bool  #: the requirements had been resolved before; no index was asked
    interpreter: str  #: absolute path
    python: str  #: its version, for instance ``3.11.7``
    bin_dirs: List[str]  #: put first on the script's PATH, in this order
    variables: Dict[str, str]  #: for the script; the run's own variables win over them
    packages: Optional[str]  #: absolute path of the exact package list: ``name==version`` lines, sorted
    package_count: Optional[int]  #: how many lines that list has
    hold: Optional[str]  #: absolute path of the file to lock, see above; ``None`` where nothing can be removed
