"""Observed user-product pairs, a holdout in time, and sampled negatives, for models that learn by contrast."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import find_sorted
from lambda_api.recommender.ids import IndexArray
from recsys_assets.models.dataset import TrainingData, type_table

Sampling = Literal["uniform", "popularity"]
POPULARITY_EXPONENT = 0.75
"""Flattening of popularity in ``sampling="popularity"`` (Mikolov et al. 2013, arXiv 1310.4546, section 2.2)."""

_REDRAWS = 16


@dataclass(frozen=True, slots=True)
class Positives:
    """``P`` distinct pairs of a user and a product they interacted with, ordered by (user, product).

    Attributes:
        user, product: int32 ``[P]``.
        weight: float32 ``[P]``, > 0, mean 1.
        n_users, n_products: size of the index spaces.
    """

    user: IndexArray
    product: IndexArray
    weight: NDArray[np.float32]
    n_users: int
    n_products: int

    @classmethod
    def from_data(
        cls,
        data: TrainingData,
        type_weights: Mapping[InteractionType, float],
        events: NDArray[np.bool_] | None = None,
        half_life_days: float | None = None,
    ) -> "Positives":
        """Pairs with an event of positive weight among ``events`` (bool ``[E]``; all by default).

        A pair weighs ``log(1 + sum of its event_weights)``, scaled to mean 1, so that the tenth purchase of a product
        counts less than the first.
        """
        weight = np.maximum(
            data.event_weights(type_weights, half_life_days), np.finfo(np.float32).tiny * _counted(data, type_weights)
        )
        used = weight > 0 if events is None else (weight > 0) & events
        distinct, inverse = np.unique(data.pairs[used], return_inverse=True)
        strength = np.log1p(np.bincount(inverse, weights=weight[used], minlength=len(distinct)))
        mean = strength.mean() if len(strength) else 1.0
        return cls(
            user=(distinct // max(1, len(data.products))).astype(np.int32),
            product=(distinct % max(1, len(data.products))).astype(np.int32),
            weight=(strength / mean).astype(np.float32),
            n_users=len(data.users),
            n_products=len(data.products),
        )

    def __len__(self) -> int:
        return len(self.user)

    @property
    def keys(self) -> NDArray[np.int64]:
        """One integer per pair, ``user * n_products + product``, ascending; int64 ``[P]``."""
        return self.user.astype(np.int64) * self.n_products + self.product


@dataclass(frozen=True, slots=True)
class Holdout:
    """Pairs first seen in the last part of the log, for early stopping.

    Attributes:
        train: pairs of the events before ``since``.
        user, product: int32 ``[H]``; pairs first seen at or after ``since``, of users and products that ``train``
            knows, ordered by (user, product).
        since: seconds since 1970 UTC.
    """

    train: Positives
    user: IndexArray
    product: IndexArray
    since: int

    @property
    def users(self) -> IndexArray:
        """Distinct users of the holdout, ascending."""
        return np.unique(self.user)


def hold_out_latest(
    data: TrainingData,
    type_weights: Mapping[InteractionType, float],
    share: float,
    half_life_days: float | None = None,
) -> Holdout:
    """Split at the moment after which the latest ``share`` of the events lie, the same for all users."""
    times = data.timestamp[_counted(data, type_weights)]
    since = int(np.quantile(times, 1.0 - share, method="higher")) if len(times) else data.as_of
    train = Positives.from_data(data, type_weights, data.timestamp < since, half_life_days)
    later = Positives.from_data(data, type_weights, data.timestamp >= since)
    trained_users = np.bincount(train.user, minlength=train.n_users) > 0
    trained_products = np.bincount(train.product, minlength=train.n_products) > 0
    fresh = ~np.isin(later.keys, train.keys, assume_unique=True)
    kept = fresh & trained_users[later.user] & trained_products[later.product]
    return Holdout(train=train, user=later.user[kept], product=later.product[kept], since=since)


class NegativeSampler:
    """Draws products that users have not interacted with, among those with at least one positive."""

    def __init__(self, positives: Positives, sampling: Sampling) -> None:
        counts = np.bincount(positives.product, minlength=positives.n_products)
        self._n_products = positives.n_products
        self._observed = positives.keys
        self._eligible = np.flatnonzero(counts).astype(np.int32)
        weight = counts[self._eligible] ** POPULARITY_EXPONENT if sampling == "popularity" else None
        self._weight = weight
        self._cumulative = None if weight is None else np.cumsum(weight) / weight.sum()

    def sample(self, rng: np.random.Generator, users: IndexArray, count: int) -> IndexArray:
        """``count`` negatives for each of ``users`` (int32 ``[m]``), with replacement; int32 ``[m, count]``.

        ``-1`` for a user who has interacted with every eligible product. Cheapest when ``users`` is sorted.
        """
        user = np.repeat(users, count)
        drawn = self._draw(rng, len(user))
        pending = np.flatnonzero(self._is_observed(user, drawn))
        for _ in range(_REDRAWS):
            if not len(pending):
                break
            drawn[pending] = self._draw(rng, len(pending))
            pending = pending[self._is_observed(user[pending], drawn[pending])]
        # Users who still collide have seen nearly everything: draw from what is left.
        for one in np.unique(user[pending]):
            places = pending[user[pending] == one]
            drawn[places] = self._draw_unobserved(rng, int(one), len(places))
        return drawn.reshape(len(users), count)

    def _draw(self, rng: np.random.Generator, size: int) -> IndexArray:
        if self._cumulative is None:
            return self._eligible[rng.integers(0, len(self._eligible), size)]
        position = np.searchsorted(self._cumulative, rng.random(size), side="right")
        return self._eligible[np.minimum(position, len(self._eligible) - 1)]

    def _is_observed(self, user: IndexArray, product: IndexArray) -> NDArray[np.bool_]:
        wanted = user.astype(np.int64) * self._n_products + product
        return find_sorted(self._observed, wanted)[1]

    def _draw_unobserved(self, rng: np.random.Generator, user: int, size: int) -> IndexArray:
        first, last = np.searchsorted(self._observed, [user * self._n_products, (user + 1) * self._n_products])
        free = ~np.isin(self._eligible, self._observed[first:last] - user * self._n_products)
        if not free.any():
            return np.full(size, -1, dtype=np.int32)
        chance = None if self._weight is None else self._weight[free] / self._weight[free].sum()
        return rng.choice(self._eligible[free], size=size, p=chance).astype(np.int32)


def _counted(data: TrainingData, type_weights: Mapping[InteractionType, float]) -> NDArray[np.bool_]:
    return type_table(type_weights)[data.kind] > 0
