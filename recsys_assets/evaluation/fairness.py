"""Consumer-side fairness: differences between demographic groups of users, with tests.

For every attribute (after Ekstrand et al., "All the cool kids, how do they fit in? Popularity and demographic biases in
recommender evaluation and effectiveness", FAT* 2018): is a hit equally frequent (``hit_rate``), is as much of what they
wanted found (``recall``), are they shown popular products to the same degree (``tail_share``)? Differences and ratios
are fairlearn's (``MetricFrame``, ``between_groups``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from recsys_assets.evaluation.segments import DEFAULT_RULES, UNKNOWN, Segmentation, SegmentRules, Values
from recsys_assets.measurement.bootstrap import FloatArray, bootstrap_means

GAP_MEASURES: tuple[str, ...] = ("hit_rate", "recall", "tail_share")
PERMUTED_USERS = 20_000_000
"""Users shuffled in all while testing one gap: bounds the time on large shops, at the price of a coarser p-value."""
RATIO_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class FairnessGap:
    """Difference of one measure between the best and the worst group of one attribute.

    Attributes:
        attribute, measure: what was compared.
        best_group, worst_group: of the groups judged, those with the highest and the lowest mean.
        gap: their difference of means; ``low`` and ``high`` bound it at 95 % for these two groups as they stand.
        ratio: the lower mean as a share of the higher; ``None`` where the higher is 0. ``ratio_low`` and ``ratio_high``
            bound it at 95 % for these two groups as they stand.
        p_value: share of random regroupings of the users with a gap at least as wide. It accounts for having picked the
            extremes, which the interval does not.
        n: users in the groups judged.
        flagged: significant after Holm's correction over all gaps of the model.
    """

    attribute: str
    measure: str
    best_group: str
    worst_group: str
    gap: float
    low: float
    high: float
    p_value: float
    n: int
    flagged: bool
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None


def fairness_gaps(
    values: Values, segmentations: Sequence[Segmentation], rules: SegmentRules = DEFAULT_RULES, *, seed: int = 0
) -> dict[str, tuple[FairnessGap, ...]]:
    """Gaps of `GAP_MEASURES`, by model, for every demographic attribute with two groups large enough to judge.

    Args:
        values: must hold the measures; a user with NaN in one (an empty list has no tail share) is left out of it.
        seed: of the regroupings.
    """
    gaps: dict[str, list[FairnessGap]] = {model: [] for model in values}
    for segmentation in segmentations:
        if segmentation.demographic:
            for measure in GAP_MEASURES:
                columns = {model: named[measure] for model, named in values.items()}
                for model, gap in _gaps(columns, measure, segmentation, rules, seed).items():
                    gaps[model].append(gap)
    flagged = {model: holm([gap.p_value for gap in found], rules.significance) for model, found in gaps.items()}
    return {
        model: tuple(replace(gap, flagged=flag) for gap, flag in zip(found, flagged[model], strict=True))
        for model, found in gaps.items()
    }


def holm(p_values: Sequence[float], significance: float) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects, in the order given."""
    rejected = [False] * len(p_values)
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] > significance / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected


def permutation_p_values(values: FloatArray, codes: NDArray[np.int64], *, permutations: int, seed: int) -> list[float]:
    """Share of shufflings of the users whose largest difference of group means is at least the observed one.

    Args:
        values: float64 ``[n, m]``, one column per quantity, no NaN.
        codes: int64 ``[n]``, group of each user, ``0..g-1``, none empty.
        permutations: shufflings; the observed grouping counts as one more. All columns see the same.

    Returns:
        One p-value per column.
    """
    sizes = np.bincount(codes)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)

    def width(order: NDArray[np.int64]) -> FloatArray:
        means = np.add.reduceat(values[order], starts, axis=0) / sizes[:, None]
        difference: FloatArray = means.max(axis=0) - means.min(axis=0)
        return difference

    # Equal on paper may differ in the last digits by order of summation.
    observed = width(np.argsort(codes, kind="stable")) - 1e-12
    extreme = np.zeros(values.shape[1], dtype=np.int64)
    for _ in range(permutations):
        extreme += width(rng.permutation(len(codes))) >= observed
    return [(count + 1) / (permutations + 1) for count in extreme.tolist()]


