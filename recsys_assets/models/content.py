"""Content similarity: products are alike when they are described alike, whether or not anyone chose them yet.

Put features of products for similarity here. Keep the neighbour search in ``neighbours``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.neighbours import nearest, normalised_rows
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_given,
    require_not_negative,
    require_positive,
    require_whole,
    weighting,
)
from recsys_assets.models.popularity import DEFAULT_HALF_LIFE_DAYS, decayed_popularity, trend
from recsys_assets.models.trainer import Report

PRICE_ANGLE = np.pi / 12
"""Radians per standard deviation of log price: prices six deviations apart are at a right angle, similarity 0."""

MAX_DEVIATIONS = 3.0


@dataclass(frozen=True)
class Content:
    """Cosine similarity of product descriptions.

    A product's vector is four blocks, each of length 1 where the product has the property and 0 where not, times the
    square root of its weight: TF-IDF of the words and word pairs of the name (Salton & Buckley, "Term-weighting
    approaches in automatic text retrieval", 1988), one-hot category, one-hot brand, and the standardised log price as
    an angle, so that the similarity of two prices falls with their distance. The whole vector has length 1; the weight
    from ``i`` to ``j`` is their cosine, kept for the ``neighbours`` largest of each ``i``. A shopper scores
    ``prior[j] * sum_i profile[i] * weight[i, j]`` (`ItemToItemRecommender`).

    Cold shoppers get popular products. Cold products are reached like any other: only their description counts. Works
    on a shop without a single interaction.

    Attributes:
        neighbours: kept per product, the product itself included.
        name_weight, category_weight, brand_weight, price_weight: share of each block in the similarity.
        half_life_days, step_decay: recency decay of the shopper's events; ``None`` and 1 for none.
        trend_days, trend_power: window and exponent of the trend prior; power 0 for none.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: weight of each interaction type, by label.
    """

    name: ClassVar[str] = "content"

    neighbours: int = 500
    name_weight: float = 1.0
    category_weight: float = 0.3
    brand_weight: float = 0.2
    price_weight: float = 0.05
    half_life_days: float | None = 90.0
    step_decay: float = 1.0
    trend_days: float = 14.0
    trend_power: float = 0.7
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        require_given(neighbours=self.neighbours, trend_days=self.trend_days)
        require_whole(neighbours=self.neighbours)
        blocks = (self.name_weight, self.category_weight, self.brand_weight, self.price_weight)
        require_not_negative(
            name_weight=self.name_weight,
            category_weight=self.category_weight,
            brand_weight=self.brand_weight,
            price_weight=self.price_weight,
            trend_power=self.trend_power,
        )
        if not any(blocks):
            raise ValueError(
                "at least one of name_weight, category_weight, brand_weight, price_weight must be positive"
            )
        require_positive(trend_days=self.trend_days, popularity_half_life_days=self.popularity_half_life_days)
        weighting(self.type_weights, self.half_life_days, self.step_decay)

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Describe, then search neighbours.

        Raises:
            ValueError: the catalogue has no product, or none has a name, category, brand or price.
        """
        vectors = self.vectors(data.catalogue)
        if vectors.nnz == 0:
            raise ValueError(
                f"content has nothing to compare: none of {data.catalogue.num_rows} products has a name, category, "
                "brand or price with a positive weight; provide a catalogue or leave this model out"
            )
        weights = by_type(self.type_weights)
        return ItemToItemRecommender(
            data.products,
            decayed_popularity(data, weights, self.popularity_half_life_days),
            nearest(vectors, self.neighbours),
            weighting(self.type_weights, self.half_life_days, self.step_decay),
            trend(data, weights, self.trend_days, self.trend_power) if self.trend_power else None,
        )

    def vectors(self, catalogue: pa.Table) -> sparse.csr_matrix:
        """Unit vectors of the products of a canonical ``catalogue`` table, float32 ``[n_products, features]``."""
        blocks = [
            (self.name_weight, _names(catalogue)),
            (self.category_weight, _one_hot(catalogue, "category")),
            (self.brand_weight, _one_hot(catalogue, "brand")),
            (self.price_weight, _price(catalogue)),
        ]
        scaled = [np.sqrt(weight) * block for weight, block in blocks if weight > 0]
        return normalised_rows(sparse.hstack(scaled, format="csr")).astype(np.float32)

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return asdict(self)


def _names(catalogue: pa.Table) -> sparse.csr_matrix:
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = [name or "" for name in _column(catalogue, "name")]
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode", token_pattern=r"\w+")
    if not any(any(letter.isalnum() for letter in name) for name in names):
        return sparse.csr_matrix((len(names), 0))
    return sparse.csr_matrix(vectoriser.fit_transform(names))


def _one_hot(catalogue: pa.Table, column: str) -> sparse.csr_matrix:
    values = _column(catalogue, column)
    codes = {value: code for code, value in enumerate(sorted({value for value in values if value}))}
    rows = [row for row, value in enumerate(values) if value]
    columns = [codes[values[row]] for row in rows]
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(values), len(codes)))


def _price(catalogue: pa.Table) -> sparse.csr_matrix:
    """Two columns: cosine and sine of the price's angle; empty rows where there is no positive price."""
    price: NDArray[np.float64] = np.array(
        [np.nan if value is None else float(value) for value in _column(catalogue, "price")], dtype=np.float64
    )
    known = np.flatnonzero(np.isfinite(price) & (price > 0))
    if len(known) == 0:
        return sparse.csr_matrix((len(price), 2))
    log_price = np.log(price[known])
    deviation = log_price.std()
    standardised = (log_price - log_price.mean()) / (deviation if deviation > 0 else 1.0)
    angle = PRICE_ANGLE * np.clip(standardised, -MAX_DEVIATIONS, MAX_DEVIATIONS)
    vectors = np.zeros((len(price), 2))
    vectors[known] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return sparse.csr_matrix(vectors)


def _column(catalogue: pa.Table, name: str) -> list[Any]:
    return catalogue[name].to_pylist() if name in catalogue.column_names else [None] * catalogue.num_rows
