"""Drift of predictions: scores of the lists that were served, and how much a shopper's list changes (churn).

The last list of a sample of shoppers is kept for each day in the lake table `TABLE`, so that a report reads one day of
``served_lists`` and not nine weeks. Scores of two model versions have different scales: only lists of the version that
serves most now are compared. Lists that no model answered, and visitors without an id, are left out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.features.engine import duckdb_engine
from recsys_assets.lake import Lake
from recsys_assets.measurement.metrics import FloatArray
from recsys_assets.monitoring.drift_statistics import ColumnDrift, compare_deciles, compare_numeric
from recsys_assets.monitoring.samples import REFERENCE_DAYS, WINDOW_DAYS, newest_of_each
from recsys_assets.shop_mark import mark_of, own_days, write_marked

TABLE: Final = "served_samples"
LISTS: Final = "served_lists"
MAX_SHOPPERS: Final = 5_000
"""Shoppers per day: those with the smallest hashes, hence mostly the same on all days."""

PAIR_DAYS: Final = 7
"""A list is compared with the shopper's last one of so many days before."""

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("page", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("products", pa.list_(pa.string())),
        pa.field("churn", pa.float64()),
        pa.field("other_version", pa.bool_()),
    ]
)
"""``score``: of the first place, null unless the learned ranker made the list. ``churn``: share of places with another
product than in the shopper's list before on the same page, null without one; ``other_version``: that one was of
another model version."""

_COLUMNS: Final = (
    "request_id", "user_id", "shown_at", "list_kind", "model_version", "page", "place", "product_id", "score", "stage",
)  # fmt: skip

# The last list of a shopper and day, whoever asked how often: a robot counts once.
_LAST_LISTS: Final = """
    WITH shown AS (
        SELECT * FROM lists WHERE list_kind = 'recommend' AND user_id <> '' AND model_version <> 'baseline'
    ), chosen AS (
        SELECT user_id, arg_max(request_id, (shown_at, request_id)) AS request_id
        FROM shown SEMI JOIN
            (SELECT user_id FROM (SELECT DISTINCT user_id FROM shown) ORDER BY hash(user_id), user_id LIMIT ?)
            USING (user_id)
        GROUP BY user_id
    )
    SELECT user_id, any_value(model_version) AS model_version, any_value(page) AS page,
        max(score) FILTER (place = 1 AND stage = 'ranked') AS score, list(product_id ORDER BY place) AS products
    FROM shown SEMI JOIN chosen USING (user_id, request_id)
    GROUP BY user_id ORDER BY user_id
"""


@dataclass(frozen=True)
class Predictions:
    """Lists of the current week and of the weeks before, one per shopper and week.

    Attributes:
        version: that served most shoppers in the current week; empty without any list.
        columns: not judged yet; `drift_statistics.judge` does.
        between_versions: mean churn between lists of different versions in the current week; ``None`` without any.
    """

    version: str
    columns: tuple[ColumnDrift, ...]
    between_versions: float | None


NO_PREDICTIONS: Final = Predictions("", (), None)


def update_samples(lake: Lake, day: date) -> int:
    """Sample the days of the compared weeks that are missing, and ``day`` again; returns how many."""
    first, mark = day - timedelta(days=REFERENCE_DAYS + WINDOW_DAYS - 1), mark_of(lake)
    stored, _ = own_days(lake, mark, TABLE, first, day)
    days = [one for one in lake.days(LISTS) if first <= one <= day and (one == day or one not in stored)]
    for one in days:
        last = last_lists(lake.read_day(LISTS, one, _COLUMNS))
        earlier, _ = own_days(lake, mark, TABLE, one - timedelta(days=PAIR_DAYS), one - timedelta(days=1))
        columns = ("user_id", "model_version", "page", "products")
        before = [lake.read_day(TABLE, past, columns) for past in earlier]
        write_marked(lake, mark, TABLE, one, with_churn(last, before))
    return len(days)


def last_lists(lists: pa.Table, most: int = MAX_SHOPPERS) -> pa.Table:
    """The last list of each of ``most`` shoppers of one day of ``served_lists``; the first five columns of `SCHEMA`."""
    with duckdb_engine() as connection:
        connection.con.register("lists", lists)
        return connection.con.sql(_LAST_LISTS, params=[most]).to_arrow_table()


def with_churn(last: pa.Table, before: list[pa.Table]) -> pa.Table:
    """``last`` with the columns ``churn`` and ``other_version`` (`SCHEMA`).

    Args:
        before: samples of the days before, ascending; the newest list of a shopper and page counts.
    """
    known: dict[tuple[str, str | None], dict[str, Any]] = {}
    for table in before:
        known.update({(row["user_id"], row["page"]): row for row in table.to_pylist()})
    churn: list[float | None] = []
    other: list[bool | None] = []
    for row in last.to_pylist():
        earlier = known.get((row["user_id"], row["page"]))
        churn.append(None if earlier is None else list_churn(earlier["products"], row["products"]))
        other.append(None if earlier is None else earlier["model_version"] != row["model_version"])
    added = last.append_column("churn", pa.array(churn, pa.float64()))
    return added.append_column("other_version", pa.array(other, pa.bool_())).cast(SCHEMA)


def list_churn(before: list[str], now: list[str]) -> float:
    """Share of places with another product; a place that only one of the lists has counts as changed."""
    places = max(len(before), len(now))
    same = sum(one == other for one, other in zip(before, now, strict=False))
    return 1 - same / places if places else 0.0


def predictions_of(lake: Lake, day: date) -> Predictions:
    """Compare the lists of the week that ends with ``day`` with those of the eight weeks before."""
    start = day - timedelta(days=WINDOW_DAYS - 1)
    first = start - timedelta(days=REFERENCE_DAYS)
    days, _ = own_days(lake, mark_of(lake), TABLE, first, day)
    if day not in days:
        return NO_PREDICTIONS
    weeks = [[one for one in days if (day - one).days // 7 == week] for week in range(1 + REFERENCE_DAYS // 7)]
    now, *past = [_newest(lake, week) for week in weeks]
    return compare_predictions(pa.concat_tables(past), now)


def compare_predictions(past: pa.Table, now: pa.Table) -> Predictions:
    """Score and churn of two samples (`SCHEMA` without products), one row per shopper and week."""
    versions = Counter(now["model_version"].to_pylist())
    if not versions:
        return NO_PREDICTIONS
    version = min(versions, key=lambda name: (-versions[name], name))
    score = [_values(one.filter(pc.equal(one["model_version"], version)), "score") for one in (past, now)]
    same = [_values(one.filter(pc.invert(one["other_version"])), "churn") for one in (past, now)]
    between = [_values(one.filter(one["other_version"]), "churn") for one in (past, now)]
    columns = [compare_deciles("score", *score), compare_numeric("list_churn", *same)]
    if all(len(one) for one in between):
        columns.append(compare_numeric("list_churn_between_versions", *between))
    return Predictions(version, tuple(columns), float(between[1].mean()) if len(between[1]) else None)


def _newest(lake: Lake, days: Sequence[date]) -> pa.Table:
    """Samples of the days of one week, the newest row of each shopper."""
    columns = [name for name in SCHEMA.names if name != "products"]
    tables = [lake.read_day(TABLE, one, columns) for one in days]
    return newest_of_each(pa.concat_tables([SCHEMA.empty_table().select(columns), *tables]))


def _values(table: pa.Table, column: str) -> FloatArray:
    return table[column].drop_null().to_numpy().astype(np.float64)
