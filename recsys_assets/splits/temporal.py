"""Splits of the log by time: one global cut, and rolling-origin folds before it.

A split is global: for every shopper, a model learns only from events before anything it is evaluated on. Splitting per
shopper or at random lets a model see the future of the rest of the shop (Meng et al., "Exploring data splitting
strategies for the evaluation of recommendation models", RecSys 2020).

``timestamps`` are always the moments of all interactions, in any order.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Timestamps: TypeAlias = pa.Array | pa.ChunkedArray | npt.NDArray[np.datetime64]
"""Moments in UTC, any order, no nulls: an Arrow timestamp column, or a NumPy ``datetime64`` array of any unit."""

PARTS = ("train", "validation", "test")
"""Names of the parts of a split, in time order."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TemporalSplit:
    """Three adjoining half-open periods: train ``[train_start, validation_start)``, validation
    ``[validation_start, test_start)``, test ``[test_start, end)``. All aware, UTC.

    Raises ``ValueError`` when a moment is not UTC or the four do not ascend strictly.
    """

    train_start: datetime
    validation_start: datetime
    test_start: datetime
    end: datetime

    def __post_init__(self) -> None:
        moments = astuple(self)
        for field, moment in zip(fields(self), moments, strict=True):
            if moment.utcoffset() != timedelta(0):
                raise ValueError(f"{field.name} {moment.isoformat()} is not in UTC; convert it with astimezone(UTC)")
        if not all(earlier < later for earlier, later in pairwise(moments)):
            shown = ", ".join(moment.isoformat() for moment in moments)
            raise ValueError(f"train_start, validation_start, test_start and end must ascend strictly, got {shown}")

    def periods(self) -> Iterator[tuple[str, datetime, datetime]]:
        """``(part, start, end)`` of each part, in time order; ``start`` belongs to it and ``end`` does not."""
        yield "train", self.train_start, self.validation_start
        yield "validation", self.validation_start, self.test_start
        yield "test", self.test_start, self.end

    def parts(self, timestamps: Timestamps) -> npt.NDArray[np.int8]:
        """Part of each event, same shape and order: 0 train, 1 validation, 2 test, -1 outside all of them."""
        # NumPy has no time zones; every moment here is UTC already.
        edges = np.array([moment.replace(tzinfo=None) for moment in astuple(self)], "datetime64[us]")
        position = np.searchsorted(edges, _as_microseconds(timestamps), side="right") - 1
        return np.where(position == len(PARTS), -1, position).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Fold:
    """One rolling-origin fold: train on ``[train_start, train_end)``, test on ``[test_start, test_end)``; all UTC."""

    number: int
    train_start: datetime
    train_end: datetime
    test_start: datetime
    test_end: datetime


def split_by_share(timestamps: Timestamps, validation_share: float, test_share: float) -> TemporalSplit:
    """Split so that validation and test hold about these shares of the interactions, without cutting a UTC day.

    Events at the same moment, and all events of one UTC day, stay together: both cuts lie at the midnight that opens a
    day with events. Of the midnights that leave at least one day to every part, the test cut is the one whose share
    comes nearest to ``test_share``, then the validation cut the one whose share comes nearest to ``validation_share``;
    where two are equally near the later wins, because the days then go to training. On a log whose days differ a lot
    the shares can be far from what was asked: `describe_split` shows what came out.

    Args:
        validation_share, test_share: wanted shares of all interactions, above 0 and below 1.

    Returns:
        A split from the first event's midnight to the midnight after the last event.

    Raises:
        ValueError: a share is not positive, the shares leave nothing to train on, or there are fewer than three UTC
            days with events, so that a part would be empty.
    """
    for name, share in (("validation_share", validation_share), ("test_share", test_share)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"{name} must lie between 0 and 1 (exclusive), or its part would be empty; got {share}")
    if validation_share + test_share >= 1.0:
        raise ValueError(
            f"validation_share {validation_share} and test_share {test_share} leave nothing to train on: "
            "their sum must be below 1"
        )
    days, counts = np.unique(_as_microseconds(timestamps).astype("datetime64[D]"), return_counts=True)
    if len(days) < len(PARTS):
        raise ValueError(
            f"the interactions cover {len(days)} UTC day(s); train, validation and test need one each, "
            "because a day is never cut: bring in more days"
        )
    total = int(counts.sum())
    # Events from each day on, as whole numbers: sums of shares would break ties by rounding.
    remaining = np.cumsum(counts[::-1])[::-1]
    test_at = _nearest(remaining, test_share * total, first=2, stop=len(days))
    validation_at = _nearest(remaining - remaining[test_at], validation_share * total, first=1, stop=test_at)
    moments = (days[0], days[validation_at], days[test_at], days[-1] + np.timedelta64(1, "D"))
    return TemporalSplit(*(_to_datetime(moment) for moment in moments))


