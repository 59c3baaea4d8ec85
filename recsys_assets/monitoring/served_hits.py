"""Hits of the serving model, day by day: did its list hold what its shoppers bought that day?

Every day is asked of the model that could serve on it: the newest champion whose training data end before the day. Rows
are kept in the lake table `TABLE`, one per shopper who bought something and has a history. Days that another shop left
there are made again.
"""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.ids import IdMap
from recsys_assets.lake import Lake, midnight
from recsys_assets.measurement.protocol import EvaluationWindow, build_task, evaluate
from recsys_assets.monitoring.concept import GAP_DAYS, REFERENCE_DAYS, DailyRate
from recsys_assets.monitoring.samples import events_of_active_shoppers, newest_of_each, usable_days
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion, Status
from recsys_assets.schema import relevant_types
from recsys_assets.shop_mark import mark_of, own_days, write_marked

TABLE: Final = "served_hits"
MAX_SHOPPERS: Final = 10_000
"""Active shoppers per day, of whom those count who bought something."""

HISTORY_DAYS: Final = 90
BACKFILL_DAYS: Final = REFERENCE_DAYS + GAP_DAYS + 35
"""Days looked at, and computed where they are missing: five weeks of a champion, each day with its whole reference.

With fewer, the first days of a sum are standardised by what is left of their reference, and change from day to day.
"""

CHUNK_DAYS: Final = 7
"""Missing days of which the shoppers' events are in memory at once."""

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string()),
        pa.field("version", pa.string()),
        pa.field("hit", pa.float64()),
        pa.field("first_category", pa.string()),
        pa.field("age_days", pa.int32()),
    ]
)
"""``age_days``: from the end of the version's data to the day; files of earlier releases lack it."""

Log = Callable[[str], None]


def version_for(registry: ModelRegistry, day: date) -> ModelVersion | None:
    """The newest version that was or is champion and has learned from nothing on or after ``day``."""
    start = midnight(day)
    served = [one for one in registry.list_versions() if one.status in (Status.CHAMPION, Status.RETIRED)]
    usable = [one for one in served if one.data_window.end <= start]
    return max(usable, key=lambda one: one.data_window.end, default=None)


def update_hits(
    lake: Lake, registry: ModelRegistry, bundles: BundleStore, cache: Path, day: date, k: int, log: Log
) -> int:
    """Compute the missing days up to ``day``; returns how many. Days without a usable model stay missing."""
    first, mark = day - timedelta(days=BACKFILL_DAYS - 1), mark_of(lake)
    done, _ = own_days(lake, mark, TABLE, first, day, column="age_days")
    missing = [
        (one, version)
        for one in sorted(usable_days(lake) - set(done))
        if first <= one <= day and (version := version_for(registry, one)) is not None
    ]
    products = lake.read("products") if missing else None
    models: dict[str, Recommender] = {}
    for start in range(0, len(missing), CHUNK_DAYS):
        chunk = missing[start : start + CHUNK_DAYS]
        events, shoppers = events_of_active_shoppers(lake, chunk[0][0], chunk[-1][0], HISTORY_DAYS, MAX_SHOPPERS)
        for one, version in chunk:
            name = str(version.version)
            if name not in models:
                models[name] = read_bundle(bundles.fetch(version, cache), verify=False).recommender
            active = events.filter(pc.is_in(events["user_id"], pa.array(shoppers.get(one, []), pa.string())))
            hits = hits_of_day(active, products, models[name], name, version.data_window.end.date(), one, k)
            write_marked(lake, mark, TABLE, one, hits)
        log(f"hits of what was served: {start + len(chunk)} of {len(missing)} days")
    return len(missing)


def hits_of_day(
    events: pa.Table, products: pa.Table, model: Recommender, version: str, data_end: date, day: date, k: int
) -> pa.Table:
    """One row per shopper of ``events`` who bought something on ``day`` (`SCHEMA`).

    Args:
        version, data_end: of ``model``: its name, and the day on which its training data end.
    """
    start = midnight(day)
    try:
        window = EvaluationWindow(start, start + timedelta(days=1), relevant_types(events), candidates="catalogue")
        task = build_task(_of_buyers(events, window), products, window)
    except ValueError:  # nobody with a history bought something new
        return SCHEMA.empty_table()
    found = evaluate(version, model, task, k)
    return pa.table(
        {
            "user_id": list(task.user_ids),
            "version": [version] * len(task),
            "hit": found.metrics["hit_rate"],
            "first_category": _categories(products, task.products, found.recommended[:, 0]),
            "age_days": [(day - data_end).days] * len(task),
        },
        schema=SCHEMA,
    )


def _of_buyers(events: pa.Table, window: EvaluationWindow) -> pa.Table:
    """Events of those who did something relevant from the window's start on: only they are asked, of many more."""
    kinds = pa.array(sorted(kind.label for kind in window.relevant_types or ()), pa.string())
    bought = pc.and_(
        pc.is_in(events["interaction_type"], kinds),
        pc.greater_equal(events["timestamp"], pa.scalar(window.start, events["timestamp"].type)),
    )
    return events.filter(pc.is_in(events["user_id"], events["user_id"].filter(bought)))


def daily_rates(lake: Lake, day: date) -> list[DailyRate]:
    """The stored days up to ``day``, as many as `BACKFILL_DAYS`."""
    rates = []
    first = day - timedelta(days=BACKFILL_DAYS - 1)
    for one in own_days(lake, mark_of(lake), TABLE, first, day, column="age_days")[0]:
        rows = lake.read_day(TABLE, one, ("hit", "age_days"))
        if rows.num_rows:
            hits = rows["hit"].to_numpy()
            rates.append(DailyRate(one, float(hits.mean()), len(hits), rows["age_days"][0].as_py()))
    return rates


def one_row_per_shopper(lake: Lake, start: date, end: date) -> pa.Table:
    """Rows of the days from ``start`` to before ``end``, the newest of each shopper."""
    days, _ = own_days(lake, mark_of(lake), TABLE, start, end - timedelta(days=1))
    if not days:
        return SCHEMA.empty_table()
    rows = pa.concat_tables([lake.read_day(TABLE, one) for one in days], promote_options="default")
    return newest_of_each(rows)


def _categories(products: pa.Table, listed: IdMap, places: NDArray[np.int32]) -> list[str | None]:
    """Category of each place (index in ``listed``, -1: none)."""
    if "category" not in products.column_names:
        return [None] * len(places)
    category = dict(zip(products["product_id"].to_pylist(), products["category"].to_pylist(), strict=True))
    return [category.get(listed.external([place])[0]) if place >= 0 else None for place in places.tolist()]
