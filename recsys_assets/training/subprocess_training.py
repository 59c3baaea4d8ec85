"""A candidate trained by the ``train`` program in a process of its own, under Dagster Pipes.

Put the crossing of the process boundary here. Keep the fit-twice protocol's measuring and bundling in ``candidate.py``
and the program in ``train.py``.
"""

import time
from datetime import datetime
from pathlib import Path

import dagster as dg

from lambda_api.recommender.bundle import read_bundle, write_bundle
from lambda_api.settings import Settings
from recsys_assets.lake import Lake
from recsys_assets.models.trainer import Trainer
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.training.candidate import (
    Candidate,
    bundle_info,
    candidate_folder,
    git_revision,
    validation_metrics,
    validation_task,
)
from recsys_assets.training.local_job import LocalTrainingJob
from recsys_assets.training.training_window import catalogue_before, interactions_before


def train_in_subprocess(
    context: dg.AssetExecutionContext,
    trainer: Trainer,
    lake: Lake,
    split: TemporalSplit,
    settings: Settings,
    client: dg.PipesSubprocessClient,
) -> tuple[Candidate, dg.MaterializeResult[None]]:
    """As `train_candidate`, each fit in a process of its own; also returns what the last fit reported to Dagster.

    Interrupting the run stops the process. A fit that is interrupted goes on from its checkpoint when the asset is
    materialised again with the same data and parameters.

    Raises:
        GateClosed: the data is poisoned.
        DagsterPipesExecutionError: the program failed; its message is in the run's log.
    """
    began = time.perf_counter()
    folder, _ = _fit(context, trainer, lake, split.validation_start, settings, client)
    task = validation_task(lake, split, settings)
    metrics = validation_metrics(trainer.name, read_bundle(folder).recommender, task, settings)
    folder, reported = _fit(context, trainer, lake, split.test_start, settings, client)
    target = candidate_folder(settings, trainer.name)
    manifest = write_bundle(read_bundle(folder).recommender, target, bundle_info(trainer, split, metrics))
    return Candidate(trainer.name, target, manifest, time.perf_counter() - began), reported


def _fit(
    context: dg.AssetExecutionContext,
    trainer: Trainer,
    lake: Lake,
    as_of: datetime,
    settings: Settings,
    client: dg.PipesSubprocessClient,
) -> tuple[Path, dg.MaterializeResult[None]]:
    """Fit on what precedes ``as_of``; returns the folder of the bundle and the program's report."""
    interactions = interactions_before(lake, as_of)
    # One tree per model and cut: a fit that goes on from its checkpoint must find its own.
    job = LocalTrainingJob(settings.home / "training" / f"{trainer.name}-{as_of:%Y%m%d}")
    prepared = job.prepare(
        trainer.name,
        trainer.parameters(),
        interactions,
        catalogue_before(lake, as_of, interactions),
        as_of,
        git_revision(),
    )
    # Materialisations nobody reported must not be made up: without a report the program did not finish.
    finished = client.run(context=context, command=prepared.command, env=prepared.env)
    return job.paths.model, finished.get_materialize_result(implicit_materialization=False)
