"""Observed user-product pairs, a holdout in time, and negatives drawn beside them.

Put preparation of pairs for models that learn by contrast here. Keep networks and optimisers out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.ids import IndexArray
from recsys_assets.models.dataset import TrainingData

Sampling = Literal["uniform", "popularity"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)
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
        cls, data: TrainingData, type_weights: Mapping[InteractionType, float], events: NDArray[np.bool_] | None = None
    ) -> "Positives":
        """Pairs with an event of positive weight among ``events`` (bool ``[E]``; all by default).

        A pair weighs ``log(1 + sum of its events' type weights)``, scaled to mean 1: the tenth purchase of a product
        says less than the first.
        """
        weight = _event_weights(data, type_weights)
        used = weight > 0 if events is None else (weight > 0) & events
        keys = data.user[used].astype(np.int64) * len(data.products) + data.product[used]
        distinct, inverse = np.unique(keys, return_inverse=True)
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
    """Pairs first seen in the last stretch of the log, to stop early on.

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


def hold_out_latest(data: TrainingData, type_weights: Mapping[InteractionType, float], share: float) -> Holdout:
    """Split at the moment after which the latest ``share`` of the events lie; global in time, never per user."""
    relevant = _event_weights(data, type_weights) > 0
    times = data.timestamp[relevant]
    since = int(np.quantile(times, 1.0 - share, method="higher")) if len(times) else data.as_of
    train = Positives.from_data(data, type_weights, data.timestamp < since)
    later = Positives.from_data(data, type_weights, data.timestamp >= since)
    trained_users = np.bincount(train.user, minlength=train.n_users) > 0
    trained_products = np.bincount(train.product, minlength=train.n_products) > 0
    fresh = ~np.isin(later.keys, train.keys, assume_unique=True)
    kept = fresh & trained_users[later.user] & trained_products[later.product]
    return Holdout(train=train, user=later.user[kept], product=later.product[kept], since=since)


class NegativeSampler:
    """Draws products a user has not interacted with, many at once.

    Only products with at least one positive are drawn: the others have no embedding worth moving.
    """

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
        # Whoever still collides has seen nearly everything: draw from what is left for them, exactly.
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
        position = np.minimum(np.searchsorted(self._observed, wanted), len(self._observed) - 1)
        observed: NDArray[np.bool_] = self._observed[position] == wanted
        return observed

    def _draw_unobserved(self, rng: np.random.Generator, user: int, size: int) -> IndexArray:
        first, last = np.searchsorted(self._observed, [user * self._n_products, (user + 1) * self._n_products])
        free = ~np.isin(self._eligible, self._observed[first:last] - user * self._n_products)
        if not free.any():
            return np.full(size, -1, dtype=np.int32)
        chance = None if self._weight is None else self._weight[free] / self._weight[free].sum()
        return rng.choice(self._eligible[free], size=size, p=chance).astype(np.int32)


def _event_weights(data: TrainingData, type_weights: Mapping[InteractionType, float]) -> NDArray[np.float64]:
    table = np.zeros(len(InteractionType))
    for kind, weight in type_weights.items():
        table[kind] = weight
    return table[data.kind]
