"""Content similarity: products are similar when their descriptions are; works without interactions."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from recsys_assets.models.dataset import EVENTS_PER_SHOPPER, TrainingData, codes_of, column, prices
from recsys_assets.models.neighbours import nearest, normalised_rows, without_common
from recsys_assets.models.parameters import (
    STRICT,
    NothingToLearn,
    NotNegative,
    ProfileParameters,
    TrendParameters,
    Whole,
)
from recsys_assets.models.popularity import item_to_item
from recsys_assets.models.trainer import Report

PRICE_ANGLE = np.pi / 12
"""Radians per standard deviation of log price: two prices six deviations apart have similarity 0."""

MAX_DEVIATIONS = 3.0

MOST_PAIRS = 1_000_000_000
"""Pairs of products that share a property, counted once per property: about half a minute of one core. From some 20,000
products on, what most of them share is left out of the comparison: prices first, then the commonest words."""


@dataclass(frozen=True, config=STRICT)
class Content(ProfileParameters, TrendParameters):
    """Cosine similarity of product descriptions.

    A product's vector is four blocks, each of length 1 where the product has the property and 0 where not, times the
    square root of its weight: TF-IDF of the words and word pairs of the name (Salton & Buckley, "Term-weighting
    approaches in automatic text retrieval", 1988), one-hot category, one-hot brand, and the standardised log price as
    an angle, so that the similarity of two prices falls with their distance. The whole vector has length 1; the weight
    from ``i`` to ``j`` is their cosine, kept for the ``neighbours`` largest of each ``i``. A shopper scores
    ``prior[j] * sum_i profile[i] * weight[i, j]`` (`ItemToItemRecommender`).

    Cold shoppers get popular products. Cold products are scored like all others. Works without any interaction.

    Attributes:
        neighbours: kept per product, the product itself included.
        name_weight, category_weight, brand_weight, price_weight: share of each block in the similarity.
    """

    name: ClassVar[str] = "content"

    neighbours: Whole = 500
    name_weight: NotNegative = 1.0
    category_weight: NotNegative = 0.3
    brand_weight: NotNegative = 0.2
    price_weight: NotNegative = 0.05
    trend_power: NotNegative = 0.7

    @model_validator(mode="after")
    def _described(self) -> Self:
        if not any((self.name_weight, self.category_weight, self.brand_weight, self.price_weight)):
            raise ValueError(
                "at least one of name_weight, category_weight, brand_weight, price_weight must be positive"
            )
        return self

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Describe, then search neighbours.

        Raises:
            NothingToLearn: the catalogue has no product, or none has a name, category, brand or price.
        """
        data = data.newest_of_each_user(EVENTS_PER_SHOPPER)
        vectors = self.vectors(data.catalogue)
        if vectors.nnz == 0:
            raise NothingToLearn(
                f"content has nothing to compare: none of {data.catalogue.num_rows} products has a name, category, "
                "brand or price with a positive weight",
                remedy="provide a catalogue or leave this model out",
            )
        return item_to_item(data, self, nearest(without_common(vectors, MOST_PAIRS), self.neighbours), self.weighting())

    def vectors(self, catalogue: pa.Table) -> sparse.csr_matrix:
        """Unit vectors of the products of a canonical ``catalogue`` table, float32 ``[n_products, features]``."""
        blocks = [
            (self.name_weight, _names(catalogue)),
            (self.category_weight, _one_hot(column(catalogue, "category"))),
            (self.brand_weight, _one_hot(column(catalogue, "brand"))),
            (self.price_weight, _price(catalogue)),
        ]
        scaled = [np.sqrt(weight) * block for weight, block in blocks if weight > 0]
        return normalised_rows(sparse.hstack(scaled, format="csr")).astype(np.float32)


def _names(catalogue: pa.Table) -> sparse.csr_matrix:
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = [name or "" for name in column(catalogue, "name")]
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode", token_pattern=r"\w+")
    if not any(any(letter.isalnum() for letter in name) for name in names):
        return sparse.csr_matrix((len(names), 0))
    return sparse.csr_matrix(vectoriser.fit_transform(names))


def _one_hot(values: Sequence[str | None]) -> sparse.csr_matrix:
    codes = codes_of(values)
    rows = np.flatnonzero(codes >= 0)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, codes[rows])), shape=(len(codes), codes.max(initial=-1) + 1))


def _price(catalogue: pa.Table) -> sparse.csr_matrix:
    """Two columns: cosine and sine of the price's angle; empty rows where there is no positive price."""
    price = prices(catalogue)
    known = np.flatnonzero(np.isfinite(price))
    if len(known) == 0:
        return sparse.csr_matrix((len(price), 2))
    log_price = np.log(price[known])
    deviation = log_price.std()
    standardised = (log_price - log_price.mean()) / (deviation if deviation > 0 else 1.0)
    angle = PRICE_ANGLE * np.clip(standardised, -MAX_DEVIATIONS, MAX_DEVIATIONS)
    vectors = np.zeros((len(price), 2))
    vectors[known] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return sparse.csr_matrix(vectors)
