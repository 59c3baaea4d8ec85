"""The split asset on a lake: what it stores, what consumers load, and settings that contradict the log."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from lambda_api.settings import Settings, make_settings
from recsys_assets import data_gate
from recsys_assets.lake import Lake, LakeError
from recsys_assets.schema import INTERACTIONS
from recsys_assets.splits.assets import folds_before_test, load_split, temporal_splits
from recsys_assets.splits.temporal import TemporalSplit

FIRST = date(2024, 1, 1)


def moment(days: float) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=days)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Forty days of ten events each: users and products that first appear on their own day, and old ones."""
    lake = Lake(str(tmp_path / "lake"))
    for number in range(40):
        rows = [
            {
                "interaction_id": f"{number}-{place}",
                "user_id": f"u{number if place == 0 else place}",
                "product_id": f"p{number if place == 1 else place}",
                "interaction_type": "purchase",
                "timestamp": moment(number + place / 10),
            }
            for place in range(10)
        ]
        lake.write_day("interactions", FIRST + timedelta(days=number), pa.Table.from_pylist(rows, INTERACTIONS.schema))
    return lake


def settings(tmp_path: Path, **values: Any) -> Settings:
    return make_settings({"home": tmp_path, **values})


def materialise(lake: Lake, chosen: Settings) -> dict[str, Any]:
    with dg.instance_for_test() as instance:
        resources = {"lake": lake, "settings": chosen}
        result = dg.materialize([temporal_splits], instance=instance, resources=resources)
        [event] = result.asset_materializations_for_node("temporal_splits")
    return {key: value.value for key, value in event.metadata.items()}


def test_shares(lake: Lake, tmp_path: Path) -> None:
    metadata = materialise(lake, settings(tmp_path, validation_share=0.1, test_share=0.1))
    assert load_split(lake) == TemporalSplit(moment(0), moment(32), moment(36), moment(40))
    parts = lake.read("temporal_splits").to_pylist()
    assert [row["interactions"] for row in parts] == [320, 40, 40]
    assert parts[0]["cold_user_share"] is None
    assert parts[1]["cold_user_share"] == pytest.approx(4 / 13)
    assert metadata["dagster/row_count"] == 3
    assert "| validation | 2024-02-02 00:00 | 2024-02-06 00:00 | 40 (10.0%) |" in metadata["split"]
    assert [column.name for column in metadata["dagster/column_schema"].columns] == lake.read(
        "temporal_splits"
    ).column_names
    folds = lake.read("rolling_origin_folds").to_pylist()
    assert [(row["test_start"], row["test_end"]) for row in folds] == [
        (moment(24), moment(28)),
        (moment(28), moment(32)),
        (moment(32), moment(36)),
    ]
    assert all(row["train_end"] == row["test_start"] and row["train_start"] == moment(0) for row in folds)


def test_dates_win_over_shares_and_a_second_run_replaces_the_first(lake: Lake, tmp_path: Path) -> None:
    materialise(lake, settings(tmp_path))
    materialise(lake, settings(tmp_path, validation_start="2024-01-20", test_start="2024-02-01T12:00:00+00:00"))
    assert load_split(lake) == TemporalSplit(moment(0), moment(19), moment(31.5), moment(40))
    assert lake.read("temporal_splits").num_rows == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"validation_start": "2024-03-01", "test_start": "2024-03-05"},
            "RECSYS_VALIDATION_START and RECSYS_TEST_START do not fit the log: test would hold no interactions",
        ),
        (
            {"validation_start": "2023-03-01", "test_start": "2024-01-05"},
            "RECSYS_VALIDATION_START and RECSYS_TEST_START do not fit the log: train would hold no interactions",
        ),
    ],
)
def test_settings_that_do_not_fit_the_log_are_named(
    lake: Lake, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        materialise(lake, settings(tmp_path, **values))
    assert not lake.has_table("temporal_splits")


def test_a_log_of_two_days_names_the_share_settings(tmp_path: Path, lake: Lake) -> None:
    for number in range(2, 40):
        lake.delete_day("interactions", FIRST + timedelta(days=number))
    with pytest.raises(ValueError, match=r"RECSYS_VALIDATION_SHARE and RECSYS_TEST_SHARE do not fit.*2 UTC day"):
        materialise(lake, settings(tmp_path))


def test_a_short_log_has_fewer_folds_and_none_touches_the_test_period() -> None:
    assert folds_before_test(TemporalSplit(moment(0), moment(3), moment(6), moment(9)))[-1].test_end == moment(6)
    assert len(folds_before_test(TemporalSplit(moment(0), moment(3), moment(6), moment(9)))) == 1
    assert folds_before_test(TemporalSplit(moment(0), moment(1), moment(9), moment(10))) == []


def test_loading_without_a_split_says_what_to_do(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(LakeError, match="materialise the asset 'temporal_splits' first"):
        load_split(lake)


def test_a_closed_gate_stops_the_split(lake: Lake, tmp_path: Path) -> None:
    data_gate.mark_unreadable(lake, FIRST, "the file is truncated")
    with pytest.raises(data_gate.GateClosed, match="the file is truncated"):
        materialise(lake, settings(tmp_path))


def test_days_on_a_long_log(lake: Lake, tmp_path: Path) -> None:
    """Two and three days hold less than the shares of forty days: the days decide, and the newest are the test."""
    chosen = settings(tmp_path, validation_days=3, test_days=2, validation_share=0.2, test_share=0.2)
    materialise(lake, chosen)
    assert load_split(lake) == TemporalSplit(moment(0), moment(35), moment(38), moment(40))


def test_a_log_without_events_in_the_validation_days_is_split_by_shares(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    for number in (*range(30), 60):
        row = {
            "interaction_id": f"e{number}",
            "user_id": "u",
            "product_id": "p",
            "interaction_type": "purchase",
            "timestamp": moment(number),
        }
        lake.write_day("interactions", FIRST + timedelta(days=number), pa.Table.from_pylist([row], INTERACTIONS.schema))
    materialise(lake, settings(tmp_path))
    assert load_split(lake) == TemporalSplit(moment(0), moment(27), moment(29), moment(61))
