"""For whom a recommender works: groups of users and of products, and whether differences are more than noise.

Put splitting of results by group, and gaps between groups, here. Keep the metrics themselves (``metrics``,
``beyond_accuracy``) out.

Three questions are asked of every demographic attribute, after Ekstrand et al., "All the cool kids, how do they fit in?
Popularity and demographic biases in recommender evaluation and effectiveness", FAT* 2018: do groups get a hit equally
often (demographic parity of hits, ``hit_rate``), is as much of what they wanted found (``recall``), and are they shown
popular products to the same degree (demographic parity of exposure, ``tail_share``)?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import stdtrit

from recsys_assets.evaluation.bootstrap import (
    RESAMPLES,
    FloatArray,
    Interval,
    bootstrap_intervals,
)
from recsys_assets.evaluation.metrics import hit_matrix
from recsys_assets.evaluation.protocol import EvaluationTask, ModelEvaluation

Values = Mapping[str, Mapping[str, FloatArray]]
"""Model -> quantity -> float64 ``[B]``, one value per user of the task; NaN where a user has none."""

UNKNOWN = "(unknown)"
OTHER = "(other)"
PRODUCT_KINDS: tuple[str, ...] = ("hot", "warm", "cold")
GAP_MEASURES: tuple[str, ...] = ("hit_rate", "recall", "tail_share")
PERMUTED_USERS = 20_000_000
"""Users shuffled in all while testing one gap: bounds the time on large shops, at the price of a coarser p-value."""


@dataclass(frozen=True, slots=True)
class SegmentRules:
    """Where groups begin and how large one must be to be judged.

    Attributes:
        warm_from, hot_from: distinct products in a user's history from which he is warm and hot; below, he is cold.
        age_bands: first year of every age band but the youngest, ascending.
        top_locations: how many of the most frequent locations stand for themselves; the rest are ``(other)``.
        minimum_size: users a group needs to take part in gaps and in the worst group. Smaller ones are shown with their
            interval, and judged by nobody.
        significance: family-wise error of the flags on one model's gaps (Holm, "A simple sequentially rejective
            multiple test procedure", 1979).
    """

    warm_from: int = 3
    hot_from: int = 20
    age_bands: tuple[int, ...] = (25, 35, 45, 55, 65)
    top_locations: int = 5
    minimum_size: int = 50
    significance: float = 0.05


DEFAULT_RULES = SegmentRules()


@dataclass(frozen=True)
class Segmentation:
    """One way of dividing the users of a task.

    Attributes:
        dimension: ``history``, ``gender``, ``age`` or ``location``.
        groups: names, in the order to show them.
        codes: int64 ``[B]``, each user's place in ``groups``.
        demographic: whether gaps between its groups are a matter of fairness.
    """

    dimension: str
    groups: tuple[str, ...]
    codes: NDArray[np.int64] = field(repr=False)
    demographic: bool


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """Means over the ``n`` users of one group. ``judged``: the group is large enough to draw conclusions."""

    dimension: str
    group: str
    n: int
    judged: bool
    metrics: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class ProductSegmentResult:
    """How products of one kind fare: ``hot`` (the short head), ``warm`` (the tail) or ``cold`` (not seen before).

    Attributes:
        products: how many there are.
        exposure_share: their share of all listed places.
        relevant_share: their share of everything users then wanted.
        recall: share of a user's relevant products of this kind that was listed, over users who had any.
    """

    group: str
    products: int
    exposure_share: float
    relevant_share: float
    recall: Interval | None


@dataclass(frozen=True, slots=True)
class FairnessGap:
    """Difference of one measure between the best and the worst group of one attribute.

    Attributes:
        attribute, measure: what was compared.
        best_group, worst_group: of the groups judged, those with the highest and the lowest mean.
        gap: their difference of means; ``low`` and ``high`` bound it at 95 % for these two groups as they stand.
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


def segment_users(
    task: EvaluationTask, users: pa.Table | None, rules: SegmentRules = DEFAULT_RULES
) -> tuple[Segmentation, ...]:
    """Every division of the task's users that the data allows.

    Args:
        users: canonical users, or ``None``. An attribute that no evaluated user has gives no segmentation; a user
            without it belongs to ``(unknown)``.
    """
    segmentations = [_by_history(task, rules)]
    if users is None:
        return tuple(segmentations)
    place = pc.index_in(pa.array(task.user_ids, pa.string()), users["user_id"].combine_chunks())
    gender = _labels(users, "gender", place)
    ages = _labels(users, "age", place)
    location = _labels(users, "location", place)
    bands = [_age_band(age, rules.age_bands) for age in ages]
    frequent, counts = np.unique(
        [name for name in location if name is not None] or np.empty(0, str), return_counts=True
    )
    top = {str(name) for name in frequent[np.argsort(-counts, kind="stable")][: rules.top_locations]}
    places = [name if name is None or name in top else OTHER for name in location]
    for dimension, labels in (("gender", gender), ("age", bands), ("location", places)):
        if any(label is not None for label in labels):
            segmentations.append(_segmentation(dimension, labels, demographic=True))
    return tuple(segmentations)


