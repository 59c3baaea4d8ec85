"""Concept drift: a one-sided CUSUM on the daily hit rate of what is served.

The hit rate of a day is a mean over shoppers: the share of those who bought something that was in their list. It is
compared with the days before, weekday by weekday, and standardised; the CUSUM ``S_t = max(0, S_(t-1) + z_t - k)`` adds
up losses and raises an alarm above ``h`` (Page, "Continuous inspection schemes", Biometrika 1954).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

K: Final = 0.5
"""Allowance in standard deviations."""

H: Final = 5.0
"""Threshold of the alarm."""

REFERENCE_DAYS: Final = 56
GAP_DAYS: Final = 7
"""The newest days are left out of the reference, so that a loss does not hide itself."""

MIN_DAYS: Final = 28
MIN_SHOPPERS: Final = 30


@dataclass(frozen=True, slots=True)
class DailyRate:
    """Mean hit rate of ``shoppers`` on one day."""

    day: date
    rate: float
    shoppers: int


@dataclass(frozen=True, slots=True)
class Cusum:
    """The path of the CUSUM.

    Attributes:
        days, z, path: one value per day that could be standardised.
        alarm: whether the last value is above the threshold.
        since: first day of the current loss (after the last zero of the path); ``None`` while the path is at zero.
    """

    days: tuple[date, ...]
    z: tuple[float, ...]
    path: tuple[float, ...]
    alarm: bool
    since: date | None


NO_CUSUM: Final = Cusum((), (), (), False, None)


def follow(rates: Sequence[DailyRate], *, start: date | None = None) -> Cusum:
    """Standardise the days and run the CUSUM.

    Days with fewer than `MIN_SHOPPERS`, and days with fewer than `MIN_DAYS` reference days, are left out.

    Args:
        rates: by day, ascending.
        start: first day of the sum, such as the day of the last training: older losses are over.
    """
    usable = [rate for rate in rates if rate.shoppers >= MIN_SHOPPERS]
    days: list[date] = []
    losses: list[float] = []
    path: list[float] = []
    since: date | None = None
    for rate in usable:
        loss = standardised_loss(rate, usable)
        if loss is None or (start is not None and rate.day < start):
            continue
        before = path[-1] if path else 0.0
        value = max(0.0, before + loss - K)
        since = None if value == 0 else since or rate.day
        days.append(rate.day)
        losses.append(loss)
        path.append(value)
    return Cusum(tuple(days), tuple(losses), tuple(path), bool(path) and path[-1] > H, since)


def standardised_loss(rate: DailyRate, rates: Sequence[DailyRate]) -> float | None:
    """How far the day lies below its reference, in standard deviations; ``None`` with too few reference days.

    The deviation is that of the reference's days around their weekday means, or the sampling error of the day's own
    mean where that is larger.
    """
    first, last = rate.day - timedelta(days=REFERENCE_DAYS + GAP_DAYS), rate.day - timedelta(days=GAP_DAYS)
    reference = [one for one in rates if first <= one.day < last]
    if len(reference) < MIN_DAYS:
        return None
    values = np.array([one.rate for one in reference])
    weekdays = np.array([one.day.weekday() for one in reference])
    means = {day: float(values[weekdays == day].mean()) for day in set(weekdays.tolist())}
    expected = means.get(rate.day.weekday(), float(values.mean()))
    residuals = values - np.array([means[day] for day in weekdays.tolist()])
    spread = float(np.sqrt((residuals**2).sum() / max(len(values) - len(means), 1)))
    mean = float(values.mean())
    sampling = float(np.sqrt(max(mean * (1 - mean), 1e-9) / rate.shoppers))
    # The weekday's mean is itself an estimate from a few weeks.
    weeks = max(1, int((weekdays == rate.day.weekday()).sum()))
    return (expected - rate.rate) / (max(spread, sampling) * float(np.sqrt(1 + 1 / weeks)))
