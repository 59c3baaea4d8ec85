"""Cutting time: hand-made logs with known answers, and properties that hold for every log in any order."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_assets.splits.temporal import (
    PARTS,
    Fold,
    TemporalSplit,
    most_folds,
    rolling_origin_folds,
    split_by_dates,
    split_by_days,
    split_by_share,
)

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return MONDAY + timedelta(days=number)


def log(*per_day: int, shuffle: int = 0) -> np.ndarray:
    """So many events on each day from Monday on, at different times of the day, shuffled."""
    moments = [
        np.datetime64((day(number) + timedelta(seconds=86_399 * place // max(count, 1))).replace(tzinfo=None), "us")
        for number, count in enumerate(per_day)
        for place in range(count)
    ]
    return np.random.default_rng(shuffle).permutation(np.array(moments, "datetime64[us]"))


def test_shares_of_interactions_not_of_days() -> None:
    """70 + 10 + 10 + 5 + 5 events: the last tenth is the last two days, the tenth before is one day."""
    split = split_by_share(log(70, 10, 10, 5, 5), 0.1, 0.1)
    assert split == TemporalSplit(MONDAY, day(2), day(3), day(5))


def test_of_two_equally_near_cuts_the_later_wins() -> None:
    """Test wants 15 of 100: 10 (from day 3) and 20 (from day 2) are equally near; likewise validation then."""
    split = split_by_share(log(60, 20, 10, 10), 0.15, 0.15)
    assert split.test_start == day(3)
    assert split.validation_start == day(2)


def test_a_day_is_never_cut_and_every_part_keeps_one() -> None:
    """Nearly everything happens on one day; the shares cannot be met, the parts still are days."""
    assert split_by_share(log(1, 1, 98), 0.3, 0.3) == TemporalSplit(MONDAY, day(1), day(2), day(3))
    assert split_by_share(log(98, 1, 1), 0.4, 0.5) == TemporalSplit(MONDAY, day(1), day(2), day(3))


def test_days_without_events_belong_to_the_part_before() -> None:
    split = split_by_share(log(8, 0, 0, 1, 0, 1), 0.1, 0.1)
    assert split == TemporalSplit(MONDAY, day(3), day(5), day(6))


@pytest.mark.parametrize(
    ("moments", "validation", "test", "cause"),
    [
        (log(5, 5), 0.1, 0.1, "cover 2 UTC day"),
        (log(), 0.1, 0.1, "cover 0 UTC day"),
        (log(5, 5, 5), 0.0, 0.1, "validation_share must lie between 0 and 1"),
        (log(5, 5, 5), 0.1, 1.0, "test_share must lie between 0 and 1"),
        (log(5, 5, 5), 0.5, 0.5, "leave nothing to train on"),
        (np.array(["2024-01-01", "NaT"], "datetime64[us]"), 0.1, 0.1, "1 of 2 timestamps are missing"),
    ],
)
def test_an_empty_part_is_an_error_that_names_the_cause(
    moments: np.ndarray, validation: float, test: float, cause: str
) -> None:
    with pytest.raises(ValueError, match=cause):
        split_by_share(moments, validation, test)


def test_dates_are_taken_as_they_are() -> None:
    noon = day(2) + timedelta(hours=12)
    elsewhere = noon.astimezone(timezone(timedelta(hours=5)))
    split = split_by_dates(log(4, 4, 4, 4), day(1), elsewhere)
    assert split == TemporalSplit(MONDAY, day(1), noon, day(4))
    assert split.test_start.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("validation_start", "test_start", "cause"),
    [
        (day(0), day(2), "train would hold no interactions"),
        (day(2), day(9), "test would hold no interactions"),
        (day(1) + timedelta(hours=25), day(4), "validation would hold no interactions"),
        (day(3), day(1), "must be before test_start"),
        (day(1).replace(tzinfo=None), day(2), "has no time zone"),
    ],
)
def test_dates_that_leave_a_part_empty_are_refused(
    validation_start: datetime, test_start: datetime, cause: str
) -> None:
    moments = log(4, 4, 0, 0, 4)
    with pytest.raises(ValueError, match=cause):
        split_by_dates(moments, validation_start, test_start)


def test_a_split_must_ascend_and_be_in_utc() -> None:
    with pytest.raises(ValueError, match="must ascend strictly"):
        TemporalSplit(day(0), day(2), day(2), day(3))
    with pytest.raises(ValueError, match=r"test_start .* is not in UTC"):
        TemporalSplit(day(0), day(1), day(2).replace(tzinfo=None), day(3))


logs = st.lists(st.integers(0, 40 * 86_400_000_000), min_size=3, max_size=60)
shares = st.floats(0.01, 0.45)


@given(logs, shares, shares, st.randoms(use_true_random=False))
def test_properties_of_a_split_by_share(offsets: list[int], validation: float, test: float, random: object) -> None:
    moments = np.datetime64(MONDAY.replace(tzinfo=None), "us") + np.array(offsets, "timedelta64[us]")
    if len(np.unique(moments.astype("datetime64[D]"))) < 3:
        with pytest.raises(ValueError, match="UTC day"):
            split_by_share(moments, validation, test)
        return
    split = split_by_share(moments, validation, test)
    parts = split.parts(moments)
    # Parts partition the log: every event is in exactly one, and none is empty.
    assert set(parts.tolist()) == {0, 1, 2}
    train, validated, tested = (moments[parts == number] for number in range(3))
    assert train.max() < validated.min() <= validated.max() < tested.min()
    # No day is in two parts.
    for earlier, later in ((train, validated), (validated, tested)):
        assert earlier.max().astype("datetime64[D]") < later.min().astype("datetime64[D]")
    for part, start, end in split.periods():
        inside = moments[parts == PARTS.index(part)]
        assert np.datetime64(start.replace(tzinfo=None)) <= inside.min()
        assert inside.max() < np.datetime64(end.replace(tzinfo=None))
    # The order of rows is irrelevant, and so is the container.
    shuffled = moments.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert split_by_share(shuffled, validation, test) == split
    arrow = pa.chunked_array([pa.array(shuffled).cast(pa.timestamp("us", "UTC"))])
    assert split_by_share(arrow, validation, test) == split


@given(logs, shares)
def test_no_cut_comes_nearer_to_the_test_share(offsets: list[int], share: float) -> None:
    moments = np.datetime64(MONDAY.replace(tzinfo=None), "us") + np.array(offsets, "timedelta64[us]")
    days = np.unique(moments.astype("datetime64[D]"))
    if len(days) < 3:
        return
    split = split_by_share(moments, 0.1, share)
    wanted = share * len(moments)
    chosen = (moments >= np.datetime64(split.test_start.replace(tzinfo=None))).sum()
    assert all(abs(chosen - wanted) <= abs((moments >= cut).sum() - wanted) for cut in days[2:])


def test_rolling_origin_folds_by_hand() -> None:
    assert rolling_origin_folds(day(0), day(30), 2, timedelta(days=7)) == [
        Fold(1, day(0), day(16), day(16), day(23)),
        Fold(2, day(0), day(23), day(23), day(30)),
    ]


@given(st.integers(1, 6), st.integers(1, 10), st.integers(0, 80))
def test_properties_of_folds(n_folds: int, window: int, length: int) -> None:
    arguments = (day(0), day(length), n_folds, timedelta(days=window))
    if length - n_folds * window <= 0:
        with pytest.raises(ValueError, match="nothing to train on"):
            rolling_origin_folds(*arguments)
        return
    folds = rolling_origin_folds(*arguments)
    assert [fold.number for fold in folds] == list(range(1, n_folds + 1))
    assert folds[-1].test_end == day(length)
    for fold in folds:
        assert day(0) == fold.train_start < fold.train_end == fold.test_start < fold.test_end
        assert fold.test_end - fold.test_start == timedelta(days=window)
    assert all(earlier.test_end == later.test_start for earlier, later in pairwise(folds))


@given(st.integers(1, 6), st.integers(1, 10), st.integers(0, 80))
def test_as_many_folds_as_fit(wanted: int, window: int, length: int) -> None:
    """The number is the largest up to ``wanted`` whose first fold still trains on a whole window."""
    count = most_folds(day(0), day(length), timedelta(days=window), wanted)
    fitting = [number for number in range(1, wanted + 1) if length - number * window >= window]
    assert count == max(fitting, default=0)


@pytest.mark.parametrize(("n_folds", "window"), [(0, 1), (1, 0)])
def test_folds_out_of_range_are_refused(n_folds: int, window: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        rolling_origin_folds(day(0), day(9), n_folds, timedelta(days=window))
    with pytest.raises(ValueError, match=r"last .* has no time zone"):
        rolling_origin_folds(day(0), day(9).replace(tzinfo=None), 1, timedelta(days=1))


def test_days_are_counted_back_from_the_last_event() -> None:
    moments = [datetime(2024, 5, day, 13, tzinfo=UTC) for day in range(1, 31)]
    split = split_by_days(moments, 7, 5)
    assert split == TemporalSplit(*(datetime(2024, 5, day, tzinfo=UTC) for day in (1, 19, 26, 31)))
    with pytest.raises(ValueError, match="at least 1"):
        split_by_days(moments, 0, 5)
    with pytest.raises(ValueError, match="train would hold no interactions"):
        split_by_days(moments, 20, 10)
    with pytest.raises(ValueError, match="no interactions"):
        split_by_days([], 7, 7)
