"""Intervals for the lift of one group of shoppers over another that stay valid however often somebody looks.

Asymptotic confidence sequences: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences" (arXiv 2103.06476). Ratios by the delta method: Deng, Knoblich and Lu, "Applying the
delta method in metric analytics" (KDD 2018). Covariate adjustment (CUPED): Deng, Xu, Kohavi and Walker (WSDM 2013).

Everything is per shopper: one shopper's events depend on each other, so that intervals over events are too narrow.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MIN_POSITIVE_SHOPPERS = 25
"""Shoppers with a value above zero that each group needs; below it the normal approximation is not to be trusted."""


@dataclass(frozen=True, slots=True)
class Lift:
    """Relative difference of a metric's mean, treatment over control, on the log scale.

    Attributes:
        log_ratio: ``ln(treatment / control)``.
        se: standard error of ``log_ratio``.
        shoppers: in both groups.
    """

    log_ratio: float
    se: float
    shoppers: int

    @property
    def relative(self) -> float:
        """``treatment / control - 1``."""
        return math.expm1(self.log_ratio)


@dataclass(frozen=True, slots=True)
class SequentialInterval:
    """A relative lift with an interval that holds at every look at once.

    Attributes:
        lift, low, high: relative; .05 means 5 % more.
        p_value: always valid, two-sided, for no lift at all.
        shoppers: in both groups.
    """

    lift: float
    low: float
    high: float
    p_value: float
    shoppers: int


def mixture_scale(planned: int, alpha: float) -> float:
    """``rho ** 2`` that makes a two-sided sequence of level ``alpha`` tightest at ``planned`` observations.

    Raises:
        ValueError: ``planned`` is below 1 or ``alpha`` outside (0, 1).
    """
    if planned < 1 or not 0 < alpha < 1:
        raise ValueError(f"planned must be 1 or more and alpha within (0, 1), not {planned} and {alpha}")
    return (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned


def two_sided_factor(n: int, planned: int, alpha: float) -> float:
    """Half-width in standard errors after ``n`` of ``planned`` observations (equation 9 of the paper)."""
    mass = n * mixture_scale(planned, alpha)
    return math.sqrt(2 * (mass + 1) / mass * math.log(math.sqrt(mass + 1) / alpha))


def one_sided_factor(n: int, planned: int, alpha: float) -> float:
    """Distance of a one-sided bound in standard errors (equation 134 of the paper)."""
    mass = n * mixture_scale(planned, 2 * alpha)
    return math.sqrt(2 * (mass + 1) / mass * math.log(1 + math.sqrt(mass + 1) / (2 * alpha)))


def always_valid_p_value(z: float, n: int, planned: int, alpha: float) -> float:
    """p-value at one look for a standardised effect ``z``; over several looks take the running minimum."""
    mass = n * mixture_scale(planned, alpha)
    exponent = -mass * z * z / (2 * (mass + 1))
    return min(1.0, math.exp(0.5 * math.log(mass + 1) + exponent))


def mean_lift(control: FloatArray, treatment: FloatArray) -> Lift | None:
    """Lift of the mean of a value per shopper (``[n]`` each); ``None`` where a group has too few positive values."""
    if min(np.count_nonzero(control > 0), np.count_nonzero(treatment > 0)) < MIN_POSITIVE_SHOPPERS:
        return None
    return _lift_of_means(control, treatment)


def ratio_lift(control: tuple[FloatArray, FloatArray], treatment: tuple[FloatArray, FloatArray]) -> Lift | None:
    """Lift of a ratio of totals, such as clicks over lists, from (numerator, denominator) per shopper."""
    if min(np.count_nonzero(control[0] > 0), np.count_nonzero(treatment[0] > 0)) < MIN_POSITIVE_SHOPPERS:
        return None
    (log_control, variance), (log_treatment, other_variance) = _log_ratio(*control), _log_ratio(*treatment)
    se = math.sqrt(variance + other_variance)
    return Lift(log_treatment - log_control, se, len(control[0]) + len(treatment[0])) if se > 0 else None


def paired_lift(control: FloatArray, treatment: FloatArray) -> Lift | None:
    """Lift of a total that every shopper (``[n]``) has on both sides, as in an interleaved list."""
    if min(np.count_nonzero(control > 0), np.count_nonzero(treatment > 0)) < MIN_POSITIVE_SHOPPERS:
        return None
    log_ratio, variance = _log_ratio(treatment, control)
    return Lift(log_ratio, math.sqrt(variance), len(control)) if variance > 0 else None


def _log_ratio(numerator: FloatArray, denominator: FloatArray) -> tuple[float, float]:
    """Logarithm of the ratio of two totals over shoppers, and its variance by the delta method."""
    ratio = float(numerator.sum() / denominator.sum())
    influence = (numerator - ratio * denominator) / float(denominator.mean())
    return math.log(ratio), float(influence.var(ddof=1)) / len(influence) / ratio**2


def adjusted(values: FloatArray, covariate: FloatArray, is_treatment: NDArray[np.bool_]) -> FloatArray:
    """``values`` (``[n]``) with what ``covariate`` (``[n]``, from before the first exposure) explains taken out.

    The slope is pooled within groups, so that the expectation of neither group's mean changes.
    """
    centred = covariate - covariate.mean()
    within_x, within_y = covariate.astype(np.float64), values.astype(np.float64)
    for group in (is_treatment, ~is_treatment):
        if group.any():
            within_x = np.where(group, within_x - within_x[group].mean(), within_x)
            within_y = np.where(group, within_y - within_y[group].mean(), within_y)
    spread = float(within_x @ within_x)
    slope = float(within_x @ within_y) / spread if spread > 0 else 0.0
    return values - slope * centred


def adjusted_mean_lift(values: FloatArray, covariate: FloatArray, is_treatment: NDArray[np.bool_]) -> Lift | None:
    """`mean_lift` of CUPED-adjusted values; the counts of positive values are those of the values as they were."""
    raw = mean_lift(values[~is_treatment], values[is_treatment])
    if raw is None:
        return None
    less_noisy = adjusted(values, covariate, is_treatment)
    return _lift_of_means(less_noisy[~is_treatment], less_noisy[is_treatment]) or raw


def _lift_of_means(control: FloatArray, treatment: FloatArray) -> Lift | None:
    """By the delta method; ``None`` where a mean is not positive, or nothing varies."""
    means = float(control.mean()), float(treatment.mean())
    if min(means) <= 0:
        return None
    variances = float(control.var(ddof=1)) / len(control), float(treatment.var(ddof=1)) / len(treatment)
    se = math.sqrt(variances[0] / means[0] ** 2 + variances[1] / means[1] ** 2)
    return Lift(math.log(means[1] / means[0]), se, len(control) + len(treatment)) if se > 0 else None


def sequential_interval(lift: Lift, planned: int, alpha: float = 0.05) -> SequentialInterval:
    """The two-sided interval of ``lift`` at this look; ``planned``: shoppers expected at the planned end."""
    half = two_sided_factor(lift.shoppers, planned, alpha) * lift.se
    return SequentialInterval(
        lift=lift.relative,
        low=math.expm1(lift.log_ratio - half),
        high=math.expm1(lift.log_ratio + half),
        p_value=always_valid_p_value(lift.log_ratio / lift.se, lift.shoppers, planned, alpha),
        shoppers=lift.shoppers,
    )


def upper_bound(lift: Lift, planned: int, alpha: float) -> float:
    """Relative lift that the truth stays below at every look, with probability ``1 - alpha``: for guardrails."""
    return math.expm1(lift.log_ratio + one_sided_factor(lift.shoppers, planned, alpha) * lift.se)


def lower_bound(lift: Lift, planned: int, alpha: float) -> float:
    """Relative lift that the truth stays above at every look, with probability ``1 - alpha``."""
    return math.expm1(lift.log_ratio - one_sided_factor(lift.shoppers, planned, alpha) * lift.se)


def winsorised(values: FloatArray, quantile: float = 0.995) -> FloatArray:
    """``values`` cut off at their ``quantile`` among the positive ones: one bulk order must not decide."""
    positive = values[values > 0]
    return values if len(positive) == 0 else np.minimum(values, np.quantile(positive, quantile))


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """p-values by name, adjusted for their number (Holm, 1979)."""
    adjusted_values, running = {}, 0.0
    for place, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        running = max(running, min(1.0, (len(p_values) - place) * p_value))
        adjusted_values[name] = running
    return adjusted_values
