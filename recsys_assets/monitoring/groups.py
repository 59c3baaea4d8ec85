"""Bias and attribution: whether groups of shoppers drift apart, and whether a ranker now uses other features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys_assets.measurement.bootstrap import RESAMPLES, FloatArray, bootstrap_means

MIN_GROUP: Final = 50
MIN_DROP: Final = 0.1
MIN_NDCG: Final = 0.9
"""Below this agreement of importances the ranker has changed (the default of SageMaker Clarify)."""


@dataclass(frozen=True, slots=True)
class GroupRatio:
    """Lowest over highest mean of the groups of one attribute, now and before.

    Attributes:
        drop: relative fall of the ratio; ``low`` and ``high``: its 99 % interval, over shoppers.
        alarm: the drop is above `MIN_DROP` and the interval above 0.
    """

    attribute: str
    before: float
    now: float
    drop: float
    low: float
    high: float
    alarm: bool


def group_ratio(
    attribute: str,
    before: Mapping[str, FloatArray],
    now: Mapping[str, FloatArray],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> GroupRatio | None:
    """Compare the ratio of two periods; ``None`` with fewer than two groups of `MIN_GROUP` shoppers in both.

    Args:
        before, now: hits per shopper, float64 ``[n]``, by group.
    """
    groups = sorted(name for name in before.keys() & now.keys() if min(len(before[name]), len(now[name])) >= MIN_GROUP)
    if len(groups) < 2:
        return None
    drawn = [
        np.stack(
            [
                bootstrap_means(one[name][:, None], resamples=resamples, seed=seed + place)[:, 0]
                for place, name in enumerate(groups)
            ]
        )
        for one in (before, now)
    ]
    means = [np.array([one[name].mean() for name in groups]) for one in (before, now)]
    if any(one.max() == 0 for one in means):
        return None
    # The groups that were lowest and highest before: picking the extremes anew in every resample is biased.
    worst, best = int(means[0].argmin()), int(means[0].argmax())
    ratios = [float(one[worst] / one[best]) if one[best] > 0 else 0.0 for one in means]
    if ratios[0] == 0:
        return None
    samples = [one[worst] / np.maximum(one[best], 1e-12) for one in drawn]
    drops = 1 - samples[1] / np.maximum(samples[0], 1e-12)
    low, high = (float(one) for one in np.quantile(drops, [0.005, 0.995]))
    drop = 1 - ratios[1] / ratios[0]
    return GroupRatio(attribute, ratios[0], ratios[1], drop, low, high, drop > MIN_DROP and low > 0)


def importance_ndcg(baseline: Mapping[str, float], current: Mapping[str, float]) -> float:
    """NDCG of the current order of features, with the baseline's importances as gains; 1: the same order.

    Args:
        baseline, current: importance by feature; a feature that one side lacks counts 0 there.
    """
    names = sorted(baseline.keys() | current.keys())
    gains = np.array([baseline.get(name, 0.0) for name in names])
    order = np.argsort(-np.array([current.get(name, 0.0) for name in names]), kind="stable")
    discounts = 1 / np.log2(np.arange(2, len(names) + 2))
    ideal = float(np.sort(gains)[::-1] @ discounts)
    return float(gains[order] @ discounts) / ideal if ideal > 0 else 1.0


def by_group(users: Sequence[str], hits: FloatArray, group_of: Mapping[str, str | None]) -> dict[str, FloatArray]:
    """Hits by group; shoppers without one are left out."""
    names = np.array([group_of.get(user) or "" for user in users])
    return {str(name): hits[names == name] for name in np.unique(names) if name}
