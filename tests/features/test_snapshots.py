"""The reader of the feature tables against brute force: what was known at a moment, and nothing later."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys_assets.features.engine import write_features
from recsys_assets.features.snapshots import ACTIVE_DAYS, UNITS, features_at, keep_snapshot
from recsys_assets.lake import Lake
from recsys_assets.schema import INTERACTIONS
from tests.features.comparing import assert_same, keyed
from tests.features.logs import AS_OF, random_rows, tables
from tests.features.oracle import Oracle

MOMENTS = [AS_OF - timedelta(days=days) for days in (20, 13, 6, 0)]


def write_lake(root: Path, rows: Any) -> Lake:
    lake = Lake(str(root))
    interactions, products, users = tables(*rows)
    lake.write_table("products", products)
    lake.write_table("users", users)
    days: dict[Any, list[Any]] = {}
    for row in rows[0]:
        days.setdefault(row["timestamp"].astimezone(UTC).date(), []).append(row)
    for day, own in days.items():
        lake.write_day("interactions", day, INTERACTIONS.conform(pa.Table.from_pylist(own, interactions.schema)))
    return lake


def expected(table: str, rows: Any, moment: datetime) -> dict[Any, Any]:
    """Rows of the newest snapshot made at or before the moment, of keys active in the week before it."""
    as_of = max(one for one in MOMENTS if one <= moment)
    found = getattr(Oracle(*rows, as_of), table)()
    age = "days_since_last_interaction"
    return {key: row for key, row in found.items() if row[age] is not None and row[age] <= ACTIVE_DAYS}


@pytest.mark.parametrize("table", ["user_features", "product_features"])
def test_the_reader_equals_brute_force_and_sees_nothing_later(tmp_path: Path, table: str) -> None:
    rows = random_rows(11, events=400)
    lake = write_lake(tmp_path, rows)
    for moment in (MOMENTS[2], MOMENTS[0], MOMENTS[3], MOMENTS[1]):
        write_features(lake, table, moment)
        keep_snapshot(lake, table, moment)
    assert features_at(lake, table, MOMENTS[0] - timedelta(microseconds=1)) is None
    for moment in MOMENTS:
        for asked in (moment, moment + timedelta(hours=1), moment + timedelta(days=5, hours=23)):
            found = features_at(lake, table, asked)
            assert found is not None and found.as_of == max(one for one in MOMENTS if one <= asked)
            assert_same(keyed(table, found.rows), expected(table, rows, asked))
        just_before = features_at(lake, table, moment - timedelta(microseconds=1))
        assert just_before is None or just_before.as_of < moment
    # Asked for a newer one than there is.
    assert features_at(lake, table, MOMENTS[3] + timedelta(days=9), oldest=MOMENTS[3]) is None
    newest = features_at(lake, table, MOMENTS[3], oldest=MOMENTS[3] - timedelta(days=7))
    assert newest is not None and newest.as_of == MOMENTS[3]


def test_pairs_are_one_per_shopper_and_a_sample_is_the_same_in_every_snapshot(tmp_path: Path) -> None:
    lake = write_lake(tmp_path, random_rows(12, events=300))
    for table, unit in UNITS.items():
        write_features(lake, table, AS_OF)
        everyone = keep_snapshot(lake, table, AS_OF)
        units = features_at(lake, table, AS_OF).rows[unit].to_pylist()  # type: ignore[union-attr]
        assert len(set(units)) == len(units) == everyone > 4
        assert keep_snapshot(lake, table, AS_OF, most=3) == 3
        few = features_at(lake, table, AS_OF).rows[unit].to_pylist()  # type: ignore[union-attr]
        assert few == units[:3]


def test_another_shops_snapshot_is_not_read(tmp_path: Path) -> None:
    rows = random_rows(13, events=200)
    lake = write_lake(tmp_path, rows)
    write_features(lake, "user_features", AS_OF)
    keep_snapshot(lake, "user_features", AS_OF)
    assert features_at(lake, "user_features", AS_OF) is not None
    others = [row | {"product_id": f"other {row['product_id']}"} for row in rows[1]]
    lake.write_table("products", tables(rows[0], others, rows[2])[1])
    assert features_at(lake, "user_features", AS_OF) is None
