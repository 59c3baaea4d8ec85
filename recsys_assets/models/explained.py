"""Access to the trees of a learned ranker while it is fitted, for explanations.

A bundle holds a ranker as arrays, without the gains and row counts of the nodes that explanations
(``recsys_assets.measurement.importance``) need; only the LightGBM trees have them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import Recommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.trainer import Report

if TYPE_CHECKING:
    from lightgbm import Booster


@dataclass(frozen=True)
class FittedRanker:
    """``score = sum of weight * trees + sum of weight * feature``, and example rows.

    Attributes:
        names: of the ``F`` features, in the order of the columns.
        features: float32 ``[n, F]``, of candidates of some shoppers.
        trees: weight and native model of each set of trees over all ``F`` features; empty where the log was too short
            to learn from.
        columns: weight by feature column.
    """

    names: tuple[str, ...]
    features: NDArray[np.float32] = field(repr=False)
    trees: "tuple[tuple[float, Booster], ...]" = field(default=(), repr=False)
    columns: Mapping[int, float] = field(default_factory=dict)


Explain = Callable[[FittedRanker], None]
"""Called with a ranker while it is fitted, at most once; must not keep references to it."""


@runtime_checkable
class ExplainedTrainer(Protocol):
    """A trainer that gives access to its ranker."""

    def fit_explained(self, data: TrainingData, report: Report | None, explain: Explain) -> Recommender:
        """As `Trainer.fit`; calls ``explain`` with the ranker, unless there are no rows."""
