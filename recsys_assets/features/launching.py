"""The interface that the feature assets use to compute a table, and its implementation on this machine."""

from datetime import datetime
from typing import Protocol

import dagster as dg

from recsys_assets.features.engine import WrittenFeatures, write_features
from recsys_assets.lake import Lake


class FeatureLauncher(Protocol):
    """Computes feature tables, on this machine or elsewhere."""

    def write(self, context: dg.AssetExecutionContext, lake: Lake, table: str, as_of: datetime) -> WrittenFeatures:
        """Compute one of `recsys_assets.features.engine.FEATURES` and replace the lake's table of that name.

        Raises:
            dagster.Failure: the remote run failed; the message gives the reason and the remedy.
        """


class LocalFeatures:
    """Computes in the Dagster step itself, with DuckDB."""

    def write(self, context: dg.AssetExecutionContext, lake: Lake, table: str, as_of: datetime) -> WrittenFeatures:
        """See `FeatureLauncher.write`."""
        return write_features(lake, table, as_of)
