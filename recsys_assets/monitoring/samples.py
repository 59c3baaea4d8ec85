"""Samples of the lake for drift statistics: one event per shopper, from the current week and the eight weeks before
it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys_assets.data_gate import closed_gates, require_open
from recsys_assets.features.engine import duckdb_engine, read_lake
from recsys_assets.lake import Lake, midnight
from recsys_assets.monitoring.calendar import missing_days
from recsys_assets.monitoring.drift_statistics import ColumnDrift, compare_categorical, compare_numeric
from recsys_assets.training.training_window import TRAINING_COLUMNS

WINDOW_DAYS: Final = 7
REFERENCE_DAYS: Final = 56
"""Eight whole weeks: every weekday counts alike in both samples."""

MAX_SHOPPERS: Final = 20_000
"""Of the current week."""

NUMERIC: Final = ("price", "hour", "events_that_day")
CATEGORICAL: Final = ("interaction_type", "category")

# The largest hash of the shoppers who are sampled, the same for both samples: of the current week's shoppers those with
# the smallest hashes, or everybody where there are not more.
_SLICE: Final = """
    SELECT CASE WHEN count(*) < $most THEN 18446744073709551615::UBIGINT ELSE max(slice) END FROM (
        SELECT hash(user_id) AS slice FROM (
            SELECT DISTINCT user_id FROM interactions WHERE timestamp >= $first AND timestamp < $end
        ) ORDER BY slice LIMIT $most
    )
"""
# Of a shopper and week the event with the smallest hash: a random one, the same in every run. A shopper with 50,000
# views counts once. Every week is sampled alike: a reference of one event in eight weeks would hold more of the
# shoppers who come rarely.
_SAMPLE: Final = """
    WITH own AS (
        SELECT user_id, product_id, interaction_type, timestamp, price, hash(product_id, timestamp) AS draw,
            date_diff('day', timestamp::DATE, $last::DATE) // 7 AS week
        FROM interactions
        WHERE timestamp >= $first AND timestamp < $end AND hash(user_id) <= $slice::UBIGINT
    ), drawn AS (
        SELECT *, count(*) OVER (PARTITION BY user_id, timestamp::DATE) AS events_that_day
        FROM own
        WHERE list_contains($weeks::BIGINT[], week)
        QUALIFY row_number() OVER (PARTITION BY user_id, week ORDER BY draw) = 1
    )
    SELECT user_id, interaction_type, hour(timestamp) AS hour, category, coalesce(d.price, p.price) AS price,
        events_that_day
    FROM drawn AS d LEFT JOIN products AS p USING (product_id)
"""
_ACTIVE: Final = """
    CREATE TEMP TABLE active AS
    SELECT user_id, day FROM (
        SELECT DISTINCT user_id, timestamp::DATE AS day FROM interactions WHERE timestamp >= ? AND timestamp < ?
    ) QUALIFY row_number() OVER (PARTITION BY day ORDER BY hash(user_id), user_id) <= ?
