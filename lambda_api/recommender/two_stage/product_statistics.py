"""Product features computed at training time and stored in the bundle.

They are counted in ``recsys_assets.models.hybrid_facts``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.ids import IndexArray

FloatArray = NDArray[np.float32]

WINDOW_DAYS: tuple[float, ...] = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0, float("inf"))
"""Windows of popularity, in days before the moment of fitting; the last one counts everything."""

NEWCOMER_DAYS: tuple[float, ...] = (7.0, 30.0)
"""Windows in which first-time shoppers of a product are counted."""

PRODUCT_FEATURES: tuple[str, ...] = (
    *(f"popularity_{name}" for name in ("1d", "3d", "7d", "14d", "30d", "90d", "all")),
    "trend_1d_7d",
    "trend_7d_30d",
    "trend_30d_90d",
    "buyers",
    "repeat_share",
    "age_days",
    "idle_days",
    "conversion",
    "cart_rate",
    "price",
    "buyer_breadth",
    "newcomers_7d",
    "newcomers_30d",
    "newcomer_share",
    "repeat_days",
)
"""Columns of `CatalogueFacts.features`. Popularity is the log of a share of all events of the window, so that weeks
of different volume compare; trends are differences of such logs."""

UNKNOWN = -1.0
"""Marks a missing value; never a valid one. Features are not NaN."""


@dataclass(frozen=True)
class CatalogueFacts:
    """Facts of ``n`` products as of one moment. Everything a shop does not record is `UNKNOWN`, code -1 or NaN.

    Attributes:
        counts: float32 ``[n, len(WINDOW_DAYS)]``, events of the relevant types in each window.
        newcomers: float32 ``[n, len(NEWCOMER_DAYS)]``, shoppers who first took it in each of these windows.
        trend: float32 ``[n]``, > 0, the prior that sources multiply into their scores.
        buyers: float32 ``[n]``, distinct shoppers with an event of a relevant type.
        repeat_share: float32 ``[n]``, share of them who came back for it on another day, smoothed.
        repeat_days: float32 ``[n]``, typical days between two purchases of it by one shopper; ``UNKNOWN`` without one.
        age_days, idle_days: float32 ``[n]``, days since the first and the last event of any type; 0 and ``UNKNOWN``
            for a product nobody has touched.
        conversion, cart_rate: float32 ``[n]``, smoothed purchases and additions to the cart per viewer; ``UNKNOWN`` in
            a shop without views.
        log_price: float32 ``[n]``, natural log; NaN where unknown.
        buyer_breadth: float32 ``[n]``, mean log of the number of distinct products its shoppers have.
        category, brand: int32 ``[n]``, codes from 0, -1 where unknown.
        as_of: seconds since 1970 UTC.
    """

    counts: FloatArray
    newcomers: FloatArray
    trend: FloatArray
    buyers: FloatArray
    repeat_share: FloatArray
    repeat_days: FloatArray
    age_days: FloatArray
    idle_days: FloatArray
    conversion: FloatArray
    cart_rate: FloatArray
    log_price: FloatArray
    buyer_breadth: FloatArray
    category: IndexArray
    brand: IndexArray
    as_of: int

    def __len__(self) -> int:
        return len(self.trend)

    @cached_property
    def log_share(self) -> FloatArray:
        """float32 ``[n, len(WINDOW_DAYS)]``: log of (count + 1) over the mean of count + 1."""
        smoothed = self.counts.astype(np.float64) + 1.0
        return np.log(smoothed / smoothed.mean(axis=0)).astype(np.float32)

    @cached_property
    def categories(self) -> int:
        """One more than the largest code of a category, 0 where none is known."""
        return int(self.category.max(initial=-1)) + 1

    @cached_property
    def brands(self) -> int:
        """One more than the largest code of a brand, 0 where none is known."""
        return int(self.brand.max(initial=-1)) + 1

    @cached_property
    def features(self) -> FloatArray:
        """float32 ``[n, len(PRODUCT_FEATURES)]``, no NaN."""
        share = self.log_share
        price = np.where(np.isnan(self.log_price), np.float32(UNKNOWN), np.exp(self.log_price))
        columns = [
            *share.T,
            share[:, 0] - share[:, 2],
            share[:, 2] - share[:, 4],
            share[:, 4] - share[:, 5],
            np.log1p(self.buyers),
            self.repeat_share,
            self.age_days,
            self.idle_days,
            self.conversion,
            self.cart_rate,
            price,
            self.buyer_breadth,
            *np.log((self.newcomers + 1.0) / (self.newcomers + 1.0).mean(axis=0)).T,
            (self.newcomers[:, 1] + 1.0) / (self.counts[:, WINDOW_DAYS.index(30.0)] + 2.0),
            self.repeat_days,
        ]
        return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)

    @cached_property
    def trending(self) -> FloatArray:
        """float32 ``[n]``, > 0 for what sold within the last 30 days: counts of 1, 7 and 30 days, as daily rates."""
        rates = self.counts[:, [0, 2, 4]] / np.array([1.0, 7.0, 30.0], dtype=np.float32)
        totals = np.maximum(rates.sum(axis=0), np.finfo(np.float32).tiny)
        return (rates / totals).sum(axis=1).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by name, for the bundle."""
        return {f"facts_{name}": getattr(self, name) for name in _ARRAYS}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], as_of: int) -> Self:
        """Inverse of `arrays`. Raises ``KeyError`` where one is missing."""
        return cls(**{name: np.asarray(arrays[f"facts_{name}"]) for name in _ARRAYS}, as_of=as_of)


_ARRAYS = tuple(field.name for field in fields(CatalogueFacts) if field.name != "as_of")
