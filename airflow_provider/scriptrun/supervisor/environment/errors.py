"""How preparing an environment fails: what happened, what to do next, and whether asking again could help."""

from typing import Optional


class EnvironmentFailed(Exception):  # noqa: N818 - the name is the state a run ends in
    """The environment cannot be prepared.

    ``message`` says what, where and why, with the tool's own last lines; ``advice`` what to do next;
    ``resolution`` that an index answered and no set of versions satisfies the requirements: the same
    requirements will not resolve next time either.
    """

    def __init__(self, message: str, advice: Optional[str] = None, resolution: bool = False) -> None:
        super().__init__(message)
        self.message, self.advice, self.resolution = message, advice, resolution
