"""What a trainer with a learned ranker hands to whoever wants to explain it, while its trees still exist.

Put the seam between fitting a ranker and explaining it here. Keep explanations
(``recsys_assets.measurement.importance``) and the ranker's own form (``hybrid_ranker``, ``hybrid_mixture``) out.

A bundle holds a ranker as an ONNX graph, which knows neither gains nor how many rows went through a node; both are in
the trees themselves, which are gone once the bundle is written.
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
    """``score = sum of weight * trees + sum of weight * feature``, with rows to look at it by.

    Attributes:
        names: of the ``F`` features, in the order of the columns.
        features: float32 ``[n, F]``, as the ranker is asked: candidates of some shoppers.
        trees: weight and native model of each set of trees, every one over all ``F`` features; none where the log was
            too short to learn from.
        columns: weight by feature column.
    """

    names: tuple[str, ...]
    features: NDArray[np.float32] = field(repr=False)
    trees: "tuple[tuple[float, Booster], ...]" = field(default=(), repr=False)
    columns: Mapping[int, float] = field(default_factory=dict)


Explain = Callable[[FittedRanker], None]
"""Looks at a ranker while it is fitted; called at most once, and must keep nothing of it."""


@runtime_checkable
class ExplainedTrainer(Protocol):
    """A trainer whose ranker can be looked at."""

    def fit_explained(self, data: TrainingData, report: Report | None, explain: Explain) -> Recommender:
        """As `Trainer.fit`, showing the ranker to ``explain``; not called where there are no rows to look at."""
