"""Drift of the feature tables through their snapshots."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import stats

from recsys_assets.features.snapshots import keep_snapshot
from recsys_assets.lake import Lake, midnight
from recsys_assets.monitoring.drift_statistics import judge
from recsys_assets.monitoring.feature_tables import COLUMNS, compare_feature_tables

DAY = date(2024, 5, 1)


def keep(lake: Lake, day: date, shift: float = 0.0, shoppers: int = 600) -> np.ndarray:
    """Make the table ``user_features`` on a day; half as many again have left the shop and must not count."""
    rng = np.random.default_rng(day.toordinal())
    gone = shoppers // 2
    levels = np.append(rng.normal(shift, 1.0, shoppers), np.full(gone, 50.0))
    columns = {
        "user_id": [f"u{number}" for number in range(shoppers + gone)],
        "price_level": levels,
        "top_category": rng.choice(["a", "b", None], shoppers + gone),
        "days_since_last_interaction": [1.0] * shoppers + [8.0] * gone,
    }
    lake.write_table("user_features", pa.table(columns))
    keep_snapshot(lake, "user_features", midnight(day + timedelta(days=1)))
    return levels[:shoppers]


def test_a_snapshot_of_this_week_against_those_of_eight_weeks(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert compare_feature_tables(lake, DAY) == []
    weeks = [keep(lake, DAY - timedelta(weeks=week)) for week in range(10, 0, -1)]
    keep(lake, DAY - timedelta(days=9), shift=9.0)  # of a week of which a newer snapshot exists: not used
    assert compare_feature_tables(lake, DAY) == [], "nothing was made in this week"
    now = keep(lake, DAY - timedelta(days=2))
    found = {one.column: one for one in compare_feature_tables(lake, DAY)}
    assert set(found) == {f"user_features.{column}" for column in COLUMNS["user_features"]}
    level = found["user_features.price_level"]
    assert (level.current, level.reference) == (600, 8 * 600)
    assert level.statistic == stats.ks_2samp(np.concatenate(weeks[2:]), now, method="asymp").statistic
    assert {one.state for one in judge(list(found.values()), {})} == {"stable"}
    keep(lake, DAY, shift=0.6)
    states = {one.column: one.state for one in judge(compare_feature_tables(lake, DAY), {})}
    assert states == {"user_features.price_level": "drifted", "user_features.top_category": "stable"}