def segment_results(
    values: Values,
    segmentation: Segmentation,
    rules: SegmentRules = DEFAULT_RULES,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[SegmentResult, ...]]:
    """Mean and interval of each model's quantities (see `Values`) in each group that has users, by model."""
    results: dict[str, list[SegmentResult]] = {model: [] for model in values}
    for code, group in enumerate(segmentation.groups):
        members = segmentation.codes == code
        n = int(members.sum())
        if n == 0:
            continue
        columns = {(model, name): column[members] for model, named in values.items() for name, column in named.items()}
        intervals = bootstrap_intervals(columns, resamples=resamples, seed=seed)
        for model, named in values.items():
            present = {name: interval for name in named if (interval := intervals[model, name]) is not None}
            results[model].append(SegmentResult(segmentation.dimension, group, n, n >= rules.minimum_size, present))
    return {model: tuple(of_model) for model, of_model in results.items()}


def product_segment_results(
    evaluations: Sequence[ModelEvaluation], task: EvaluationTask, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[ProductSegmentResult, ...]]:
    """Exposure and recall of hot, warm and cold products, by model."""
    kind = np.where(task.facts.head, 0, np.where(task.facts.events > 0, 1, 2))
    wanted = [
        np.bincount(task.truth.row_of_value[kind[task.truth.values] == code], minlength=len(task))
        for code in range(len(PRODUCT_KINDS))
    ]
    recalls: dict[tuple[str, int], FloatArray] = {}
    exposures: dict[tuple[str, int], float] = {}
    for evaluation in evaluations:
        listed = evaluation.recommended
        hits = hit_matrix(listed, task.truth, evaluation.k)
        for code, relevant in enumerate(wanted):
            of_kind = (kind[listed] == code) & (listed >= 0)
            found = (hits & of_kind).sum(axis=1)
            key = (evaluation.name, code)
            recalls[key] = np.divide(found, relevant, out=np.full(len(task), np.nan), where=relevant > 0)
            exposures[key] = float(of_kind.sum() / max(int((listed >= 0).sum()), 1))
    intervals = bootstrap_intervals(recalls, resamples=resamples, seed=seed)
    return {
        evaluation.name: tuple(
            ProductSegmentResult(
                group=group,
                products=int((kind == code).sum()),
                exposure_share=exposures[evaluation.name, code],
                relevant_share=float(wanted[code].sum() / len(task.truth.values)),
                recall=intervals[evaluation.name, code],
            )
            for code, group in enumerate(PRODUCT_KINDS)
        )
        for evaluation in evaluations
    }


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
        groups = [segmentation.groups[group] for group in judged]
        for model, column, p_value in zip(models, matrix.T, p_values, strict=True):
            gaps[model] = _gap(column, codes, groups, (segmentation.dimension, measure), p_value)
    return gaps


def _gap(
    values: FloatArray, codes: NDArray[np.int64], groups: Sequence[str], what: tuple[str, str], p_value: float
) -> FairnessGap:
    parts = [values[codes == code] for code in range(len(groups))]
    means = [float(part.mean()) for part in parts]
    best, worst = int(np.argmax(means)), int(np.argmin(means))
    margin = _welch_margin(parts[best], parts[worst])
    gap = means[best] - means[worst]
    attribute, measure = what
    return FairnessGap(
        attribute=attribute,
        measure=measure,
        best_group=groups[best],
        worst_group=groups[worst],
        gap=gap,
        low=gap - margin,
        high=gap + margin,
        p_value=p_value,
        n=len(values),
        flagged=False,
    )


def _welch_margin(a: FloatArray, b: FloatArray) -> float:
    """Half the width of the 95 % interval of the difference of two means of unequal variance (Welch, "The
    generalization of Student's problem when several different population variances are involved", Biometrika 1947)."""
    parts = [part.var(ddof=1) / len(part) for part in (a, b)]
    total = sum(parts)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (a, b), strict=True))
    return float(stdtrit(freedom, 0.975) * np.sqrt(total))


def _by_history(task: EvaluationTask, rules: SegmentRules) -> Segmentation:
    depth = np.diff(task.histories.distinct_products().indptr)
    codes = (depth < rules.hot_from).astype(np.int64) + (depth < rules.warm_from)
    return Segmentation("history", ("hot", "warm", "cold"), codes, demographic=False)


def _labels(users: pa.Table, column: str, place: pa.Array) -> list[str | None]:
    if column not in users.column_names:
        return [None] * len(place)
    taken = users[column].combine_chunks().take(place).to_pylist()
    return [None if value is None or str(value).strip() == "" else str(value) for value in taken]


def _age_band(age: str | None, starts: tuple[int, ...]) -> str | None:
    if age is None:
        return None
    band = int(np.searchsorted(starts, float(age), side="right"))
    if band == 0:
        return f"under {starts[0]}"
    return f"{starts[band - 1]}+" if band == len(starts) else f"{starts[band - 1]}-{starts[band] - 1}"


def _segmentation(dimension: str, labels: Sequence[str | None], *, demographic: bool) -> Segmentation:
    last = (OTHER, UNKNOWN)
    names = {UNKNOWN if label is None else label for label in labels}
    groups = sorted(names - set(last), key=lambda name: (not name.startswith("under"), name))
    groups += [name for name in last if name in names]
    number = {name: code for code, name in enumerate(groups)}
    codes = np.array([number[UNKNOWN if label is None else label] for label in labels], dtype=np.int64)
    return Segmentation(dimension, tuple(groups), codes, demographic)
