"""Popularity and trend of products, and the popularity model.

Every model serves popular products to shoppers it does not know.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from lambda_api.interactions import InteractionType
from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import ItemWeights
from lambda_api.recommender.popularity import PopularityRecommender
from lambda_api.recommender.profiles import SECONDS_PER_DAY, EventWeighting
from recsys_assets.models.dataset import TrainingData, type_table
from recsys_assets.models.parameters import (
    DEFAULT_HALF_LIFE_DAYS,
    STRICT,
    Days,
    TrainerParameters,
    TrendParameters,
)
from recsys_assets.models.trainer import Report


def decayed_popularity(
    data: TrainingData,
    type_weights: Mapping[InteractionType, float],
    half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS,
) -> NDArray[np.float32]:
    """`TrainingData.event_weights` summed per product, float32 ``[n_products]``."""
    weights = data.event_weights(type_weights, half_life_days)
    return np.bincount(data.product, weights=weights, minlength=len(data.products)).astype(np.float32)


def trend(
    data: TrainingData,
    type_weights: Mapping[InteractionType, float],
    days: float,
    power: float,
) -> NDArray[np.float32]:
    """``(weighted interactions of the last days + 1) ** power`` per product, float32 ``[n_products]``, >= 1.

    The weights are relative to the largest, so that a product bought ten times counts 10. Multiplied with the scores
    of an item-to-item model, it favours what sells now. A product without events is new rather than unwanted: it gets
    the mean of the others.
    """
    recent = data.timestamp >= data.as_of - days * SECONDS_PER_DAY
    weights = type_table(type_weights, relative=True)[data.kind[recent]]
    prior = (np.bincount(data.product[recent], weights=weights, minlength=len(data.products)) + 1.0) ** power
    warm = np.zeros(len(data.products), dtype=bool)
    warm[data.product] = True
    if warm.any():
        prior[~warm] = prior[warm].mean()
    return prior.astype(np.float32)


def item_to_item(
    data: TrainingData, trainer: TrendParameters, weights: ItemWeights, weighting: EventWeighting
) -> ItemToItemRecommender:
    """A recommender of item-to-item ``weights``, with the popularity and the trend of ``data``."""
    by_type = trainer.weights
    return ItemToItemRecommender(
        data.products,
        decayed_popularity(data, by_type, trainer.popularity_half_life_days),
        weights,
        weighting,
        trend(data, by_type, trainer.trend_days, trainer.trend_power) if trainer.trend_power else None,
    )


@dataclass(frozen=True, config=STRICT)
class Popularity(TrainerParameters):
    """Most popular products, decayed: the baseline, and the list of every shopper without history.

    ``popularity[j] = sum over events e of product j of type_weight[e] * 0.5 ** (age[e] / half_life_days)``.
    With ``half_life_days=None`` this is plain counting. All shoppers get the same list; cold products have popularity
    0 and come last.

    Attributes:
        half_life_days: days after which an interaction counts half; short ones follow season and fashion.
    """

    name: ClassVar[str] = "popularity"

    half_life_days: Days = DEFAULT_HALF_LIFE_DAYS

    def fit(self, data: TrainingData, report: Report | None = None) -> PopularityRecommender:
        """Count. Raises `NothingToLearn` when no interaction has a weight."""
        data = self.learnable(data)
        return PopularityRecommender(data.products, decayed_popularity(data, self.weights, self.half_life_days))
