"""Everything one evaluation found, as one frozen value with a JSON round trip.

Put what a report holds and how it is gathered here. Keep how it looks (``tables``, ``plots``, ``html``) and what is
decided on it (``recsys_assets.registry``) out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict, TypeAdapter

from recsys_assets.evaluation.beyond_accuracy import band_shares
from recsys_assets.evaluation.bootstrap import (
    RESAMPLES,
    Interval,
    PairedComparison,
    bootstrap_intervals,
    paired_comparisons,
)
from recsys_assets.evaluation.metrics import RANKING_METRICS, FloatArray
from recsys_assets.evaluation.protocol import EvaluationTask, ModelEvaluation
from recsys_assets.evaluation.ratings import RatingEvaluation
from recsys_assets.evaluation.segments import (
    DEFAULT_RULES,
    FairnessGap,
    ProductSegmentResult,
    Segmentation,
    SegmentResult,
    SegmentRules,
    fairness_gaps,
    product_segment_results,
    segment_results,
    segment_users,
)

FORMAT_VERSION: Literal[1] = 1
COMPARED_METRICS: tuple[str, ...] = ("ndcg", "recall", "hit_rate")
SEGMENT_METRICS: tuple[str, ...] = ("ndcg", "recall", "hit_rate", "tail_share")
BASELINES: tuple[str, ...] = ("popularity", "item_knn")
"""The first is the reference that every model is measured against."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What was asked, of whom, and how the uncertainty was computed.

    Attributes:
        start, end: the window, UTC.
        relevant_types, minimum_rating, allow_repeats, candidates: see `EvaluationWindow`.
        k: length of the lists.
        users: how many were evaluated.
        relevant_per_user: mean number of relevant products.
        candidate_products: products that could be listed.
        reachable_share: share of relevant products that could be listed; no list finds the rest.
        confidence, resamples, seed: of every interval.
        minimum_group_size: users a group needs to be judged.
    """

    start: datetime
    end: datetime
    relevant_types: tuple[str, ...]
    minimum_rating: float
    allow_repeats: bool
    candidates: Literal["seen", "catalogue"]
    k: int
    users: int
    relevant_per_user: float
    candidate_products: int
    reachable_share: float
    confidence: float
    resamples: int
    seed: int
    minimum_group_size: int


@dataclass(frozen=True, slots=True)
class WorstGroup:
    """The large enough group of users with the lowest mean recall, over history and demographic groups alike."""

    dimension: str
    group: str
    recall: float
    n: int


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What was found of one model.

    Attributes:
        name: of the model.
        metrics: `RANKING_METRICS` with intervals.
        beyond: novelty, diversity, average_popularity and tail_share; ``None`` where no list had one.
        coverage, gini: see ``beyond_accuracy``; ``gini`` is ``None`` when nothing was listed.
        exposure: share of listed places per popularity band of products, most popular first.
        user_segments, product_segments, gaps: see ``segments``.
        worst_group: ``None`` when no group is large enough.
        ratings: ``None`` where the shop has no ratings.
        validation_ndcg: mean NDCG on the validation window, if it was measured.
    """

    name: str
    metrics: dict[str, Interval]
    beyond: dict[str, Interval | None]
    coverage: float
    gini: float | None
    exposure: tuple[float, ...]
    user_segments: tuple[SegmentResult, ...]
    product_segments: tuple[ProductSegmentResult, ...]
    gaps: tuple[FairnessGap, ...]
    worst_group: WorstGroup | None
    ratings: RatingEvaluation | None
    validation_ndcg: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """``model`` minus ``against`` in one metric, on the same users."""

    metric: str
    model: str
    against: str
    role: Literal["baseline", "champion"]
    result: PairedComparison


@dataclass(frozen=True, slots=True)
class GateFigures:
    """What the promotion gate asks of one model.

    Attributes:
        ndcg: float64 ``[B]``, row-aligned with the users of the task, hence with any other model's on that task.
        coverage: catalogue coverage.
        worst_group_recall: mean recall of the worst large enough group, ``None`` without one.
    """

    ndcg: FloatArray
    coverage: float
    worst_group_recall: float | None


