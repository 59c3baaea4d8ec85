"""The contract of a trainer: parameters in, fitted recommender out.

Put what every trainer shares here. Keep each model's mathematics in its own module beside this file.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from lambda_api.recommender.contract import Recommender
from recsys_assets.models.dataset import TrainingData

Report = Callable[[str, float], None]
"""Receives progress while fitting: a metric's name and its newest value (``("epoch", 3)``, ``("loss", 0.21)``)."""


class Trainer(Protocol):
    """A model family with its hyper-parameters: a frozen dataclass whose fields are JSON-able and validated.

    ``fit`` reads nothing but ``data`` and its own fields, so that equal input gives an equal recommender.
    """

    name: ClassVar[str]
    """Snake-case name: ``popularity``, ``item_knn``, ``ease``, ``matrix_factorisation``, ``ncf``, ``content``."""

    def fit(self, data: TrainingData, report: Report | None = None) -> Recommender:
        """Fit on ``data``. Raises ``ValueError`` naming the cause when the data cannot carry this model."""

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able; ``type(self)(**parameters())`` is an equal trainer."""
