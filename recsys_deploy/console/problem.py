"""A failed step or check of a run, for display."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that stopped the run: the step or check, and its own words."""

    where: str
    message: str
