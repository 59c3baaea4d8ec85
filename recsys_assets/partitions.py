"""The daily partitions of the interaction log. A source may have no data on some days (``Source.days``).

See https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

import dagster as dg

from lambda_api.settings import current_settings

DAYS = dg.DailyPartitionsDefinition(start_date=current_settings().partitions_start.isoformat(), timezone="UTC")
"""UTC calendar days. Read when this module is first imported: a code location has one calendar."""
