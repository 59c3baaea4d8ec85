"""Item-kNN: products are alike when the same shoppers chose them.

Put weighting of the interaction matrix for neighbour models here. Keep the neighbour search in ``neighbours``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.neighbours import nearest, normalised_rows
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
from recsys_assets.models.trainer import Report


@dataclass(frozen=True)
class ItemKnn:
    """Item-based nearest neighbours with recency decay at inference.

    The product x shopper matrix ``R`` (one per pair, or type weights summed where ``binary`` is off) is weighted:

    * ``bm25``: ``r (k1 + 1) / (r + k1 (1 - b + b |j| / mean|j|)) * log(n_products / (1 + df_u))``, where ``|j|`` is the
      total of product ``j`` and ``df_u`` the number of products of shopper ``u`` (Robertson & Zaragoza, "The
      probabilistic relevance framework: BM25 and beyond", 2009: products are documents, shoppers are terms);
    * ``tfidf``: ``sqrt(r) * log(n_products / (1 + df_u))``, rows then of length 1;
    * ``cosine``: rows of length 1 (Sarwar et al., "Item-based collaborative filtering", WWW 2001).

    The weight from product ``i`` to ``j`` is the inner product of their rows, kept for the ``neighbours`` largest of
    each ``i``. These are the formulas of the implicit library's neighbour models, and the weights equal theirs. A
    shopper scores ``prior[j] * sum_i profile[i] * weight[i, j]`` (`ItemToItemRecommender`), the profile decayed as in
    `EventWeighting` and the prior as in `recsys_assets.models.popularity.trend`.

    Cold shoppers get popular products. Cold products have no neighbours and are reached only as popular padding.

    Attributes:
        scheme: weighting of the matrix.
        neighbours: kept per product, the product itself included.
        k1, b: BM25 saturation and length normalisation. The defaults normalise harder than the values customary for
            text (1.2 and 0.75): they take popularity of all time out and leave it to the trend prior to bring in
            popularity of now. With the prior off, use the customary ones.
        binary: count a shopper-product pair once, however often it occurred.
        half_life_days, step_decay: recency decay of the shopper's events; ``None`` and 1 for none.
        trend_days, trend_power: window and exponent of the trend prior; power 0 for none.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: weight of each interaction type, by label.
    """

    name: ClassVar[str] = "item_knn"

    scheme: Literal["bm25", "tfidf", "cosine"] = "bm25"
    neighbours: int = 500
    k1: float = 5.0
    b: float = 0.9
    binary: bool = True
    half_life_days: float | None = 90.0
    step_decay: float = 1.0
    trend_days: float = 14.0
    trend_power: float = 0.5
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        if self.scheme not in ("bm25", "tfidf", "cosine"):
            raise ValueError(f"scheme must be 'bm25', 'tfidf' or 'cosine', not {self.scheme!r}")
        require_given(neighbours=self.neighbours, trend_days=self.trend_days)
        require_whole(neighbours=self.neighbours)
        require_not_negative(k1=self.k1, trend_power=self.trend_power)
        if not 0 <= self.b <= 1:
            raise ValueError(f"b must be between 0 and 1, not {self.b!r}")
        require_positive(trend_days=self.trend_days, popularity_half_life_days=self.popularity_half_life_days)
        weighting(self.type_weights, self.half_life_days, self.step_decay)

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Weight, then search neighbours. Raises ``ValueError`` when no interaction has a weight."""
        weights = by_type(self.type_weights)
        require_interactions(data, weights, self.name)
        rows = self._weighted(data.matrix(weights, binary=self.binary))
        return ItemToItemRecommender(
            data.products,
            decayed_popularity(data, weights, self.popularity_half_life_days),
            nearest(rows, self.neighbours),
            weighting(self.type_weights, self.half_life_days, self.step_decay, "max" if self.binary else "sum"),
            trend(data, weights, self.trend_days, self.trend_power) if self.trend_power else None,
        )

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return asdict(self)

    def _weighted(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        """The weighted product x shopper matrix, float64 ``[n_products, n_users]``."""
        counts = matrix.T.tocoo().astype(np.float64)
        if self.scheme == "cosine":
            return normalised_rows(counts.tocsr())
        products, users = counts.shape
        document_frequency = np.bincount(counts.col, minlength=users)
        inverse_frequency = np.log(products) - np.log1p(document_frequency)
        if self.scheme == "tfidf":
            value = np.sqrt(counts.data) * inverse_frequency[counts.col]
            return normalised_rows(sparse.csr_matrix((value, (counts.row, counts.col)), shape=counts.shape))
        length = np.asarray(counts.sum(axis=1)).ravel()
        saturation = self.k1 * ((1.0 - self.b) + self.b * length / length.mean())
        value = counts.data * (self.k1 + 1.0) / (saturation[counts.row] + counts.data) * inverse_frequency[counts.col]
        return sparse.csr_matrix((value, (counts.row, counts.col)), shape=counts.shape)
