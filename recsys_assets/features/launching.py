"""Where feature tables are computed: the port the assets ask, and its answer on this machine.

Put the port and the local adapter here. Keep the Glue adapter (``recsys_assets.features.glue_launcher``) and computing
(``engine.py``, ``spark_engine.py``) out.
"""

from datetime import datetime
from typing import Protocol

import dagster as dg

from recsys_assets.features.engine import WrittenFeatures, write_features
from recsys_assets.lake import Lake


class FeatureLauncher(Protocol):
    """Computes feature tables somewhere."""

    def write(self, context: dg.AssetExecutionContext, lake: Lake, table: str, as_of: datetime) -> WrittenFeatures:
        """Compute one of `recsys_assets.features.engine.FEATURES` and replace the lake's table of that name.

        Raises:
            dagster.Failure: it was computed elsewhere and failed there; says why and what to do.
        """


class LocalFeatures:
    """In the step itself, by DuckDB."""

    def write(self, context: dg.AssetExecutionContext, lake: Lake, table: str, as_of: datetime) -> WrittenFeatures:
        """See `FeatureLauncher.write`."""
        return write_features(lake, table, as_of)
