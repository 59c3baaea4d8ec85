"""Dagster assets of what was served: the lists of each day, and what followed from them."""

from collections.abc import Callable
from datetime import date

import dagster as dg
import pyarrow as pa

from lambda_api.settings import Settings
from recsys_assets.event_stream import events_root, marked
from recsys_assets.ingest.served import fingerprint_of
from recsys_assets.ingest.served import list_outcomes as make_outcomes
from recsys_assets.ingest.served import served_lists as make_lists
from recsys_assets.lake import Lake
from recsys_assets.partitions import DAYS
from recsys_assets.tags import OWNERS

GROUP = "served"


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def served_lists(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult[None]:
    """Lists that shoppers were shown, one row per product: place, propensity, experiment, revision and variant."""
    return _make(context, settings, lake, "served_lists", make_lists)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    deps=[served_lists],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def list_outcomes(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult[None]:
    """What followed from each shown product within a day: views, additions to the cart, purchases, revenue."""
    return _make(context, settings, lake, "list_outcomes", make_outcomes)


def _make(
    context: dg.AssetExecutionContext, settings: Settings, lake: Lake, name: str, make: Callable[[str, date], pa.Table]
) -> dg.MaterializeResult[None]:
    root, rows = events_root(settings), 0
    for key in context.partition_keys:
        day = date.fromisoformat(key)
        # Read before the files are: what arrives meanwhile makes the day stale again.
        fingerprint = fingerprint_of(root, day)
        table = make(root, day)
        lake.write_day(name, day, marked(table, fingerprint))
        rows += table.num_rows
    return dg.MaterializeResult(
        metadata={"dagster/uri": lake.uri(name), "dagster/row_count": lake.count_rows(name), "rows_made": rows}
    )
