"""Drift of the feature tables: the snapshot of the current week against those of the eight weeks before."""

from datetime import date, datetime, timedelta
from typing import Final

import pyarrow as pa

from recsys_assets.features.snapshots import features_at
from recsys_assets.lake import Lake, midnight
from recsys_assets.monitoring.drift_statistics import ColumnDrift, compare_categorical, compare_numeric
from recsys_assets.monitoring.samples import REFERENCE_DAYS

COLUMNS: Final = {
    "user_features": ("price_level", "top_category"),
    "product_features": ("decayed_interactions_7d", "price_level"),
    "user_product_features": ("price_level_gap", "category_affinity", "decayed_interactions_7d"),
}
"""Columns that are compared. Counts and rates over a shopper's whole past are left out: they move as the log grows."""


def compare_feature_tables(lake: Lake, day: date) -> list[ColumnDrift]:
    """Every compared column that has a snapshot in the week that ends with ``day`` and one in the weeks before.

    One row per shopper (product) and week, of those who were active in the week before the snapshot's cut-off.
    """
    end = midnight(day + timedelta(days=1))
    found: list[ColumnDrift] = []
    for table, columns in COLUMNS.items():
        now, *past = [_of_week(lake, table, end - timedelta(weeks=week)) for week in range(1 + REFERENCE_DAYS // 7)]
        before = [one for one in past if one is not None]
        if now is not None and before:
            reference = pa.concat_tables(before)
            found += [_compare(f"{table}.{column}", reference[column], now[column]) for column in columns]
    return found


def _of_week(lake: Lake, table: str, end: datetime) -> pa.Table | None:
    snapshot = features_at(lake, table, end, oldest=end - timedelta(weeks=1))
    return None if snapshot is None else snapshot.rows


def _compare(name: str, reference: pa.ChunkedArray, current: pa.ChunkedArray) -> ColumnDrift:
    if pa.types.is_string(current.type):
        return compare_categorical(name, reference.to_pylist(), current.to_pylist())
    values = [one.cast(pa.float64()).to_numpy() for one in (reference, current)]
    return compare_numeric(name, values[0], values[1])