def split_by_days(timestamps: Timestamps, validation_days: int, test_days: int) -> TemporalSplit:
    """Split so that the newest ``test_days`` UTC days are the test period and the days before them validation.

    Args:
        validation_days, test_days: at least 1.

    Raises:
        ValueError: a number below 1, no interactions, or a part would hold none.
    """
    if min(validation_days, test_days) < 1:
        raise ValueError(f"validation_days {validation_days} and test_days {test_days} must be at least 1")
    _, last = _first_and_last(_as_microseconds(timestamps))
    test_start = _midnight(last) + _DAY * (1 - test_days)
    return split_by_dates(timestamps, test_start - _DAY * validation_days, test_start)


def split_by_dates(timestamps: Timestamps, validation_start: datetime, test_start: datetime) -> TemporalSplit:
    """Split at two given moments; the outer ends are the midnights around the first and the last event.

    Args:
        validation_start, test_start: first moments of validation and test, aware; converted to UTC.

    Raises:
        ValueError: a moment is naive, the two do not ascend, or a part would hold no events (the message names the
            part, its period and the period of the events).
    """
    validation_start, test_start = _utc("validation_start", validation_start), _utc("test_start", test_start)
    if validation_start >= test_start:
        raise ValueError(
            f"validation_start {validation_start.isoformat()} must be before test_start {test_start.isoformat()}"
        )
    moments = _as_microseconds(timestamps)
    first, last = _first_and_last(moments)
    for part, wrong in (("train", validation_start <= first), ("test", test_start > last)):
        if wrong:
            raise ValueError(_empty(part, validation_start, test_start, first, last))
    split = TemporalSplit(_midnight(first), validation_start, test_start, _midnight(last) + _DAY)
    if not (split.parts(moments) == PARTS.index("validation")).any():
        raise ValueError(_empty("validation", validation_start, test_start, first, last))
    return split


def rolling_origin_folds(first: datetime, last: datetime, n_folds: int, window: timedelta) -> list[Fold]:
    """Folds whose test windows end at ``last`` and lie side by side before it, each trained on all that came before.

    The origin rolls forward and the training period grows (Tashman, "Out-of-sample tests of forecasting accuracy",
    International Journal of Forecasting 16, 2000).

    Args:
        first: start of the earliest training data, aware.
        last: end of the newest test window (exclusive), aware.
        n_folds: how many, at least 1.
        window: length of each test window, positive.

    Returns:
        Folds in time order, numbered from 1; test windows are disjoint and adjoining.

    Raises:
        ValueError: an argument is out of range, or the first fold would have nothing to train on.
    """
    first, last = _utc("first", first), _utc("last", last)
    if n_folds < 1 or window <= timedelta(0):
        raise ValueError(f"n_folds must be at least 1 and window positive; got {n_folds} and {window}")
    starts = [last - window * left for left in range(n_folds, 0, -1)]
    folds = [Fold(number, first, start, start, start + window) for number, start in enumerate(starts, start=1)]
    if folds[0].train_end <= first:
        raise ValueError(
            f"{n_folds} folds of {window} leave the first fold nothing to train on between {first.isoformat()} and "
            f"{last.isoformat()}: use fewer folds, a shorter window or a longer log"
        )
    return folds


def most_folds(first: datetime, last: datetime, window: timedelta, wanted: int) -> int:
    """At most ``wanted`` folds, so that the first still trains on at least one ``window``; 0 when not even one fits."""
    return max(0, min(wanted, (last - first) // window - 1))


def _nearest(sizes: npt.NDArray[np.int64], wanted: float, first: int, stop: int) -> int:
    distance = np.abs(sizes[first:stop] - wanted)
    latest_of_the_nearest = len(distance) - 1 - int(np.argmin(distance[::-1]))
    return first + latest_of_the_nearest


def _empty(part: str, validation_start: datetime, test_start: datetime, first: datetime, last: datetime) -> str:
    return (
        f"{part} would hold no interactions with validation_start {validation_start.isoformat()} and "
        f"test_start {test_start.isoformat()}: the interactions lie between {first.isoformat()} and {last.isoformat()}"
    )


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _first_and_last(moments: npt.NDArray[np.datetime64]) -> tuple[datetime, datetime]:
    if not len(moments):
        raise ValueError("there are no interactions, so every part would be empty: bring in days with events")
    return _to_datetime(moments.min()), _to_datetime(moments.max())


def _utc(name: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{name} {moment.isoformat()} has no time zone; give it one, for example +00:00")
    return moment.astimezone(UTC)


def _as_microseconds(timestamps: Timestamps) -> npt.NDArray[np.datetime64]:
    """``timestamps`` as ``datetime64[us]``, UTC, shape ``[n]``. Raises ``ValueError`` when a value is missing."""
    if isinstance(timestamps, pa.Array | pa.ChunkedArray):
        if timestamps.null_count:
            raise ValueError(f"{timestamps.null_count} of {len(timestamps)} timestamps are missing; a split needs all")
        moments = np.asarray(timestamps.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())).view("datetime64[us]")
    else:
        moments = np.asarray(timestamps).astype("datetime64[us]")
    if missing := int(np.isnat(moments).sum()):
        raise ValueError(f"{missing} of {len(moments)} timestamps are missing; a split needs all")
    return moments


def _to_datetime(moment: np.datetime64) -> datetime:
    """An aware UTC datetime."""
    converted: datetime = moment.astype("datetime64[us]").item()
    return converted.replace(tzinfo=UTC)
