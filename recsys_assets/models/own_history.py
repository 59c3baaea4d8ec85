"""Own history: what the shopper has taken most often, then what goes with it. The baseline where buying again counts.

Put the model's parameters and its weights here. Keep EASE itself in ``ease``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import SparseWeights
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ease import Ease
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_interactions,
    require_not_negative,
    require_positive,
    require_whole,
    weighting,
)
from recsys_assets.models.popularity import DEFAULT_HALF_LIFE_DAYS, decayed_popularity
from recsys_assets.models.trainer import Report


@dataclass(frozen=True)
class OwnHistory:
    """``W = I + ease_weight * E``: a shopper's own products by decayed frequency, and EASE for the rest.

    A profile adds up all events of a product, so with ``ease_weight=0`` this is "what you buy most". ``E`` are the
    largest positive weights of `recsys_assets.models.ease.Ease`; they are far below 1, so that own products come
    first. Nothing else beats it easily in shops where people buy the same things again.

    Cold shoppers get popular products. Cold products are reached only as popular padding.

    Attributes:
        ease_weight: share of ``E``; 0 for none.
        neighbours: weights of ``E`` kept per product.
        linear_products: ``E`` is solved among so many products, those with the most events.
        half_life_days, step_decay: recency decay of the shopper's events; ``None`` and 1 for none.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: weight of each interaction type in the profile, by label.
    """

    name: ClassVar[str] = "own_history"

    ease_weight: float = 1.0
    neighbours: int = 200
    linear_products: int = 5_000
    half_life_days: float | None = 3650.0
    step_decay: float = 1.0
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        require_not_negative(ease_weight=self.ease_weight)
        require_whole(neighbours=self.neighbours, linear_products=self.linear_products)
        require_positive(popularity_half_life_days=self.popularity_half_life_days)
        weighting(self.type_weights, self.half_life_days, self.step_decay, "sum")

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Solve EASE once, where it has a weight. Raises ``ValueError`` when no interaction has a weight."""
        weights = by_type(self.type_weights)
        require_interactions(data, weights, self.name)
        return ItemToItemRecommender(
            data.products,
            decayed_popularity(data, weights, self.popularity_half_life_days),
            self._weights(data),
            weighting(self.type_weights, self.half_life_days, self.step_decay, "sum"),
        )

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return asdict(self)

    def _weights(self, data: TrainingData) -> SparseWeights:
        size = len(data.products)
        total = sparse.identity(size, dtype=np.float32, format="csr")
        if self.ease_weight:
            unlimited = 1.0 + self.linear_products**2  # whoever asks has decided how many are few enough
            trainer = Ease(top_neighbours=self.neighbours, trend_power=0.0, max_memory_gb=unlimited)
            ease = trainer.fit(data.of_most_touched(self.linear_products)).weights
            assert isinstance(ease, SparseWeights), "only some neighbours are kept"
            shared = sparse.csr_matrix((ease.data, ease.indices, ease.indptr), shape=(size, size))
            total = (total + self.ease_weight * shared).tocsr()
        total.sort_indices()
        return SparseWeights(
            total.indptr.astype(np.int64), total.indices.astype(np.int32), total.data.astype(np.float32)
        )
