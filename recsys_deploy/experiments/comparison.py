"""From the shoppers of an experiment to a verdict on business: better, worse, good enough, or not decided yet.

The primary metric is conversions per shopper; click-through and revenue per shopper are secondary and corrected for
their number (Holm). The interval is always valid, so looking every day is allowed. A verdict needs a week at least.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from recsys_deploy.experiments.inference import (
    Lift,
    SequentialInterval,
    adjusted_mean_lift,
    holm,
    mean_lift,
    ratio_lift,
    sequential_interval,
    winsorised,
)
from recsys_deploy.experiments.sample_ratio import is_mismatch, log_bayes_factor
from recsys_deploy.experiments.totals import Shoppers

PRIMARY = "conversions"


class Verdict(StrEnum):
    """What an experiment says so far."""

    BETTER = "better"
    GOOD_ENOUGH = "good enough"
    WORSE = "worse"
    UNDECIDED = "undecided"
    CONTINUE = "continue"
    MISMATCH = "sample-ratio mismatch"


@dataclass(frozen=True, slots=True)
class BusinessRules:
    """When an experiment ends, and how.

    Attributes:
        alpha: of the two-sided always-valid interval.
        min_days, max_days: no verdict before, the last one after.
        margin: relative loss that is still good enough at the deadline, where offline evaluation was passed.
        planned_shoppers: in both groups at the planned end; where the interval is tightest.
    """

    alpha: float = 0.05
    min_days: float = 7.0
    max_days: float = 28.0
    margin: float = 0.05
    planned_shoppers: int = 20_000


@dataclass(frozen=True)
class Comparison:
    """What is known at one look.

    Attributes:
        shoppers: of control and treatment whose window has closed.
        reached: shoppers of control and treatment seen at all, for the sample-ratio test.
        primary: interval of conversions per shopper; ``None``: too few conversions.
        secondary: intervals by metric, where there are enough events.
        adjusted_p_values: of the secondary metrics, corrected for their number.
        mismatch: logarithm of the evidence for a sample-ratio mismatch.
    """

    shoppers: tuple[int, int]
    reached: tuple[int, int]
    primary: SequentialInterval | None
    secondary: Mapping[str, SequentialInterval] = field(default_factory=dict)
    adjusted_p_values: Mapping[str, float] = field(default_factory=dict)
    mismatch: float = 0.0
    is_mismatch: bool = False


def compare(shoppers: Shoppers, reached: tuple[int, int], share: float, rules: BusinessRules) -> Comparison:
    """Intervals of all metrics; conversions are adjusted by purchases before the experiment, where any are known.

    Args:
        reached: see `Comparison`.
        share: of shoppers who are to get the treatment, within (0, 1).
    """
    treated = shoppers.is_treatment
    control, treatment = shoppers.where(~treated), shoppers.where(treated)
    lifts: dict[str, Lift | None] = {
        PRIMARY: adjusted_mean_lift(shoppers.conversions, shoppers.before, treated)
        if shoppers.before.any()
        else mean_lift(control.conversions, treatment.conversions),
        "click_through": ratio_lift((control.clicks, control.lists), (treatment.clicks, treatment.lists)),
        "revenue": mean_lift(winsorised(control.revenue), winsorised(treatment.revenue)),
    }
    return compared(lifts, shoppers.counts(), reached, share, rules)


def compared(
    lifts: Mapping[str, Lift | None],
    shoppers: tuple[int, int],
    reached: tuple[int, int],
    share: float,
    rules: BusinessRules,
) -> Comparison:
    """Intervals of ``lifts`` by metric, the primary one among them; the rest as in `Comparison` and `compare`."""
    intervals = {
        name: sequential_interval(lift, rules.planned_shoppers, rules.alpha)
        for name, lift in lifts.items()
        if lift is not None
    }
    primary = intervals.pop(PRIMARY, None)
    shares = (1 - share, share)
    return Comparison(
        shoppers=shoppers,
        reached=reached,
        primary=primary,
        secondary=intervals,
        adjusted_p_values=holm({name: interval.p_value for name, interval in intervals.items()}),
        mismatch=log_bayes_factor(reached, shares),
        is_mismatch=is_mismatch(reached, shares),
    )


def verdict_of(comparison: Comparison, days: float, rules: BusinessRules, *, offline_passed: bool) -> Verdict:
    """The verdict after ``days`` of the experiment; ``offline_passed``: the promotion rules allowed the model."""
    if comparison.is_mismatch:
        return Verdict.MISMATCH
    found = comparison.primary
    if found is not None and days >= rules.min_days:
        if found.high < 0:
            return Verdict.WORSE
        if found.low > 0:
            return Verdict.BETTER
    if days < rules.max_days:
        return Verdict.CONTINUE
    low = -math.inf if found is None else found.low
    return Verdict.GOOD_ENOUGH if offline_passed and low > -rules.margin else Verdict.UNDECIDED
