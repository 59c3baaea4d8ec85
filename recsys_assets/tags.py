"""Names shared by the definitions of this code location: groups, owners and run tags.

Put a string here when two modules must agree on it. Keep asset keys out: assets are imported, not named.
"""

from typing import Final

OWNERS: Final = ["team:recsys"]

TRIGGER_TAG: Final = "recsys/trigger"
"""Run tag saying what asked for a run: ``demo``, ``schedule`` or ``missed_day``."""

REPOSITORY_TAG: Final = ".dagster/repository"
"""Dagster's own tag for the code location of a run, by which its UI finds the runs of a job and draws the timeline.
Runs that the UI launches have it; runs in a process of ours set it with `repository_label`."""

RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"
"""Dagster's own tags for one run over a range of partitions."""


def repository_label(location: str) -> str:
    """Value of `REPOSITORY_TAG` for a code location of ``workspace.yaml``."""
    return f"__repository__@{location}"
