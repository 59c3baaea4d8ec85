"""Own history: a shopper's most frequent products, then products related to them; a baseline for repeat purchases."""

from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import SparseWeights
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ease import Ease
from recsys_assets.models.parameters import STRICT, Days, NotNegative, ProfileParameters, Whole
from recsys_assets.models.popularity import decayed_popularity
from recsys_assets.models.trainer import Report


@dataclass(frozen=True, config=STRICT)
class OwnHistory(ProfileParameters):
    """``W = I + ease_weight * E``: a shopper's own products by decayed frequency, and EASE for the rest.

    A profile adds up all events of a product, so with ``ease_weight=0`` this is "what you buy most". ``E`` are the
    largest positive weights of `recsys_assets.models.ease.Ease`; they are far below 1, so that own products come
    first. A strong baseline in shops where people buy the same things again.

    Cold shoppers get popular products. Cold products are reached only as popular padding.

    Attributes:
        ease_weight: share of ``E``; 0 for none.
        neighbours: weights of ``E`` kept per product.
        linear_products: ``E`` is solved among so many products, those with the most events.
        event_half_life_days: age, counted back from the end of the data, at which an event of ``E`` counts
            half; ``None`` for no decay.
    """

    name: ClassVar[str] = "own_history"

    ease_weight: NotNegative = 1.0
    neighbours: Whole = 200
    linear_products: Whole = 5_000
    half_life_days: Days = 3650.0
    event_half_life_days: Days = None

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Solve EASE once, where it has a weight. Raises `NothingToLearn` when no interaction has a weight."""
        data = self.learnable(data)
        return ItemToItemRecommender(
            data.products,
            decayed_popularity(data, self.weights, self.popularity_half_life_days),
            self._item_weights(data),
            self.weighting("sum"),
        )

    def _item_weights(self, data: TrainingData) -> SparseWeights:
        size = len(data.products)
        total = sparse.identity(size, dtype=np.float32, format="csr")
        if self.ease_weight:
            trainer = Ease(
                top_neighbours=self.neighbours,
                trend_power=0.0,
                max_memory_gb=1.0 + self.linear_products**2,  # no limit but linear_products
                event_half_life_days=self.event_half_life_days,
            )
            ease = trainer.fit(data.of_most_touched(self.linear_products)).weights
            assert isinstance(ease, SparseWeights)
            shared = sparse.csr_matrix((ease.data, ease.indices, ease.indptr), shape=(size, size))
            total = (total + self.ease_weight * shared).tocsr()
        total.sort_indices()
        return SparseWeights(
            total.indptr.astype(np.int64), total.indices.astype(np.int32), total.data.astype(np.float32)
        )
