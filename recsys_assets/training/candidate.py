"""Turns a trainer into a candidate: one fit to measure on the validation window, one fit to keep as a bundle."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from lambda_api.recommender.bundle import BundleInfo, DataWindow, Manifest, write_bundle
from lambda_api.recommender.contract import Recommender
from lambda_api.settings import Settings
from recsys_assets.code_revision import git_revision
from recsys_assets.lake import Lake
from recsys_assets.measurement.bootstrap import mean_interval
from recsys_assets.measurement.importance import write_importance
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task, evaluate
from recsys_assets.models.trainer import Trainer
from recsys_assets.registry.records import VALIDATION_NDCG, ExperimentRun, RunStatus
from recsys_assets.schema import relevant_types
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.training.fitting import Fit, FitModel, Fitted, fit_here
from recsys_assets.training.training_window import catalogue_before, interactions_before

Log = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """A model ready to be evaluated on the test window.

    Attributes:
        name: of the trainer.
        folder: its bundle, fitted on everything before the test window.
        manifest: of that bundle; ``info.metrics`` holds the validation figures.
        seconds: wall time of both fits and the validation.
        kept: the fit in the bundle.
        validated: the model fitted before the validation window, and ``validation``, the task it was measured on.
    """

    name: str
    folder: Path
    manifest: Manifest
    seconds: float
    kept: Fitted = field(repr=False)
    validated: Recommender = field(repr=False)
    validation: EvaluationTask = field(repr=False)


def candidate_folder(settings: Settings, name: str) -> Path:
    """Folder of the newest bundle of model ``name``, until the registry takes it."""
    return settings.home / "candidates" / name


def window_of(start: datetime, end: datetime, settings: Settings, interactions: pa.Table) -> EvaluationWindow:
    """The evaluation window ``start`` to ``end``.

    Args:
        interactions: the whole log before ``end``; the kinds of interaction in it decide what counts as relevant.
    """
    kinds = relevant_types(interactions)
    return EvaluationWindow(start=start, end=end, relevant_types=kinds, allow_repeats=settings.allow_repeats)


def validation_task(lake: Lake, split: TemporalSplit, settings: Settings) -> EvaluationTask:
    """The evaluation on the window between training and test, by which hyper-parameters and models are chosen."""
    interactions = interactions_before(lake, split.test_start)
    window = window_of(split.validation_start, split.test_start, settings, interactions)
    return build_task(interactions, lake.read("products"), window)


def validation_metrics(
    name: str, recommender: Recommender, task: EvaluationTask, settings: Settings
) -> dict[str, float]:
    """Mean NDCG and recall at ``settings.k`` on the validation task, with the ends of the NDCG's 95 % interval."""
    metrics = evaluate(name, recommender, task, settings.k).metrics
    interval = mean_interval(metrics["ndcg"], seed=settings.seed)
    assert interval is not None  # a task holds at least one user
    return {
        VALIDATION_NDCG: interval.mean,
        "validation_ndcg_low": interval.low,
        "validation_ndcg_high": interval.high,
        "validation_recall": float(metrics["recall"].mean()),
        "validation_users": float(len(task)),
    }


def train_candidate(
    trainer: Trainer,
    lake: Lake,
    split: TemporalSplit,
    settings: Settings,
    log: Log,
    fit_model: FitModel = fit_here,
) -> Candidate:
    """Fit on what precedes the validation window and measure there; then fit on what precedes the test window and keep.

    Raises:
        GateClosed: the data is poisoned.
        ValueError: the data cannot carry this model, or nobody can be evaluated.
    """
    began = time.perf_counter()
    validated = fit_model(_fit_before(split.validation_start, trainer, lake, log)).recommender
    task = validation_task(lake, split, settings)
    metrics = validation_metrics(trainer.name, validated, task, settings)
    log(f"{trainer.name}: NDCG@{settings.k} {metrics[VALIDATION_NDCG]:.4f} on the validation window")
    folder = candidate_folder(settings, trainer.name)
    window = DataWindow(start=split.train_start, end=split.test_start)
    manifest, kept = fit_bundle(trainer, lake, window, folder, metrics, log, fit_model)
    return Candidate(trainer.name, folder, manifest, time.perf_counter() - began, kept, validated, task)


def fit_bundle(
    trainer: Trainer,
    lake: Lake,
    window: DataWindow,
    folder: Path,
    metrics: Mapping[str, float],
    log: Log,
    fit_model: FitModel = fit_here,
) -> tuple[Manifest, Fitted]:
    """Fit on what precedes the end of ``window``, and replace the bundle in ``folder``.

    Raises:
        GateClosed: the data is poisoned.
        ValueError: the data cannot carry this model.
    """
    fitted = fit_model(_fit_before(window.end, trainer, lake, log))
    info = BundleInfo(
        trainer=trainer.name,
        hyper_parameters=trainer.parameters(),
        data_window=window,
        metrics=dict(metrics),
        git_revision=git_revision(),
        created_at=datetime.now(UTC),
    )
    write_importance(None, folder)  # an earlier fit's must never stand beside this one
    manifest = write_bundle(fitted.recommender, folder, info)
    write_importance(fitted.importance, folder)
    return manifest, fitted


def _fit_before(as_of: datetime, trainer: Trainer, lake: Lake, log: Log) -> Fit:
    log(f"fitting {trainer.name} on interactions before {as_of:%Y-%m-%d}")
    interactions = interactions_before(lake, as_of)
    return Fit(trainer, interactions, catalogue_before(lake, as_of, interactions), as_of, git_revision())


def experiment_run(candidate: Candidate, run_id: str) -> ExperimentRun:
    """The registry's record of this training, whether or not the candidate becomes a version."""
    info = candidate.manifest.info
    assert info.data_window is not None and info.git_revision is not None  # `fit_bundle` sets both
    return ExperimentRun(
        id=f"{run_id}:{candidate.name}",
        model=candidate.name,
        parameters=info.hyper_parameters,
        metrics=info.metrics,
        data_window=info.data_window,
        git_revision=info.git_revision,
        started_at=info.created_at - timedelta(seconds=candidate.seconds),
        duration_s=candidate.seconds,
        status=RunStatus.FINISHED,
    )