def between_groups(values: FloatArray, codes: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Difference and ratio (lowest over highest; NaN where the highest is 0) of group means, by fairlearn.

    Args:
        values: float64 ``[n, m]``, one column per quantity, no NaN.
        codes: int64 ``[n]``, group of each user.

    Returns:
        One pair per column.
    """
    from fairlearn.metrics import MetricFrame

    def mean(_: FloatArray, __: FloatArray, column: FloatArray) -> float:
        return float(np.mean(column))

    names = [str(number) for number in range(values.shape[1])]
    frame = MetricFrame(
        metrics=dict.fromkeys(names, mean),
        y_true=np.zeros(len(codes)),
        y_pred=np.zeros(len(codes)),
        sensitive_features=codes,
        sample_params={name: {"column": values[:, number]} for number, name in enumerate(names)},
    )
    difference, ratio = frame.difference(method="between_groups"), frame.ratio(method="between_groups")
    return [(float(difference[name]), float(ratio[name])) for name in names]


def _gaps(
    columns: Mapping[str, FloatArray], measure: str, segmentation: Segmentation, rules: SegmentRules, seed: int
) -> dict[str, FairnessGap]:
    """Gaps of one measure by one attribute, by model; models whose users with a value are the same share shufflings."""
    gaps: dict[str, FairnessGap] = {}
    by_users: dict[bytes, list[str]] = {}
    for model, column in columns.items():
        by_users.setdefault(np.isnan(column).tobytes(), []).append(model)
    named = np.array([group != UNKNOWN for group in segmentation.groups])
    for models in by_users.values():
        usable = ~np.isnan(columns[models[0]])
        sizes = np.bincount(segmentation.codes[usable], minlength=len(segmentation.groups))
        judged = np.flatnonzero((sizes >= rules.minimum_size) & named)
        if len(judged) < 2:
            continue
        members = usable & np.isin(segmentation.codes, judged)
        codes = np.searchsorted(judged, segmentation.codes[members])
        matrix = np.stack([columns[model][members] for model in models], axis=1)
        permutations = int(np.clip(PERMUTED_USERS // len(codes), 199, 999))
        p_values = permutation_p_values(matrix, codes, permutations=permutations, seed=seed)
        parts = [matrix[codes == code] for code in range(len(judged))]
        drawn = [bootstrap_means(part, resamples=RATIO_RESAMPLES, seed=seed + code) for code, part in enumerate(parts)]
        between = between_groups(matrix, codes)
        for place, (model, p_value, (_, ratio)) in enumerate(zip(models, p_values, between, strict=True)):
            own = [part[:, place].copy() for part in parts]
            means = [float(values.mean()) for values in own]
            best, worst = int(np.argmax(means)), int(np.argmin(means))
            gap, margin = means[best] - means[worst], _welch_margin(own[best], own[worst])
            low, high = _ratio_ends(drawn[best][:, place], drawn[worst][:, place], ratio)
            gaps[model] = FairnessGap(
                attribute=segmentation.dimension,
                measure=measure,
                best_group=segmentation.groups[judged[best]],
                worst_group=segmentation.groups[judged[worst]],
                gap=gap,
                low=gap - margin,
                high=gap + margin,
                p_value=p_value,
                n=len(codes),
                flagged=False,
                ratio=None if np.isnan(ratio) else ratio,
                ratio_low=low,
                ratio_high=high,
            )
    return gaps


def _ratio_ends(best: FloatArray, worst: FloatArray, ratio: float) -> tuple[float | None, float | None]:
    """95 % interval of ``ratio`` from resampled means of the two groups, float64 ``[resamples]`` each."""
    if np.isnan(ratio):
        return None, None
    low, high = np.quantile(worst[best > 0] / best[best > 0], [0.025, 0.975])
    return float(low), float(high)


def _welch_margin(a: FloatArray, b: FloatArray) -> float:
    """Half the width of the 95 % interval of the difference of two means of unequal variance (Welch, "The
    generalization of Student's problem when several different population variances are involved", Biometrika 1947)."""
    parts = [part.var(ddof=1) / len(part) for part in (a, b)]
    total = sum(parts)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (a, b), strict=True))
    return float(stdtrit(freedom, 0.975) * np.sqrt(total))
