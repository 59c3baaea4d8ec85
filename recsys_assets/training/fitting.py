"""One fit of a model, and where it runs: in this process, or as the ``train`` program through a `Launcher`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.contract import Recommender
from recsys_assets.measurement.importance import RankerImportance, fit_and_explain
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.trainer import Trainer
from recsys_assets.sagemaker.paths import SageMakerPaths
from recsys_assets.training.hyperparameters import job_hyperparameters
from recsys_assets.training.train import IMPORTANCE_FILE

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Fit:
    """What is fitted on what.

    Attributes:
        interactions, products: canonical tables.
        as_of: aware; interactions at or after it are ignored.
        git_revision: of the code that asks for it.
    """

    trainer: Trainer
    interactions: pa.Table = field(repr=False)
    products: pa.Table = field(repr=False)
    as_of: datetime
    git_revision: str | None = None

    @property
    def label(self) -> str:
        """Model and cut. An interrupted fit finds its checkpoint by this name."""
        return f"{self.trainer.name}-{self.as_of:%Y%m%d}"

    @property
    def hyperparameters(self) -> dict[str, str]:
        """Arguments of the ``train`` program, as text. Raises ``ValueError`` when ``as_of`` has no time zone."""
        return job_hyperparameters(self.trainer.name, self.trainer.parameters(), self.as_of, self.git_revision)


@dataclass(frozen=True)
class Fitted:
    """The fitted model, how its ranker decides (of models that have one), and what the ``train`` program reported."""

    recommender: Recommender
    importance: RankerImportance | None = None
    reported: Mapping[str, Any] = field(default_factory=dict)


FitModel = Callable[[Fit], Fitted]

LAUNCHED: Final = frozenset({"ncf", "hybrid"})
"""Models whose fits run as the ``train`` program: they use torch, or hours."""


def fit_here(fit: Fit) -> Fitted:
    """Fit in this process. Raises ``ValueError`` when the data cannot carry the model."""
    data = TrainingData.from_tables(fit.interactions, fit.products, fit.as_of)
    return Fitted(*fit_and_explain(fit.trainer, data))


class Launcher(Protocol):
    """Runs the ``train`` program in a process of its own; `recsys_assets.resources.open_launcher` chooses one."""

    def fit(self, context: "dg.AssetExecutionContext", fit: Fit) -> Fitted:
        """Run one fit to its end.

        An interrupted run stops the program. It resumes from its checkpoint when the same fit is launched again.

        Raises:
            DagsterPipesExecutionError, dagster.Failure: the program failed or could not be run; says why.
        """


def fit_model_of(model: str, launcher: Launcher, context: "dg.AssetExecutionContext") -> FitModel:
    """Where fits of ``model`` run: by ``launcher`` for those of `LAUNCHED`, else in this process."""
    return partial(launcher.fit, context) if model in LAUNCHED else fit_here


def read_fitted(paths: SageMakerPaths, reported: Mapping[str, Any]) -> Fitted:
    """What the ``train`` program left under ``paths``. Raises `BundleError` when the bundle is damaged."""
    importance = paths.output_data / IMPORTANCE_FILE
    return Fitted(
        read_bundle(paths.model).recommender,
        RankerImportance.from_json(importance.read_bytes()) if importance.is_file() else None,
        reported,
    )
