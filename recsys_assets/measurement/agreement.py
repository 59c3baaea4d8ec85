"""Agreement of two recommenders: how much their top-k lists overlap for the same shoppers."""

from dataclasses import dataclass

import numpy as np

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.ids import IndexArray
from recsys_assets.measurement.metrics import FloatArray
from recsys_assets.measurement.translation import recommended_lists
from recsys_assets.models.dataset import TrainingData

SHOPPERS = 1_000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Mean overlap of the lists of ``shoppers``: shared products over the length of the longer list, in [0, 1]."""

    overlap: float
    shoppers: int


def list_agreement(
    first: Recommender,
    second: Recommender,
    log: TrainingData,
    k: int,
    *,
    consumed: frozenset[InteractionType] = frozenset(),
    shoppers: int = SHOPPERS,
) -> Agreement:
    """Ask both for ``k`` products on the same histories; only products that both know may be listed.

    Args:
        first, second: the models.
        log: histories of the shoppers, up to the moment of the question.
        k: length of the lists.
        consumed: products with an event of these types are not listed again.
        shoppers: size of the sample; ids are numbered by their digests, so the first ones are a random sample.
    """
    users = np.unique(log.user)[:shoppers]
    histories = log.histories_of(users)
    exclude = histories.distinct_products(consumed)
    every = log.products.external(np.arange(len(log.products)))
    shared = np.flatnonzero((first.products.indices(every) >= 0) & (second.products.indices(every) >= 0))
    lists = [
        recommended_lists(model, log.products, histories, k, exclude=exclude, candidates=shared.astype(np.int32))
        for model in (first, second)
    ]
    return Agreement(float(list_overlap(*lists).mean()), len(users))


def list_overlap(first: IndexArray, second: IndexArray) -> FloatArray:
    """Shared products over the length of the longer list, float64 ``[B]``; 1 where both lists are empty.

    Args:
        first, second: int32 ``[B, k]`` in one index space, ``-1`` padding, no product twice in a row.
    """
    shared = ((first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]).sum(axis=(1, 2))
    longer = np.maximum((first >= 0).sum(axis=1), (second >= 0).sum(axis=1))
    return np.divide(shared, longer, out=np.ones(len(first)), where=longer > 0)
