"""Item-kNN: products are similar when the same shoppers chose them."""

from typing import ClassVar, Literal

import numpy as np
from pydantic.dataclasses import dataclass
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import SparseWeights
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.log_counts import bm25_graph
from recsys_assets.models.neighbours import nearest, normalised_rows
from recsys_assets.models.parameters import (
    STRICT,
    Days,
    NotNegative,
    ProfileParameters,
    Share,
    TrendParameters,
    Whole,
)
from recsys_assets.models.popularity import item_to_item
from recsys_assets.models.trainer import Report

LARGE_LOG = 20_000_000
"""Events above which DuckDB computes the BM25 graph out of core; below, numpy takes half the CPU time."""


@dataclass(frozen=True, config=STRICT)
class ItemKnn(ProfileParameters, TrendParameters):
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
        k1, b: BM25 saturation and length normalisation. The defaults normalise more than the values customary for
            text (1.2 and 0.75): they remove popularity of all time, and the trend brings in popularity of now. Without
            the trend, use the customary ones.
        binary: count a shopper-product pair once, however often it occurred.
        event_half_life_days: age, counted back from the end of the data, at which an event of the training log counts
            half; ``None`` for no decay.
    """

    name: ClassVar[str] = "item_knn"

    scheme: Literal["bm25", "tfidf", "cosine"] = "bm25"
    neighbours: Whole = 500
    k1: NotNegative = 5.0
    b: Share = 0.9
    binary: bool = True
    event_half_life_days: Days = None

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Weight, then search neighbours. Raises `NothingToLearn` when no interaction has a weight."""
        data = self.learnable(data)
        return item_to_item(data, self, self._graph(data), self.weighting("max" if self.binary else "sum"))

    def _graph(self, data: TrainingData) -> SparseWeights:
        if self.scheme == "bm25" and len(data.kind) > LARGE_LOG:
            return bm25_graph(
                data,
                self.weights,
                binary=self.binary,
                k1=self.k1,
                b=self.b,
                neighbours=self.neighbours,
                half_life_days=self.event_half_life_days,
            )
        matrix = data.matrix(self.weights, binary=self.binary, half_life_days=self.event_half_life_days)
        return nearest(self.weighted(matrix), self.neighbours)

    def weighted(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
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