@dataclass(frozen=True)
class EvaluationReport:
    """One evaluation of several models on one window.

    Attributes:
        format_version: of this JSON layout.
        setting: what was asked.
        catalogue_events: share of earlier events per popularity band of products, to hold ``exposure`` against.
        models: sorted by mean NDCG, best first.
        comparisons: every model against every baseline and against the champion.
        reference_baseline: name of the first baseline.
        champion: name of the evaluation of the model in production, if there is one.
        challenger: the model proposed for promotion.
        challenger_chosen_on: ``"validation"``, or ``"test"`` where no validation results were given; choosing on the
            very users one reports on makes the winner look somewhat better than it is.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    format_version: Literal[1]
    setting: Setting
    catalogue_events: tuple[float, ...]
    models: tuple[ModelReport, ...]
    comparisons: tuple[Comparison, ...]
    reference_baseline: str
    champion: str | None
    challenger: str
    challenger_chosen_on: Literal["validation", "test"]

    def model(self, name: str) -> ModelReport:
        """One model's part. Raises ``KeyError`` naming those there are."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(f"no model {name!r} in this report; it holds: {', '.join(m.name for m in self.models)}")

    def comparison(self, model: str, against: str, metric: str = "ndcg") -> PairedComparison:
        """One comparison. Raises ``KeyError`` when it was not made."""
        for comparison in self.comparisons:
            if (comparison.model, comparison.against, comparison.metric) == (model, against, metric):
                return comparison.result
        raise KeyError(f"this report does not compare {metric} of {model!r} against {against!r}")

    def gate_figures(self, evaluation: ModelEvaluation) -> GateFigures:
        """The gate's inputs for one of the evaluations this report was built from."""
        worst = self.model(evaluation.name).worst_group
        return GateFigures(
            ndcg=evaluation.metrics["ndcg"],
            coverage=evaluation.beyond.coverage,
            worst_group_recall=None if worst is None else worst.recall,
        )

    def to_json(self, indent: int | None = None) -> str:
        """The report as JSON; `from_json` gives back an equal report."""
        return _ADAPTER.dump_json(self, indent=indent).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "EvaluationReport":
        """Inverse of `to_json`. Raises pydantic's ``ValidationError`` naming every field that does not fit."""
        return _ADAPTER.validate_json(text)


