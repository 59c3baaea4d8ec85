"""Popularity: how much each product is wanted, recent interactions counting most.

Put the computation of popularity and trend here; every model uses it for shoppers it does not know. Keep serving of
it in ``lambda_api.recommender.popularity``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.popularity import PopularityRecommender
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_interactions,
    require_positive,
)
from recsys_assets.models.trainer import Report

DEFAULT_HALF_LIFE_DAYS = 7.0


def decayed_popularity(
    data: TrainingData,
    type_weights: Mapping[InteractionType, float],
    half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS,
) -> NDArray[np.float32]:
    """``sum over events of type_weight * 0.5 ** (age / half_life)`` per product, float32 ``[n_products]``.

    ``age`` counts back from ``data.as_of``. ``half_life_days=None`` counts every event alike, whatever its age.
    """
    table = np.zeros(len(InteractionType), dtype=np.float64)
    for kind, weight in type_weights.items():
        table[kind] = weight
    weights = table[data.kind]
    if half_life_days is not None:
        weights = weights * 0.5 ** ((data.as_of - data.timestamp) / (half_life_days * SECONDS_PER_DAY))
    return np.bincount(data.product, weights=weights, minlength=len(data.products)).astype(np.float32)


def trend(
    data: TrainingData,
    type_weights: Mapping[InteractionType, float],
    days: float,
    power: float,
) -> NDArray[np.float32]:
    """``(weighted interactions of the last days + 1) ** power`` per product, float32 ``[n_products]``, >= 1.

    The weights are relative to the largest, so that a product bought ten times counts 10. An item-to-item score times
    this prior follows what sells now; the power tames it, since last week's hits are not next week's. A product nobody
    has touched yet is new rather than unwanted: it gets the mean of the others.
    """
    largest = max(type_weights.values())
    table = np.zeros(len(InteractionType), dtype=np.float64)
    for kind, weight in type_weights.items():
        table[kind] = weight / largest
    recent = data.timestamp >= data.as_of - days * SECONDS_PER_DAY
    counts = np.bincount(data.product[recent], weights=table[data.kind[recent]], minlength=len(data.products))
    prior = (counts + 1.0) ** power
    warm = np.zeros(len(data.products), dtype=bool)
    warm[data.product] = True
    if warm.any():
        prior[~warm] = prior[warm].mean()
    return prior.astype(np.float32)


@dataclass(frozen=True)
class Popularity:
    """Most popular products, decayed: the baseline, and the list of every shopper without history.

    ``popularity[j] = sum over events e of product j of type_weight[e] * 0.5 ** (age[e] / half_life_days)``.
    With ``half_life_days=None`` this is plain counting. Cold shoppers get the same list as everyone; cold products have
    popularity 0 and come last.

    Attributes:
        half_life_days: days after which an interaction counts half; short follows season and fashion.
        type_weights: weight of each interaction type, by label.
    """

    name: ClassVar[str] = "popularity"

    half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        require_positive(half_life_days=self.half_life_days)
        by_type(self.type_weights)

    def fit(self, data: TrainingData, report: Report | None = None) -> PopularityRecommender:
        """Count. Raises ``ValueError`` when no interaction has a weight."""
        weights = by_type(self.type_weights)
        require_interactions(data, weights, self.name)
        return PopularityRecommender(data.products, decayed_popularity(data, weights, self.half_life_days))

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return asdict(self)
