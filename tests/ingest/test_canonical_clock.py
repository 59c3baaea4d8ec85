"""Clocks that were never set or run ahead: their events reach the quality rules without stretching the calendar."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from recsys_assets.ingest.canonical import CanonicalSource
from recsys_assets.ingest.source import SourceError

HEADER = "interaction_id,user_id,product_id,interaction_type,timestamp\n"


def shop(folder: Path, *timestamps: str) -> CanonicalSource:
    rows = "".join(f"i{n},u{n},p{n},view,{timestamp}\n" for n, timestamp in enumerate(timestamps))
    (folder / "interactions.csv").write_text(HEADER + rows)
    return CanonicalSource(str(folder))


@pytest.mark.parametrize("broken", ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
def test_impossible_days_are_delivered_with_the_first_possible_one(tmp_path: Path, broken: str) -> None:
    source = shop(tmp_path, "2024-03-02T10:00:00Z", broken, "2024-03-01T10:00:00Z")
    assert source.days() == [date(2024, 3, 1), date(2024, 3, 2)]
    first = source.read_day(date(2024, 3, 1))
    assert sorted(first.interactions["interaction_id"].to_pylist()) == ["i1", "i2"]
    assert broken[:4] in {str(value)[:4] for value in first.interactions["timestamp"].to_pylist()}


def test_tomorrow_is_impossible_and_today_is_not(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    source = shop(tmp_path, "2024-03-01T10:00:00Z", now.isoformat(), (now + timedelta(days=1)).isoformat())
    assert source.days() == [date(2024, 3, 1), now.date()]


def test_a_log_of_impossible_times_only_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="timestamp that can be right"):
        shop(tmp_path, "1970-01-01T00:00:00Z").days()
