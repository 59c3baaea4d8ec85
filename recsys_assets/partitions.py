"""The daily partitions of the interaction log.

Put partition definitions here. Keep the days a source really has (``Source.days``) out: a shop may be closed on some.
See https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

import dagster as dg

from lambda_api.settings import current_settings

DAYS = dg.DailyPartitionsDefinition(start_date=current_settings().partitions_start.isoformat(), timezone="UTC")
"""UTC calendar days. Read when this module is first imported: a code location has one calendar."""
