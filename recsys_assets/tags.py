"""Names shared by the definitions of this code location: owners and run tags."""

from typing import Final

OWNERS: Final = ["team:recsys"]

TRIGGER_TAG: Final = "recsys/trigger"
"""Run tag that says what requested a run: ``demo``, ``schedule`` or ``missed_day``."""

RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"
"""Dagster's own tags for one run over a range of partitions."""