"""


@dataclass(frozen=True)
class Samples:
    """One row per shopper and week: `NUMERIC` and `CATEGORICAL` columns, in the reference and in the current week."""

    reference: pa.Table
    current: pa.Table


def weekly_samples(lake: Lake, day: date) -> Samples:
    """The week that ends with ``day`` and the `REFERENCE_DAYS` before it, without weeks that lack a usable day.

    Raises:
        GateClosed: the catalogue or the users may not be used.
        LakeError: there are no interactions.
    """
    end = day + timedelta(days=1)
    require_open(lake, end, end)  # the two tables; days that may not be used count as missing
    with duckdb_engine() as connection:
        first = day - timedelta(days=WINDOW_DAYS + REFERENCE_DAYS - 1)
        read_lake(connection, lake, midnight(end), first)
        return sample_weeks(connection.con, day, usable_days(lake))


def usable_days(lake: Lake) -> set[date]:
    """Days of interactions that the gate lets through."""
    closed = {gate.subject for gate in closed_gates(lake)}
    return {day for day in lake.days("interactions") if day.isoformat() not in closed}


def sample_weeks(connection: Any, day: date, held: Collection[date]) -> Samples:
    """`weekly_samples` from the tables ``interactions`` and ``products`` of a DuckDB connection.

    Args:
        held: days that may be used.
    """
    gaps = missing_days(held, day, WINDOW_DAYS + REFERENCE_DAYS)
    whole = set(range(1 + REFERENCE_DAYS // 7)) - {(day - one).days // 7 for one in gaps}
    start = day - timedelta(days=WINDOW_DAYS - 1)
    first = start - timedelta(days=REFERENCE_DAYS)
    begin, middle, end = (midnight(one) for one in (first, start, day + timedelta(days=1)))
    most = {"first": middle, "end": end, "most": MAX_SHOPPERS}
    ((sliced,),) = connection.sql(_SLICE, params=most).fetchall()
    reference, current = (
        connection.sql(
            _SAMPLE, params={"first": one, "end": other, "last": day, "slice": sliced, "weeks": sorted(whole & weeks)}
        ).to_arrow_table()
        for one, other, weeks in ((begin, middle, set(range(1, 9))), (middle, end, {0}))
    )
    return Samples(reference, current)


def events_of_active_shoppers(
    lake: Lake, first: date, last: date, history_days: int, most: int
) -> tuple[pa.Table, dict[date, list[str]]]:
    """Events of shoppers who were active on the days ``first`` to ``last``, and who was active on which day.

    Args:
        history_days: how many days before ``first`` their events are read too.
        most: active shoppers per day, a random sample that is the same in every run. It bounds memory.

    Returns:
        A table with `TRAINING_COLUMNS`, and the sampled shoppers by day.
    """
    with duckdb_engine() as connection:
        read_lake(connection, lake, midnight(last + timedelta(days=1)), first - timedelta(days=history_days))
        return active_events(connection.con, first, last, history_days, most)


def active_events(
    connection: Any, first: date, last: date, history_days: int, most: int
) -> tuple[pa.Table, dict[date, list[str]]]:
    """`events_of_active_shoppers` from the table ``interactions`` of a DuckDB connection."""
    begin, end = midnight(first), midnight(last + timedelta(days=1))
    connection.execute(_ACTIVE, [begin, end, most])
    active = connection.sql("SELECT user_id, day FROM active").to_arrow_table()
    # Rows of others are dropped while files are read, before the join.
    ((sliced,),) = connection.sql("SELECT coalesce(max(hash(user_id)), 0) FROM active").fetchall()
    connection.table("interactions").project(", ".join(TRAINING_COLUMNS)).create_view("training_log")
    query = """
        SELECT * FROM training_log SEMI JOIN active USING (user_id)
        WHERE timestamp >= ? AND timestamp < ? AND hash(user_id) <= ?::UBIGINT
    """
    events = connection.sql(query, params=[begin - timedelta(days=history_days), end, sliced]).to_arrow_table()
    shoppers: dict[date, list[str]] = {}
    for user, day in zip(active["user_id"].to_pylist(), active["day"].to_pylist(), strict=True):
        shoppers.setdefault(day, []).append(user)
    return events, shoppers


def compare_samples(samples: Samples) -> list[ColumnDrift]:
    """Every column of the two samples; columns without any value are left out."""
    found = []
    for column in NUMERIC:
        reference, current = (
            one[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
            for one in (samples.reference, samples.current)
        )
        if np.isfinite(reference).any() or np.isfinite(current).any():
            found.append(compare_numeric(column, reference, current))
    for column in CATEGORICAL:
        values = [one[column].to_pylist() for one in (samples.reference, samples.current)]
        if any(any(value is not None for value in one) for one in values):
            found.append(compare_categorical(column, *values))
    return found


def newest_of_each(table: pa.Table) -> pa.Table:
    """The last row of every ``user_id``, by user id."""
    users = table["user_id"].to_numpy(zero_copy_only=False).astype(str)
    _, from_end = np.unique(users[::-1], return_index=True)
    return table.take(pa.array(len(users) - 1 - from_end, pa.int64()))
