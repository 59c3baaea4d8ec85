"""Names shared by the definitions of this code location: groups, owners and run tags.

Put a string here when two modules must agree on it. Keep asset keys out: assets are imported, not named.
"""

from typing import Final

OWNERS: Final = ["team:recsys"]

TRIGGER_TAG: Final = "recsys/trigger"
"""Run tag saying what asked for a run: ``demo``, ``schedule`` or ``missed_day``."""

RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"
"""Dagster's own tags for one run over a range of partitions."""
