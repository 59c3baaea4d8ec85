"""Concept drift: a one-sided CUSUM on the daily hit rate of what is served.

The hit rate of a day is a mean over shoppers: the share of those who bought something that was in their list. It is
compared with the days before, weekday by weekday and at the same age of the model's data, and standardised; the CUSUM
``S_t = max(0, S_(t-1) + z_t - k)`` adds up losses and raises an alarm above ``h`` (Page, "Continuous inspection
schemes", Biometrika 1954). Within the first two days of a loss a lower threshold is enough, because losses that add
up by chance take longer (after Lucas, "Combined Shewhart-CUSUM quality control schemes", J. Quality Technology
1982).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

K: Final = 0.5
"""Allowance in standard deviations."""

H: Final = 6.0
"""Threshold of the alarm."""

SUDDEN_H: Final = 5.0
"""Threshold within the first `SUDDEN_DAYS` days of a loss."""

SUDDEN_DAYS: Final = 2

REFERENCE_DAYS: Final = 56
GAP_DAYS: Final = 7
"""The newest days are left out of the reference, so that a loss does not hide itself."""

MIN_DAYS: Final = 28
MIN_SHOPPERS: Final = 30


@dataclass(frozen=True, slots=True)
class DailyRate:
    """Mean hit rate of ``shoppers`` on one day, by a model whose data ended ``age_days`` before it."""

    day: date
    rate: float
    shoppers: int
    age_days: int = 0


@dataclass(frozen=True, slots=True)
class Cusum:
    """The path of the CUSUM.

    Attributes:
        days, z, path: one value per day that could be standardised.
        alarm: whether the last value is above ``threshold``.
        since: first day of the current loss (after the last zero of the path); ``None`` while the path is at zero.
        threshold: of the last day.
    """

    days: tuple[date, ...]
    z: tuple[float, ...]
    path: tuple[float, ...]
    alarm: bool
    since: date | None
    threshold: float = H


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
    sudden = since is not None and (days[-1] - since).days < SUDDEN_DAYS
    threshold = SUDDEN_H if sudden else H
    return Cusum(tuple(days), tuple(losses), tuple(path), bool(path) and path[-1] > threshold, since, threshold)


def standardised_loss(rate: DailyRate, rates: Sequence[DailyRate]) -> float | None:
    """How far the day lies below what is expected of it, in standard deviations; ``None`` with too few reference days.

    Expected is the reference's mean on that weekday, less what the age of the model's data costs: the slope of the
    reference's rates over the ages of their models' data, never above 0 and not continued beyond the oldest of them.
    """
    first, last = rate.day - timedelta(days=REFERENCE_DAYS + GAP_DAYS), rate.day - timedelta(days=GAP_DAYS)
    reference = [one for one in rates if first <= one.day < last]
    if len(reference) < MIN_DAYS:
        return None
    values = np.array([one.rate for one in reference])
    ages = np.array([float(one.age_days) for one in reference])
    weekdays = np.array([one.day.weekday() for one in reference])
    days = np.bincount(weekdays, minlength=7)
    usual, usual_age = (
        np.where(days > 0, np.bincount(weekdays, weights=one, minlength=7) / np.maximum(days, 1), one.mean())
        for one in (values, ages)
    )
    residuals, older = values - usual[weekdays], ages - usual_age[weekdays]
    slope = min(0.0, float(older @ residuals) / float(older @ older)) if older.any() else 0.0
    residuals = residuals - slope * older
    today = rate.day.weekday()
    beyond = min(float(rate.age_days), float(ages.max())) - usual_age[today]
    # Both means and the slope are themselves estimates from a few weeks.
    uncertain = 1 + 1 / max(1, int(days[today])) + (beyond**2 / float(older @ older) if slope < 0 else 0.0)
    free = len(values) - np.count_nonzero(days) - (slope < 0)
    spread = float(np.sqrt((residuals**2).sum() / max(free, 1)))
    weeks = np.array([(rate.day - one.day).days // 7 for one in reference])
    mean = float(values.mean())
    sampling = float(np.sqrt(max(mean * (1 - mean), 1e-9) / rate.shoppers))
    deviation = max(spread, sampling, _wandering(residuals, weeks))
    return float((usual[today] + slope * beyond - rate.rate) / (deviation * np.sqrt(uncertain)))


def _wandering(residuals: NDArray[np.float64], weeks: NDArray[np.int64]) -> float:
    """The deviation of a day that weekly means of ``residuals`` (``[n]``) would have if days were independent.

    Where whole weeks lie high or low, as with seasons, it is larger than that of the days: the sum would take a week of
    a usual season for a loss.
    """
    _, week = np.unique(weeks, return_inverse=True)
    days = np.bincount(week)
    sums = np.bincount(week, weights=residuals)
    return float(np.sqrt((sums**2 / days).sum() / max(len(days) - 2, 1)))
