"""Computes an evaluation report: all models on the same users and the same resamples."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import pyarrow as pa

from recsys_assets.evaluation.business import BusinessFigures
from recsys_assets.evaluation.examples import example_lists
from recsys_assets.evaluation.fairness import fairness_gaps
from recsys_assets.evaluation.provider import Providers, provider_exposure, providers_of
from recsys_assets.evaluation.ratings import RatingEvaluation
from recsys_assets.evaluation.report import (
    FORMAT_VERSION,
    Comparison,
    EvaluationReport,
    ModelReport,
    Setting,
    WorstGroup,
)
from recsys_assets.evaluation.segments import (
    DEFAULT_RULES,
    Segmentation,
    SegmentResult,
    SegmentRules,
    product_segment_results,
    segment_results,
    segment_users,
)
from recsys_assets.measurement.beyond_accuracy import band_shares
from recsys_assets.measurement.bootstrap import CONFIDENCE, RESAMPLES, bootstrap_intervals, paired_comparisons
from recsys_assets.measurement.importance import RankerImportance
from recsys_assets.measurement.metrics import RANKING_METRICS
from recsys_assets.measurement.protocol import EvaluationTask, ModelEvaluation
from recsys_assets.models.zoo import BASELINES

COMPARED_METRICS: tuple[str, ...] = ("ndcg", "recall", "hit_rate")
SEGMENT_METRICS: tuple[str, ...] = ("ndcg", "recall", "hit_rate", "tail_share")


def build_report(
    task: EvaluationTask,
    evaluations: Sequence[ModelEvaluation],
    *,
    users: pa.Table | None = None,
    products: pa.Table | None = None,
    baselines: Sequence[str] = BASELINES,
    champion: str | None = None,
    as_served: str | None = None,
    validation_ndcg: Mapping[str, float] | None = None,
    ratings: Mapping[str, RatingEvaluation] | None = None,
    importances: Mapping[str, RankerImportance] | None = None,
    business: BusinessFigures | None = None,
    rules: SegmentRules = DEFAULT_RULES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> EvaluationReport:
    """Gather one report. The same input and seed give the same report.

    Args:
        task: what the evaluations were made on.
        evaluations: one per model, all on ``task`` and with one ``k``.
        users: canonical users, for demographic groups.
        products: canonical products, for brands and categories; without them exposure is by popularity only.
        baselines: names among the evaluations, the reference first.
        champion: name of the evaluation of the champion's recipe; compared against. It can be the challenger only if it
            is among the candidates (``validation_ndcg``).
        as_served: name of the evaluation of the serving model, where it has learned from nothing in the window.
        validation_ndcg: mean NDCG of models on the validation window. The best of those evaluated becomes challenger;
            without it the best on the test window does.
        ratings: rating errors by model name.
        importances: explanations of rankers by model name.
        business: clicks, purchases and money per recommendation.
        rules: where groups begin, and how large they must be.
        resamples, seed: of every interval and p-value.

    Raises:
        ValueError: no evaluations, two of one name, different ``k`` or users, a baseline, champion or validated model
            that was not evaluated, or no candidate for challenger.
    """
    _refuse_inconsistent(task, evaluations, (*baselines, *(name for name in (champion, as_served) if name)))
    models = _model_reports(
        _Context(task, segment_users(task, users, rules), providers_of(task, products), rules, resamples, seed),
        evaluations,
        ratings or {},
        validation_ndcg or {},
        importances or {},
    )
    challenger = choose_challenger(evaluations, {champion, as_served}, validation_ndcg)
    return EvaluationReport(
        format_version=FORMAT_VERSION,
        setting=_setting(task, evaluations[0].k, rules, resamples, seed),
        catalogue_events=tuple(band_shares(task.statistics.events, task.statistics)),
        models=tuple(sorted(models, key=lambda model: -model.metrics["ndcg"].mean)),
        comparisons=_comparisons(evaluations, baselines, (champion, as_served), resamples, seed),
        reference_baseline=baselines[0],
        champion=champion,
        challenger=challenger,
        challenger_chosen_on="test" if validation_ndcg is None else "validation",
        business=business,
        examples=example_lists(task, next(one for one in evaluations if one.name == challenger), products),
    )


def choose_challenger(
    evaluations: Sequence[ModelEvaluation],
    production: Collection[str | None],
    validation_ndcg: Mapping[str, float] | None,
) -> str:
    """Name of the model with the best NDCG on the validation window, or on the test window where there is none.

    Candidates are the evaluations with a validation result and those that are not in ``production``. Ties go to the
    earlier evaluation.

    Raises:
        ValueError: no candidate, or one without a validation result.
    """
    validated = validation_ndcg or {}
    candidates = [one for one in evaluations if one.name in validated or one.name not in production]
    if not candidates:
        raise ValueError("only the champion was evaluated; there is no challenger to choose")
    if validation_ndcg is None:
        return max(candidates, key=lambda evaluation: float(evaluation.metrics["ndcg"].mean())).name
    missing = [evaluation.name for evaluation in candidates if evaluation.name not in validation_ndcg]
    if missing:
        raise ValueError(f"no validation result for {', '.join(missing)}: validate every model, or none")
    return max(candidates, key=lambda evaluation: validation_ndcg[evaluation.name]).name


class _Resampling(TypedDict):
    resamples: int
    seed: int


@dataclass(frozen=True)
class _Context:
    task: EvaluationTask
    segmentations: tuple[Segmentation, ...]
    providers: tuple[Providers, ...]
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
            f"not evaluated, but needed for comparison: {', '.join(absent)}; evaluated: {', '.join(names)}"
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
        candidate_products=int(task.statistics.candidates.sum()),
        reachable_share=float(task.statistics.candidates[task.truth.values].mean()),
        confidence=CONFIDENCE,
        resamples=resamples,
        seed=seed,
        minimum_group_size=rules.minimum_size,
    )


def _model_reports(
    context: _Context,
    evaluations: Sequence[ModelEvaluation],
    ratings: Mapping[str, RatingEvaluation],
    validation_ndcg: Mapping[str, float],
    importances: Mapping[str, RankerImportance],
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
                providers=tuple(provider_exposure(evaluation.recommended, one) for one in context.providers),
                importance=importances.get(name),
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
    evaluations: Sequence[ModelEvaluation],
    baselines: Sequence[str],
    production: Sequence[str | None],
    resamples: int,
    seed: int,
) -> tuple[Comparison, ...]:
    metrics = {evaluation.name: evaluation.metrics for evaluation in evaluations}
    roles: dict[str, Literal["baseline", "champion"]] = dict.fromkeys(baselines, "baseline")
    for name in production:
        if name is not None:
            roles.setdefault(name, "champion")
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
