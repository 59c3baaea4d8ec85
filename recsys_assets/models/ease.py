"""EASE: the linear item-to-item model with a closed form.

Put its solution and its memory rule here. Keep inverting and pruning in ``ridge``, and scoring in
``lambda_api.recommender.item_to_item``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_given,
    require_interactions,
    require_not_negative,
    require_positive,
    require_whole,
    weighting,
)
from recsys_assets.models.popularity import DEFAULT_HALF_LIFE_DAYS, decayed_popularity, trend
from recsys_assets.models.ridge import inverse, stored
from recsys_assets.models.trainer import Report

GIGABYTE = 1e9

SPARSE_NEIGHBOURS = 500
"""Weights kept per product in shops of more than ``max_products``, where storing all would be gigabytes."""


@dataclass(frozen=True)
class Ease:
    """Embarrassingly shallow autoencoder.

    ``B = argmin |X - X B|^2 + l2 |B|^2`` with zero diagonal, whose solution is ``P = (X'X + l2 I)^-1``,
    ``B[i, j] = -P[i, j] / P[j, j]``, ``B[j, j] = 0``, for the binary shopper x product matrix ``X`` (Steck,
    "Embarrassingly shallow autoencoders for sparse data", WWW 2019). A shopper scores ``prior[j] * sum_i profile[i] *
    B[i, j]`` (`ItemToItemRecommender`), the profile decayed as in `EventWeighting` and the prior as in
    `recsys_assets.models.popularity.trend`.

    Cold shoppers get popular products. Cold products have no weights and are reached only as popular padding; so are
    all but the ``max_products`` products with the most shoppers, because the solution grows with their square.

    Attributes:
        l2: the penalty; larger leans more on popular co-occurrence.
        top_neighbours: keep this many positive weights per product of the past and store them sparsely; ``None``
            keeps all, densely (4 bytes times products squared in the bundle).
        max_products: the solution is found among so many products; a larger catalogue keeps `SPARSE_NEIGHBOURS`
            weights per product unless ``top_neighbours`` says otherwise.
        max_memory_gb: refuse to start when the solution would need more.
        half_life_days, step_decay: recency decay of the shopper's events; ``None`` and 1 for none.
        trend_days, trend_power: window and exponent of the trend prior; power 0 for none.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: weight of each interaction type in the profile, by label; types with weight 0 are not in ``X``.
    """

    name: ClassVar[str] = "ease"

    l2: float = 400.0
    top_neighbours: int | None = None
    max_products: int = 12_000
    max_memory_gb: float = 4.0
    half_life_days: float | None = 90.0
    step_decay: float = 1.0
    trend_days: float = 14.0
    trend_power: float = 0.5
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        require_given(l2=self.l2, max_memory_gb=self.max_memory_gb, trend_days=self.trend_days)
        require_positive(
            l2=self.l2,
            max_memory_gb=self.max_memory_gb,
            trend_days=self.trend_days,
            popularity_half_life_days=self.popularity_half_life_days,
        )
        require_given(max_products=self.max_products)
        require_whole(top_neighbours=self.top_neighbours, max_products=self.max_products)
        require_not_negative(trend_power=self.trend_power)
        weighting(self.type_weights, self.half_life_days, self.step_decay)

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Invert once.

        Raises:
            ValueError: no interaction has a weight, or the products need more than ``max_memory_gb``.
        """
        weights = by_type(self.type_weights)
        require_interactions(data, weights, self.name)
        matrix = data.matrix(weights, binary=True).astype(np.float64)
        shoppers = np.diff(matrix.tocsc().indptr)
        busiest = np.argsort(-shoppers, kind="stable")[: self.max_products]
        warm = np.sort(busiest[shoppers[busiest] > 0]).astype(np.int32)
        neighbours = self.top_neighbours
        if neighbours is None and len(data.products) > self.max_products:
            neighbours = SPARSE_NEIGHBOURS
        self._require_memory(len(warm), len(data.products), neighbours)
        solution = ease_weights((matrix[:, warm].T @ matrix[:, warm]).toarray(), self.l2)
        return ItemToItemRecommender(
            data.products,
            decayed_popularity(data, weights, self.popularity_half_life_days),
            stored(solution, warm, len(data.products), neighbours),
            weighting(self.type_weights, self.half_life_days, self.step_decay),
            trend(data, weights, self.trend_days, self.trend_power) if self.trend_power else None,
        )

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return asdict(self)

    def _require_memory(self, warm: int, products: int, neighbours: int | None) -> None:
        # Gramian and its sparse origin, the inverse, and the weights as stored.
        needed = (20.0 * warm**2 + (0.0 if neighbours else 4.0 * products**2)) / GIGABYTE
        if needed > self.max_memory_gb:
            raise ValueError(
                f"ease would need {needed:.1f} GB for {warm:,} products with interactions (of {products:,}), more than "
                f"max_memory_gb={self.max_memory_gb:g}: raise it, lower max_products, shorten the data window, set "
                "top_neighbours to store fewer weights, or use item_knn or matrix_factorisation, which grow with the "
                "interactions instead"
            )


def ease_weights(gramian: NDArray[np.float64], l2: float) -> NDArray[np.float32]:
    """``B`` of `Ease` from ``X'X`` (float64 ``[n, n]``, overwritten). Raises ``ValueError``: see `inverse`."""
    inverted = inverse(gramian, l2, "ease")
    inverted /= -np.diag(inverted).copy()
    weights = inverted.astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights
