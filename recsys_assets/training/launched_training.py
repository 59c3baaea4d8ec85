"""A candidate trained by the ``train`` program, wherever that runs.

Put the fit-twice protocol over launched programs and the contract of a launcher here. Keep the launchers
(``subprocess_training.py``, ``sagemaker/launcher.py``), measuring and bundling (``candidate.py``) and the program
(``train.py``) out.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import pyarrow as pa

from lambda_api.recommender.bundle import read_bundle, write_bundle
from lambda_api.recommender.contract import Recommender
from lambda_api.settings import Settings
from recsys_assets.code_revision import git_revision
from recsys_assets.lake import Lake
from recsys_assets.measurement.importance import RankerImportance, write_importance
from recsys_assets.measurement.protocol import EvaluationTask
from recsys_assets.models.trainer import Trainer
from recsys_assets.sagemaker.paths import SageMakerPaths
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.training.candidate import (
    Candidate,
    bundle_info,
    candidate_folder,
    validation_metrics,
    validation_task,
)
from recsys_assets.training.hyperparameters import job_hyperparameters
from recsys_assets.training.train import IMPORTANCE_FILE
from recsys_assets.training.training_window import catalogue_before, interactions_before


@dataclass(frozen=True)
class Fit:
    """One fit: which model, with what, on what.

    Attributes:
        model: name of the trainer; ``parameters`` its hyper-parameters, JSON-able.
        interactions, products: canonical tables.
        as_of: aware; interactions at or after it are ignored by ``train``.
    """

    model: str
    parameters: Mapping[str, Any]
    interactions: pa.Table
    products: pa.Table
    as_of: datetime
    git_revision: str | None = None

    @property
    def label(self) -> str:
        """Model and cut. A fit that goes on from a checkpoint finds it by this name."""
        return f"{self.model}-{self.as_of:%Y%m%d}"

    @property
    def hyperparameters(self) -> dict[str, str]:
        """What the program is given, as text."""
        return job_hyperparameters(self.model, self.parameters, self.as_of, self.git_revision)


class Launcher(Protocol):
    """Runs the ``train`` program somewhere. One of the two is chosen by `recsys_assets.resources.resources_for`."""

    def fit(self, context: dg.AssetExecutionContext, fit: Fit) -> tuple[Path, dg.MaterializeResult[None]]:
        """Run one fit to its end; returns the folder of the bundle and what the program reported.

        The folder is ``model`` of an ``/opt/ml`` tree (`SageMakerPaths`); what else the program wrote lies there too.

        Interrupting the run stops the program. It goes on from its checkpoint when the same fit is launched again.

        Raises:
            DagsterPipesExecutionError, dagster.Failure: the program failed or could not be run; says why.
        """


@dataclass(frozen=True)
class LaunchedTraining:
    """What `train_by_program` leaves behind.

    Attributes:
        candidate: as `train_candidate` returns it.
        reported: what the last fit reported to Dagster.
        chosen_by: the model fitted before the validation window.
        validation: what it was then asked.
    """

    candidate: Candidate
    reported: dg.MaterializeResult[None] = field(repr=False)
    chosen_by: Recommender = field(repr=False)
    validation: EvaluationTask = field(repr=False)


def train_by_program(
    context: dg.AssetExecutionContext,
    trainer: Trainer,
    lake: Lake,
    split: TemporalSplit,
    settings: Settings,
    launcher: Launcher,
) -> LaunchedTraining:
    """As `train_candidate`, each fit by the program.

    Raises:
        GateClosed: the data is poisoned.
        DagsterPipesExecutionError, dagster.Failure: as `Launcher.fit`.
    """
    began = time.perf_counter()
    folder, _ = launcher.fit(context, _fit_before(split.validation_start, trainer, lake))
    chosen_by = read_bundle(folder).recommender
    task = validation_task(lake, split, settings)
    metrics = validation_metrics(trainer.name, chosen_by, task, settings)
    folder, reported = launcher.fit(context, _fit_before(split.test_start, trainer, lake))
    target = candidate_folder(settings, trainer.name)
    write_importance(None, target)  # an earlier candidate's must never stand beside this one
    manifest = write_bundle(read_bundle(folder).recommender, target, bundle_info(trainer, split, metrics))
    write_importance(_importance(folder), target)
    candidate = Candidate(trainer.name, target, manifest, time.perf_counter() - began)
    return LaunchedTraining(candidate, reported, chosen_by, task)


def _importance(folder: Path) -> RankerImportance | None:
    """What the program wrote of its ranker, beside the bundle in ``folder``; ``None`` where the model has none."""
    path = SageMakerPaths(folder.parent).output_data / IMPORTANCE_FILE
    return RankerImportance.from_json(path.read_bytes()) if path.is_file() else None


def _fit_before(as_of: datetime, trainer: Trainer, lake: Lake) -> Fit:
    interactions = interactions_before(lake, as_of)
    products = catalogue_before(lake, as_of, interactions)
    return Fit(trainer.name, trainer.parameters(), interactions, products, as_of, git_revision())