def build_report(
    task: EvaluationTask,
    evaluations: Sequence[ModelEvaluation],
    *,
    users: pa.Table | None = None,
    baselines: Sequence[str] = BASELINES,
    champion: str | None = None,
    validation_ndcg: Mapping[str, float] | None = None,
    ratings: Mapping[str, RatingEvaluation] | None = None,
    rules: SegmentRules = DEFAULT_RULES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> EvaluationReport:
    """Gather one report. The same input and seed give the same report.

    Args:
        task: what the evaluations were made on.
        evaluations: one per model, all on ``task`` and with one ``k``.
        users: canonical users, for demographic groups.
        baselines: names among the evaluations, the reference first.
        champion: name of the evaluation of the model in production. It is compared against, and never the challenger.
        validation_ndcg: mean NDCG of models on the validation window. The best of those evaluated becomes challenger;
            without it the best on the test window does.
        ratings: rating errors by model name.
        rules: where groups begin, and how large they must be.
        resamples, seed: of every interval and p-value.

    Raises:
        ValueError: no evaluations, two of one name, different ``k`` or users, a baseline, champion or validated model
            that was not evaluated, or nobody left to be challenger.
    """
    _refuse_inconsistent(task, evaluations, (*baselines, *([champion] if champion else [])))
    models = _model_reports(
        _Context(task, segment_users(task, users, rules), rules, resamples, seed),
        evaluations,
        ratings or {},
        validation_ndcg or {},
    )
    challenger = choose_challenger(evaluations, champion, validation_ndcg)
    return EvaluationReport(
        format_version=FORMAT_VERSION,
        setting=_setting(task, evaluations[0].k, rules, resamples, seed),
        catalogue_events=tuple(band_shares(task.facts.events, task.facts)),
        models=tuple(sorted(models, key=lambda model: -model.metrics["ndcg"].mean)),
        comparisons=_comparisons(evaluations, baselines, champion, resamples, seed),
        reference_baseline=baselines[0],
        champion=champion,
        challenger=challenger,
        challenger_chosen_on="test" if validation_ndcg is None else "validation",
    )


def choose_challenger(
    evaluations: Sequence[ModelEvaluation], champion: str | None, validation_ndcg: Mapping[str, float] | None
) -> str:
    """Name of the model with the best NDCG on the validation window, or on the test window where there is none.

    The champion's evaluation never stands. Ties go to the earlier evaluation.

    Raises:
        ValueError: no model stands, or one that stands has no validation result.
    """
    standing = [evaluation for evaluation in evaluations if evaluation.name != champion]
    if not standing:
        raise ValueError("only the champion was evaluated; there is no challenger to choose")
    if validation_ndcg is None:
        return max(standing, key=lambda evaluation: float(evaluation.metrics["ndcg"].mean())).name
    missing = [evaluation.name for evaluation in standing if evaluation.name not in validation_ndcg]
    if missing:
        raise ValueError(f"no validation result for {', '.join(missing)}: validate every model, or none")
    return max(standing, key=lambda evaluation: validation_ndcg[evaluation.name]).name


class _Resampling(TypedDict):
    resamples: int
    seed: int


@dataclass(frozen=True)
class _Context:
    task: EvaluationTask
    segmentations: tuple[Segmentation, ...]
    rules: SegmentRules
    resamples: int
    seed: int


def _refuse_inconsistent(task: EvaluationTask, evaluations: Sequence[ModelEvaluation], needed: Sequence[str]) -> None:
    if not evaluations:
        raise ValueError("no evaluations to report on")
    names = [evaluation.name for evaluation in evaluations]
    if len(set(names)) < len(names):
        raise ValueError(f"every evaluation needs a name of its own, not {', '.join(names)}")
    if len({evaluation.k for evaluation in evaluations}) > 1:
        raise ValueError("evaluations with different k cannot be compared")
    for evaluation in evaluations:
        if len(evaluation.recommended) != len(task):
            raise ValueError(f"{evaluation.name} was evaluated on {len(evaluation.recommended)} users, not {len(task)}")
    absent = [name for name in needed if name not in names]
    if absent:
        raise ValueError(
            f"to be compared against but not evaluated: {', '.join(absent)}; evaluated: {', '.join(names)}"
        )


def _setting(task: EvaluationTask, k: int, rules: SegmentRules, resamples: int, seed: int) -> Setting:
    window = task.window
    return Setting(
        start=window.start,
        end=window.end,
        relevant_types=tuple(sorted(kind.label for kind in window.relevant_types or ())),
        minimum_rating=window.minimum_rating,
        allow_repeats=window.allow_repeats,
        candidates=window.candidates,
        k=k,
        users=len(task),
        relevant_per_user=len(task.truth.values) / len(task),
        candidate_products=int(task.facts.candidates.sum()),
        reachable_share=float(task.facts.candidates[task.truth.values].mean()),
        confidence=0.95,
        resamples=resamples,
        seed=seed,
        minimum_group_size=rules.minimum_size,
    )


def _model_reports(
    context: _Context,
    evaluations: Sequence[ModelEvaluation],
    ratings: Mapping[str, RatingEvaluation],
    validation_ndcg: Mapping[str, float],
) -> list[ModelReport]:
    """All models at once, because they share their resamples of users."""
    options: _Resampling = {"resamples": context.resamples, "seed": context.seed}
    values = {e.name: {**e.metrics, **e.beyond.per_user} for e in evaluations}
    columns = {(model, name): column for model, named in values.items() for name, column in named.items()}
    intervals = bootstrap_intervals(columns, **options)
    in_segments = {model: {name: named[name] for name in SEGMENT_METRICS} for model, named in values.items()}
    segments = [segment_results(in_segments, s, context.rules, **options) for s in context.segmentations]
    product_segments = product_segment_results(evaluations, context.task, **options)
    gaps = fairness_gaps(values, context.segmentations, context.rules, seed=context.seed)
    reports = []
    for evaluation in evaluations:
        name = evaluation.name
        of_model = tuple(result for by_model in segments for result in by_model[name])
        found = {metric: intervals[name, metric] for metric in values[name]}
        reports.append(
            ModelReport(
                name=name,
                metrics={metric: interval for metric in RANKING_METRICS if (interval := found[metric]) is not None},
                beyond={measure: found[measure] for measure in evaluation.beyond.per_user},
                coverage=evaluation.beyond.coverage,
                gini=None if np.isnan(evaluation.beyond.gini) else evaluation.beyond.gini,
                exposure=evaluation.beyond.exposure,
                user_segments=of_model,
                product_segments=product_segments[name],
                gaps=gaps[name],
                worst_group=_worst_group(of_model),
                ratings=ratings.get(name),
                validation_ndcg=validation_ndcg.get(name),
            )
        )
    return reports


def _worst_group(segments: Sequence[SegmentResult]) -> WorstGroup | None:
    judged = [segment for segment in segments if segment.judged]
    if not judged:
        return None
    worst = min(judged, key=lambda segment: segment.metrics["recall"].mean)
    return WorstGroup(worst.dimension, worst.group, worst.metrics["recall"].mean, worst.n)


def _comparisons(
    evaluations: Sequence[ModelEvaluation], baselines: Sequence[str], champion: str | None, resamples: int, seed: int
) -> tuple[Comparison, ...]:
    metrics = {evaluation.name: evaluation.metrics for evaluation in evaluations}
    roles: dict[str, Literal["baseline", "champion"]] = dict.fromkeys(baselines, "baseline")
    if champion is not None:
        roles.setdefault(champion, "champion")
    pairs = {
        (metric, model, against): (metrics[model][metric], metrics[against][metric])
        for against in roles
        for model in metrics
        if model != against
        for metric in COMPARED_METRICS
    }
    results = paired_comparisons(pairs, resamples=resamples, seed=seed)
    return tuple(
        Comparison(metric, model, against, roles[against], result)
        for (metric, model, against), result in results.items()
    )


_ADAPTER = TypeAdapter(EvaluationReport)
