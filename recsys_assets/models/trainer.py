"""The contract of a trainer: parameters in, fitted recommender out."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from lambda_api.errors import RecsysError
from lambda_api.recommender.contract import Recommender
from recsys_assets.models.dataset import TrainingData

Report = Callable[[str, float], None]
"""Receives progress while fitting: a metric's name and its newest value (``("epoch", 3)``, ``("loss", 0.21)``)."""


class Diverged(RecsysError, ValueError):
    """Numbers did not stay finite while fitting."""


class Trainer(Protocol):
    """A model family with its hyper-parameters: a frozen dataclass whose fields are JSON-able and validated.

    ``fit`` reads ``data`` and its own fields only, so that equal input gives an equal recommender.
    """

    name: ClassVar[str]
    """Its key in `recsys_assets.models.zoo.TRAINERS`, such as ``item_knn``."""

    def fit(self, data: TrainingData, report: Report | None = None) -> Recommender:
        """Fit on ``data``. Raises ``ValueError`` naming the cause when this model cannot learn from the data."""

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able; ``type(self)(**parameters())`` is an equal trainer."""
