"""The protocol that turns a trainer into a candidate: fit to be chosen, fit to be judged, keep the bundle.

Put the fit-twice protocol and what it leaves behind here. Keep fitting in ``recsys_assets.models``, the process
boundary in ``subprocess_training.py`` and Dagster in ``assets.py``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from lambda_api.recommender.bundle import BundleInfo, DataWindow, Manifest, write_bundle
from lambda_api.recommender.contract import Recommender
from lambda_api.settings import Settings
from recsys_assets.code_revision import git_revision
from recsys_assets.lake import Lake
from recsys_assets.measurement.bootstrap import mean_interval
from recsys_assets.measurement.importance import fit_and_explain, write_importance
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task, evaluate
from recsys_assets.models.trainer import Report, Trainer
from recsys_assets.registry.records import VALIDATION_NDCG, ExperimentRun, RunStatus
from recsys_assets.schema import relevant_types
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.training.training_window import interactions_before, training_data_before

Log = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """A model ready to be judged.

    Attributes:
        name: of the trainer.
        folder: its bundle, fitted on everything before the test window.
        manifest: of that bundle; ``info.metrics`` holds the validation figures.
        seconds: wall time of both fits and the validation.
    """

    name: str
    folder: Path
    manifest: Manifest
    seconds: float


def candidate_folder(settings: Settings, name: str) -> Path:
    """Where the newest bundle of model ``name`` lies until the registry takes it."""
    return settings.home / "candidates" / name


def window_of(start: datetime, end: datetime, settings: Settings, interactions: pa.Table) -> EvaluationWindow:
    """The evaluation window ``start`` to ``end``.

    Args:
        interactions: the whole log before ``end``, on which what counts as relevant is judged.
    """
    kinds = relevant_types(interactions)
    return EvaluationWindow(start=start, end=end, relevant_types=kinds, allow_repeats=settings.allow_repeats)


def validation_task(lake: Lake, split: TemporalSplit, settings: Settings) -> EvaluationTask:
    """What models are chosen by: the window between training and test."""
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
    report: Report | None = None,
) -> Candidate:
    """Fit on what precedes the validation window and measure there; then fit on what precedes the test window and keep.

    Raises:
        GateClosed: the data is poisoned.
        ValueError: the data cannot carry this model, or nobody can be evaluated.
    """
    began = time.perf_counter()
    log(f"fitting {trainer.name} on interactions before {split.validation_start:%Y-%m-%d}")
    chosen_by = trainer.fit(training_data_before(lake, split.validation_start), report)
    metrics = validation_metrics(trainer.name, chosen_by, validation_task(lake, split, settings), settings)
    log(f"{trainer.name}: NDCG@{settings.k} {metrics[VALIDATION_NDCG]:.4f} on the validation window")
    log(f"fitting {trainer.name} on interactions before {split.test_start:%Y-%m-%d}")
    recommender, importance = fit_and_explain(trainer, training_data_before(lake, split.test_start), report)
    folder = candidate_folder(settings, trainer.name)
    write_importance(None, folder)  # an earlier candidate's must never stand beside this one
    manifest = write_bundle(recommender, folder, bundle_info(trainer, split, metrics))
    write_importance(importance, folder)
    return Candidate(trainer.name, folder, manifest, time.perf_counter() - began)


def bundle_info(trainer: Trainer, split: TemporalSplit, metrics: dict[str, float]) -> BundleInfo:
    """What the bundle of a candidate says about itself."""
    return BundleInfo(
        trainer=trainer.name,
        hyper_parameters=trainer.parameters(),
        data_window=DataWindow(start=split.train_start, end=split.test_start),
        metrics=metrics,
        git_revision=git_revision(),
        created_at=datetime.now(UTC),
    )


def experiment_run(candidate: Candidate, run_id: str) -> ExperimentRun:
    """What the registry remembers of this training, whether or not a version comes of it."""
    info = candidate.manifest.info
    assert info.data_window is not None and info.git_revision is not None  # bundle_info sets both
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
