"""Seeded bootstrap intervals of means over users, and paired comparisons of two models.

Users are the unit of resampling: places of one user's list depend on each other, users do not. The same input and seed
give the same resamples, because they are drawn in blocks whose size depends on ``n`` alone.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000
DRAWS_PER_BLOCK = 500_000
"""User indices drawn at once: few enough to stay in cache."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over ``n`` users and the ends of its confidence interval."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Metric of one model minus another's on the same ``n`` users.

    Attributes:
        difference: mean of the per-user differences ``a - b``.
        low, high: ends of its confidence interval; ``low > 0`` says ``a`` is better beyond chance.
        p_value: two-sided, from random sign flips of the differences (see `paired_comparison`).
        n: users compared.
        wins, ties, losses: users whose ``a`` is above, equal to and below their ``b``.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    wins: int
    ties: int
    losses: int


def bootstrap_means(values: FloatArray, *, resamples: int = RESAMPLES, seed: int = 0) -> FloatArray:
    """Means of ``resamples`` samples of users drawn with replacement; float64 ``[resamples, m]``.

    Args:
        values: float64 ``[n, m]``, one row per user, one column per quantity. All columns see the same resamples, so
            differences of columns are paired. NaN means the user has no such quantity and is left out of its mean.
        resamples: samples to draw.
        seed: of the generator.

    Raises:
        ValueError: no users or no resamples.
    """
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(f"values must be [n, m] with at least one user, not {values.shape}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    missing = np.isnan(values)
    has_missing = bool(missing.any())
    filled = np.where(missing, 0.0, values) if has_missing else values
    present = (~missing).astype(np.float64)
    means = np.empty((resamples, values.shape[1]))
    done = 0
    for counts in _resample_counts(len(values), resamples, seed):
        block = slice(done, done + len(counts))
        weight = counts @ present if has_missing else float(len(values))
        with np.errstate(invalid="ignore"):  # a resample that drew no user of a rare group has no mean: NaN
            means[block] = counts @ filled / weight
        done += len(counts)
    return means


def bootstrap_intervals(
    values: Mapping[K, FloatArray], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> dict[K, Interval | None]:
    """Interval of the mean of each named quantity, all from the same resamples of users.

    Bias-corrected and accelerated (Efron, "Better bootstrap confidence intervals", JASA 1987; Efron and Tibshirani, "An
    introduction to the bootstrap", 1993, ch. 14), because hit metrics are skewed.

    Args:
        values: by any key, float64 ``[n]`` per user; NaN users are left out of that quantity's mean and its ``n``.
        confidence: coverage of the interval, in (0, 1).
        resamples, seed: see `bootstrap_means`.

    Returns:
        ``None`` for a quantity that no user has.

    Raises:
        ValueError: arrays of different lengths, or a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if not values:
        return {}
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"quantities must cover the same users; their lengths are {lengths}")
    if next(iter(lengths.values())) == 0:
        return dict.fromkeys(values)
    matrix = np.stack([np.asarray(column, dtype=np.float64) for column in values.values()], axis=1)
    means = bootstrap_means(matrix, resamples=resamples, seed=seed)
    return {name: _interval(matrix[:, column], means[:, column], confidence) for column, name in enumerate(values)}


def mean_interval(
    values: FloatArray, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """`bootstrap_intervals` of a single quantity, float64 ``[n]``."""
    return bootstrap_intervals({"value": values}, confidence=confidence, resamples=resamples, seed=seed)["value"]


def ratio_interval(
    numerator: FloatArray, denominator: FloatArray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """95 % interval of ``sum(numerator) / sum(denominator)``, both float64 ``[n]`` per unit of resampling; BCa.

    The acceleration is that of the ratio's linear part (its influence function), as Efron and Tibshirani 1993, section
    14.3, take it for smooth statistics. ``None`` when the denominators sum to zero.

    Raises:
        ValueError: lengths differ, no units, or NaN.
    """
    pair = np.stack([numerator, denominator], axis=1)
    if np.isnan(pair).any():
        raise ValueError("a ratio of sums cannot have NaN terms; leave such units out")
    sums = bootstrap_means(pair, resamples=resamples, seed=seed)
    if denominator.sum() == 0:
        return None
    ratio = float(numerator.sum() / denominator.sum())
    # Not divided by the mean denominator: the acceleration does not change with scale.
    linear = ratio + (numerator - ratio * denominator)
    if np.ptp(linear) <= 1e-12 * np.abs(linear).max():
        return Interval(ratio, ratio, ratio, len(numerator))
    drawn = sums[sums[:, 1] != 0]
    return _bca_interval(linear, drawn[:, 0] / drawn[:, 1], ratio, CONFIDENCE)


def paired_comparison(
    a: FloatArray,
    b: FloatArray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedComparison:
    """Compare two models on the same users: `paired_comparisons` of a single pair."""
    return paired_comparisons({"pair": (a, b)}, confidence=confidence, resamples=resamples, seed=seed)["pair"]


def paired_comparisons(
    pairs: Mapping[K, tuple[FloatArray, FloatArray]],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[K, PairedComparison]:
    """Compare models two at a time, all on the same users and the same resamples.

    Args:
        pairs: by any key, ``(a, b)``, float64 ``[n]`` each, row-aligned, no NaN.
        confidence, resamples, seed: see `bootstrap_intervals`.

    Returns:
        The comparisons. ``p_value`` is Fisher's randomisation test: the share of random sign assignments (the observed
        one counted among them) whose mean is at least as far from zero, recommended for per-query metrics by Smucker,
        Allan and Carterette, "A comparison of statistical significance tests for information retrieval evaluation",
        CIKM 2007. Its resolution is ``1 / (resamples + 1)``.

    Raises:
        ValueError: shapes differ, nobody to compare, or NaN.
    """
    differences: dict[K, FloatArray] = {}
    for key, (a, b) in pairs.items():
        if a.shape != b.shape or a.ndim != 1:
            raise ValueError(f"paired arrays must have one shape [n], not {a.shape} and {b.shape}")
        difference = np.asarray(a, dtype=np.float64) - b
        if len(difference) == 0 or np.isnan(difference).any():
            raise ValueError("a paired comparison needs users and no NaN; drop users without a value on either side")
        differences[key] = difference
    intervals = bootstrap_intervals(differences, confidence=confidence, resamples=resamples, seed=seed)
    p_values = _sign_flip_p_values(list(differences.values()), resamples, seed)
    return {
        key: _paired(difference, intervals[key], p_value)
        for (key, difference), p_value in zip(differences.items(), p_values, strict=True)
    }


def _paired(difference: FloatArray, interval: Interval | None, p_value: float) -> PairedComparison:
    assert interval is not None  # at least one user and no NaN, checked by the caller
    return PairedComparison(
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        n=len(difference),
        wins=int((difference > 0).sum()),
        ties=int((difference == 0).sum()),
        losses=int((difference < 0).sum()),
    )


def _resample_counts(n: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each of ``n`` users was drawn, float64 ``[block, n]``; blocks add up to ``resamples`` rows."""
    rng = np.random.default_rng(seed)
    block = max(1, DRAWS_PER_BLOCK // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _interval(values: FloatArray, means: FloatArray, confidence: float) -> Interval | None:
    present = values[~np.isnan(values)]
    if present.size == 0:
        return None
    mean = float(present.mean())
    if present.min() == present.max():
        return Interval(mean, mean, mean, present.size)
    return _bca_interval(present, means[~np.isnan(means)], mean, confidence)


def _bca_interval(values: FloatArray, drawn: FloatArray, mean: float, confidence: float) -> Interval:
    """BCa interval of ``mean`` (Efron and Tibshirani, equations 14.9-15).

    Args:
        values: ``[n]``, per unit, whose mean is ``mean``.
        drawn: ``[resamples]``, what resamples give in its place.
    """
    # A tie counts half, whatever the last digits that the order of summation left; the clip keeps a mean outside every
    # resample (tiny samples) from giving an infinite shift.
    blur = 1e-12 * np.abs(values).max()
    below = ((drawn < mean - blur).mean() + (drawn <= mean + blur).mean()) / 2
    bias = ndtri(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    deviation = values - values.mean()
    # Leaving user i out moves the mean by deviation_i / (n - 1): the jackknife in closed form.
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    tail = (1 - confidence) / 2
    shifted = bias + ndtri(np.array([tail, 1 - tail]))
    low, high = np.quantile(drawn, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return Interval(mean, float(low), float(high), len(values))


def _sign_flip_p_values(differences: Sequence[FloatArray], resamples: int, seed: int) -> list[float]:
    if not differences:
        return []
    matrix = np.stack(differences, axis=1)
    n = len(matrix)
    # Sums that are equal on paper differ in the last digits by order of summation; count them as equal. Nothing but
    # ties leaves all sums at 0, hence a p-value of 1.
    bound = np.abs(matrix.sum(axis=0)) - 1e-12 * np.abs(matrix).sum(axis=0)
    rng = np.random.default_rng(seed)
    block = max(1, DRAWS_PER_BLOCK // n)
    extreme = np.zeros(matrix.shape[1], dtype=np.int64)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes(rows * -(-n // 8)), np.uint8).reshape(rows, -1), axis=1)
        extreme += (np.abs((1.0 - 2.0 * bits[:, :n]) @ matrix) >= bound).sum(axis=0)
    return [float((count + 1) / (resamples + 1)) for count in extreme.tolist()]
