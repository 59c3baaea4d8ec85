"""Groups of users and of products, and the figures of every model in each group."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_assets.measurement.bootstrap import RESAMPLES, FloatArray, Interval, bootstrap_intervals
from recsys_assets.measurement.metrics import hit_matrix
from recsys_assets.measurement.protocol import EvaluationTask, ModelEvaluation

Values = Mapping[str, Mapping[str, FloatArray]]
"""Model -> quantity -> float64 ``[B]``, one value per user of the task; NaN where a user has none."""

UNKNOWN = "(unknown)"
OTHER = "(other)"
PRODUCT_KINDS: tuple[str, ...] = ("hot", "warm", "cold")


@dataclass(frozen=True, slots=True)
class SegmentRules:
    """Where groups begin and how large one must be to be judged.

    Attributes:
        warm_from, hot_from: minimum number of distinct products in a warm and a hot user's history; others are cold.
        age_bands: first year of every age band but the youngest, ascending.
        top_locations: number of the most frequent locations that are groups; the rest are ``(other)``.
        minimum_size: users a group needs to take part in gaps and in the worst group. Smaller ones are shown with their
            interval.
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
        demographic: whether gaps between its groups count for fairness.
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
    gender, ages, location = (_labels(users, column, place) for column in ("gender", "age", "location"))
    bands = [_age_band(age, rules.age_bands) for age in ages]
    counts = Counter(name for name in location if name is not None)
    top = sorted(counts, key=lambda name: (-counts[name], name))[: rules.top_locations]
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
    kind = np.where(task.statistics.head, 0, np.where(task.statistics.events > 0, 1, 2))
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
