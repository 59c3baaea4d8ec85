"""Clocks that were never set or run ahead: their events reach the quality rules without stretching the calendar."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from recsys_assets.ingest.registry import open_source
from recsys_assets.ingest.source import Source, SourceError

HEADER = "interaction_id,user_id,product_id,interaction_type,timestamp\n"


def shop(folder: Path, *timestamps: str) -> Source:
    rows = "".join(f"i{n},u{n},p{n},view,{timestamp}\n" for n, timestamp in enumerate(timestamps))
    (folder / "interactions.csv").write_text(HEADER + rows)
    return open_source("canonical", str(folder))


@pytest.mark.parametrize("broken", ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
def test_impossible_days_are_set_aside_with_the_first_possible_one(tmp_path: Path, broken: str) -> None:
    source = shop(tmp_path, "2024-03-02T10:00:00Z", broken, "2024-03-01T10:00:00Z")
    assert source.days() == [date(2024, 3, 1), date(2024, 3, 2)]
    first = source.read_day(date(2024, 3, 1))
    assert first.interactions["interaction_id"].to_pylist() == ["i2"]
    assert first.set_aside["reason"].to_pylist() == ["no usable timestamp"]
    assert broken[:4] in first.set_aside["raw"][0].as_py()


def test_tomorrow_is_impossible_and_today_is_not(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    source = shop(tmp_path, "2024-03-01T10:00:00Z", now.isoformat(), (now + timedelta(days=1)).isoformat())
    assert source.days() == [date(2024, 3, 1), now.date()]


def test_a_log_of_impossible_times_only_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no usable timestamp in 1 of 1 rows"):
        shop(tmp_path, "1970-01-01T00:00:00Z").days()
