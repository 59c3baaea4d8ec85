"""EASE: the linear item-to-item model with a closed form."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import STRICT, Days, Positive, ProfileParameters, TrendParameters, Whole
from recsys_assets.models.popularity import item_to_item
from recsys_assets.models.ridge import busiest, inverse, neighbours_kept, require_memory, stored
from recsys_assets.models.trainer import Report


@dataclass(frozen=True, config=STRICT)
class Ease(ProfileParameters, TrendParameters):
    """Embarrassingly shallow autoencoder.

    ``B = argmin |X - X B|^2 + l2 |B|^2`` with zero diagonal, whose solution is ``P = (X'X + l2 I)^-1``,
    ``B[i, j] = -P[i, j] / P[j, j]``, ``B[j, j] = 0``, for the binary shopper x product matrix ``X`` (Steck,
    "Embarrassingly shallow autoencoders for sparse data", WWW 2019). A shopper scores ``prior[j] * sum_i profile[i] *
    B[i, j]`` (`ItemToItemRecommender`), the profile decayed as in `EventWeighting` and the prior as in
    `recsys_assets.models.popularity.trend`.

    Cold shoppers get popular products. Cold products have no weights and are listed only as popular padding. The same
    holds for all but the ``max_products`` products with the most shoppers, because the cost grows with their square.

    Attributes:
        l2: the penalty; a larger one favours popular co-occurrence.
        top_neighbours: keep so many positive weights per product, sparsely; ``None`` keeps all, densely (4 bytes times
            products squared in the bundle), or `SPARSE_NEIGHBOURS` in a catalogue larger than ``max_products``.
        max_products: the solution is computed among so many products.
        max_memory_gb: refuse to start when the solution would need more.
        event_half_life_days: age, counted back from the end of the data, at which an entry of ``X`` counts half;
            ``None`` for no decay.
    """

    name: ClassVar[str] = "ease"

    l2: Positive = 400.0
    top_neighbours: Whole | None = None
    max_products: Whole = 12_000
    max_memory_gb: Positive = 4.0
    event_half_life_days: Days = None

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Invert once.

        Raises:
            NothingToLearn: no interaction has a weight.
            ModelTooLarge: the products need more than ``max_memory_gb``.
        """
        data = self.learnable(data)
        matrix = data.matrix(self.weights, binary=True, half_life_days=self.event_half_life_days).astype(np.float64)
        warm = busiest(matrix, self.max_products)
        neighbours = neighbours_kept(self.top_neighbours, len(data.products), self.max_products)
        # Gramian and its sparse origin, the inverse, and the weights as stored.
        needed = 20.0 * len(warm) ** 2 + (0.0 if neighbours else 4.0 * len(data.products) ** 2)
        require_memory(self.name, needed, self.max_memory_gb, len(warm), len(data.products))
        solution = ease_weights((matrix[:, warm].T @ matrix[:, warm]).toarray(), self.l2)
        return item_to_item(data, self, stored(solution, warm, len(data.products), neighbours), self.weighting())


def ease_weights(gramian: NDArray[np.float64], l2: float) -> NDArray[np.float32]:
    """``B`` of `Ease` from ``X'X`` (float64 ``[n, n]``, overwritten). Raises ``ValueError``: see `inverse`."""
    inverted = inverse(gramian, l2, "ease")
    inverted /= -np.diag(inverted).copy()
    weights = inverted.astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights
