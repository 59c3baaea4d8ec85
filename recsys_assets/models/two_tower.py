"""The two-tower model: embedding retrieval of what a shopper will touch next and has not touched yet.

Put the model's parameters and what products are described by here. Keep torch (``two_tower_fit``) out.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.recommender.two_tower import TwoTowerRecommender
from recsys_assets.models.attributes import attribute_vectors
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_given,
    require_interactions,
    require_not_negative,
    require_positive,
    require_whole,
)
from recsys_assets.models.popularity import DEFAULT_HALF_LIFE_DAYS
from recsys_assets.models.trainer import Report


@dataclass(frozen=True)
class TwoTower:
    """A shopper tower and product vectors, trained by cross entropy over all products (`TwoTowerRecommender`).

    At random moments of the past the network is asked which products the shopper, given the events before, touched
    within a horizon after it for the first time. The softmax runs over every product; in large catalogues over sampled
    ones with the log-Q correction. Products start from their description (category, brand, words of the name,
    reduced by a singular value decomposition) plus a vector of their own.

    Attributes:
        size: of the vectors; heads: of the attention over events.
        described_by: dimensions of the reduced description; 0 for ids alone.
        horizon_days: how far ahead a target may lie.
        dropout, learning_rate, weight_decay, batch_size: of the training (AdamW).
        epochs: at most; with ``patience`` > 0 as many as told the newest horizon best, tried until so many in a
            row did not.
        sampled_products: draws per batch where the catalogue has more than twice as many products.
        most_samples: moments learned from; a larger log is thinned evenly.
        threads: of torch while fitting; the last bits of a model depend on it.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: grade of a target by interaction type, by label; types with weight 0 are no target.
    """

    name: ClassVar[str] = "two_tower"

    size: int = 64
    heads: int = 4
    described_by: int = 64
    horizon_days: float = 20.0
    dropout: float = 0.2
    learning_rate: float = 0.003
    weight_decay: float = 0.001
    batch_size: int = 128
    epochs: int = 10
    patience: int = 2
    sampled_products: int = 4096
    most_samples: int = 40_000
    seed: int = 0
    threads: int = 1
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        require_given(horizon_days=self.horizon_days, learning_rate=self.learning_rate)
        require_whole(
            size=self.size,
            heads=self.heads,
            batch_size=self.batch_size,
            epochs=self.epochs,
            sampled_products=self.sampled_products,
            most_samples=self.most_samples,
            threads=self.threads,
        )
        require_positive(
            horizon_days=self.horizon_days,
            learning_rate=self.learning_rate,
            popularity_half_life_days=self.popularity_half_life_days,
        )
        require_not_negative(dropout=self.dropout, weight_decay=self.weight_decay)
        for name in ("described_by", "patience", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number >= 0, not {value!r}")
        if self.dropout >= 1:
            raise ValueError(f"dropout must be below 1, not {self.dropout!r}")
        by_type(self.type_weights)

    def fit(self, data: TrainingData, report: Report | None = None) -> TwoTowerRecommender:
        """Choose the number of epochs, train on everything, export and check the export.

        Reports ``validation_recall`` while choosing, and ``loss`` and ``epoch`` throughout.

        Raises:
            ValueError: nobody touched anything after something else (`NothingToLearn`), or the loss did not stay
                finite.
            ExportError: ONNX Runtime does not reproduce torch's vectors.
        """
        from recsys_assets.models.two_tower_fit import trained_towers

        require_interactions(data, by_type(self.type_weights), self.name)
        content = described(data.catalogue, self.described_by, self.seed)
        return trained_towers(self, data, content, report or (lambda name, value: None))[0]

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return asdict(self)


def described(catalogue: pa.Table, size: int, seed: int) -> NDArray[np.float32]:
    """Descriptions reduced to at most ``size`` dimensions, float32 ``[n_products, <= size]``, rows of length 1 or 0."""
    vectors = attribute_vectors(catalogue)
    size = min(size, min(vectors.shape) - 1)
    if size < 1 or vectors.nnz == 0:
        return np.zeros((vectors.shape[0], 0), dtype=np.float32)
    from sklearn.utils.extmath import randomized_svd

    left, strength, _ = randomized_svd(vectors, size, random_state=seed)
    reduced = left * strength
    lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, reduced / np.maximum(lengths, 1e-6), 0.0).astype(np.float32)
