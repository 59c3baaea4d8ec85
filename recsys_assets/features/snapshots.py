"""Reads the feature tables as they were known at a moment.

Each time a feature table is made, a sample of its rows is kept in the lake table ``<table>_snapshots`` under the last
day that the features know. The sample holds keys with an event in the week before the cut-off: snapshots of different
ages are then alike, because nobody is in them who has left the shop. Of pairs one per shopper is kept.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import pyarrow as pa

from recsys_assets.features.engine import duckdb_engine
from recsys_assets.features.shared import utc
from recsys_assets.lake import Lake
from recsys_assets.shop_mark import mark_of, own_days, write_marked

ACTIVE_DAYS: Final = 7
MAX_KEYS: Final = 20_000
"""Rows of a snapshot: keys with the smallest hashes, mostly the same in all snapshots."""

UNITS: Final = {"user_features": "user_id", "product_features": "product_id", "user_product_features": "user_id"}
"""The column of which a sample of each table holds one row per value."""

_AS_OF: Final = b"recsys_as_of"


@dataclass(frozen=True)
class Snapshot:
    """A sample of a feature table. ``as_of`` (aware, UTC): only events before it are in the features."""

    as_of: datetime
    rows: pa.Table


def keep_snapshot(lake: Lake, table: str, as_of: datetime, most: int = MAX_KEYS) -> int:
    """Keep a sample of the feature table that the lake holds, made at ``as_of``; returns its rows.

    A second snapshot with the same last day replaces the first.
    """
    unit = UNITS[table]
    other = "product_id" if table == "user_product_features" else unit
    with duckdb_engine() as connection:
        connection.con.register("features", lake.dataset(lake.files(table)))
        active = connection.con.table("features").filter(f"days_since_last_interaction <= {ACTIVE_DAYS}")
        place = f"row_number() OVER (PARTITION BY {unit} ORDER BY hash({other}), {other}) AS place"
        one_each = active.project(f"*, {place}").filter("place = 1").project("* EXCLUDE (place)")
        rows = one_each.order(f"hash({unit}), {unit}").limit(most).to_arrow_table()
    marked = rows.replace_schema_metadata({_AS_OF: utc(as_of).isoformat().encode()})
    write_marked(lake, mark_of(lake), _stored(table), _last_day(utc(as_of)), marked)
    return int(rows.num_rows)


def features_at(lake: Lake, table: str, moment: datetime, oldest: datetime | None = None) -> Snapshot | None:
    """The newest snapshot that was made at or before ``moment``: nothing in it is later than ``moment``.

    Args:
        table: a key of `UNITS`.
        moment: aware.
        oldest: aware; only snapshots after it are asked for.

    Returns:
        ``None`` without such a snapshot. Snapshots of another shop are not used.
    """
    moment = utc(moment)
    first = date.min if oldest is None else _last_day(utc(oldest))
    days, _ = own_days(lake, mark_of(lake), _stored(table), first, moment.date())
    for day in reversed(days):
        rows = lake.read_day(_stored(table), day)
        as_of = datetime.fromisoformat((rows.schema.metadata or {})[_AS_OF].decode())
        if oldest is not None and as_of <= oldest:
            break
        if as_of <= moment:
            return Snapshot(as_of, rows.replace_schema_metadata(None))
    return None


def _stored(table: str) -> str:
    return f"{table}_snapshots"


def _last_day(as_of: datetime) -> date:
    """The last UTC day of which events can be in features made at ``as_of``."""
    return (as_of - timedelta(microseconds=1)).date()
