"""Ranking features: one function from histories and candidates to rows, for training and for serving alike.

Put a feature here when it depends on the shopper; facts of products alone go to ``facts``. Keep candidates
(``sources``) and learning out.

No feature tells the hour or the day of the week: all rows of a training window share them, so a model could only learn
from them which window a row is from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.recommender.two_stage.facts import PRODUCT_FEATURES, UNKNOWN, CatalogueFacts
from lambda_api.recommender.two_stage.sources import Candidates

FloatArray = NDArray[np.float32]

SHOPPER_FEATURES: tuple[str, ...] = (
    "shopper_events",
    "shopper_products",
    "shopper_moments",
    "shopper_idle_days",
    "shopper_days",
    "shopper_mainstream",
    "shopper_recent_events",
)
PAIR_FEATURES: tuple[str, ...] = (
    "own_events",
    "own_idle_days",
    "own_strongest",
    "own_rhythm",
    "own_gap_days",
    "category_share",
    "category_idle_days",
    "brand_share",
    "brand_idle_days",
    "price_difference",
    "price_deviations",
    "mainstream_difference",
    "breadth_difference",
)

RECENT_DAYS = 14.0


def feature_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Names of the ``F`` columns of `ranking_features` for sources of these names."""
    per_source = [f"from_{name}_{what}" for name in sources for what in ("score", "share", "rank")]
    return (*per_source, "n_sources", "fusion", *PRODUCT_FEATURES, *SHOPPER_FEATURES, *PAIR_FEATURES)


def ranking_features(histories: Histories, candidates: Candidates, facts: CatalogueFacts) -> FloatArray:
    """float32 ``[R, F]``, row-aligned with ``candidates``, columns as `feature_names`; never NaN.

    A row depends on its shopper and ``histories.now`` alone, not on the batch. Product facts are those of
    ``facts.as_of``. What is not known is `UNKNOWN`; a column the shop does not record is constant.
    """
    rows, products = candidates.products.row_of_value, candidates.products.values
    columns = [*_source_columns(candidates, rows, len(histories))]
    shoppers = _shopper_columns(histories, facts)
    pairs = _pair_columns(histories, facts, rows, products, shoppers)
    n_before = len(columns)
    n_products, n_shoppers = len(PRODUCT_FEATURES), len(SHOPPER_FEATURES)
    features = np.empty((len(rows), n_before + n_products + n_shoppers + len(pairs)), dtype=np.float32)
    for place, column in enumerate(columns):
        features[:, place] = column
    features[:, n_before : n_before + n_products] = facts.features[products]
    features[:, n_before + n_products : n_before + n_products + n_shoppers] = shoppers[rows]
    for place, column in enumerate(pairs):
        features[:, n_before + n_products + n_shoppers + place] = column
    return features


def _source_columns(candidates: Candidates, rows: NDArray[np.int64], batch: int) -> list[NDArray[np.floating]]:
    columns: list[NDArray[np.floating]] = []
    filled = np.flatnonzero(np.diff(candidates.products.indptr))
    starts = candidates.products.indptr[filled]
    for source in range(candidates.scores.shape[1]):
        scores = np.ascontiguousarray(candidates.scores[:, source])
        best = np.ones(batch, dtype=np.float32)
        if len(starts):
            largest = np.maximum.reduceat(scores, starts)
            best[filled] = np.where(largest > 0, largest, 1.0)
        columns += [scores, scores / best[rows], candidates.ranks[:, source]]
    columns.append((candidates.scores > 0).sum(axis=1).astype(np.float32))
    columns.append(candidates.fusion)
    return columns


def _shopper_columns(histories: Histories, facts: CatalogueFacts) -> FloatArray:
    """float32 ``[B, len(SHOPPER_FEATURES)]``."""
    batch, shopper, stamps = len(histories), histories.shopper_of_event, histories.timestamps
    events = histories.lengths.astype(np.float64)
    some = np.maximum(events, 1.0)
    filled = np.flatnonzero(histories.lengths)
    last, first = np.full(batch, UNKNOWN), np.full(batch, UNKNOWN)
    last[filled] = (histories.now - stamps[histories.indptr[filled + 1] - 1]) / SECONDS_PER_DAY
    first[filled] = (histories.now - stamps[histories.indptr[filled]]) / SECONDS_PER_DAY
    changed = (np.diff(stamps, prepend=-1) != 0) | (np.diff(shopper, prepend=-1) != 0)
    mainstream = np.bincount(shopper, weights=facts.log_share[histories.products, -1], minlength=batch) / some
    recent = stamps >= histories.now - RECENT_DAYS * SECONDS_PER_DAY
    columns = [
        np.log1p(events),
        np.log1p(np.diff(histories.distinct_products().indptr)),
        np.log1p(np.bincount(shopper[changed], minlength=batch)),
        last,
        first,
        mainstream,
        np.log1p(np.bincount(shopper[recent], minlength=batch)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _pair_columns(
    histories: Histories,
    facts: CatalogueFacts,
    rows: NDArray[np.int64],
    products: NDArray[np.int32],
    shoppers: FloatArray,
) -> list[NDArray[np.floating]]:
    now, lengths = histories.now, np.maximum(histories.lengths, 1)[rows]
    own = _Group.by(histories, histories.products, len(facts))
    at, found = own.find(rows, products)
    gap = np.where(found & (own.count[at] > 1), (own.last[at] - own.first[at]) / SECONDS_PER_DAY, np.nan)
    gap = gap / np.maximum(own.count[at] - 1, 1)
    idle = np.where(found, (now - own.last[at]) / SECONDS_PER_DAY, UNKNOWN)
    rhythm_days = np.where(np.isnan(gap) | (gap <= 0), facts.repeat_days[products], gap)
    rhythm = np.where(found & (rhythm_days > 0), idle / np.maximum(rhythm_days, 1.0), UNKNOWN)
    columns: list[NDArray[np.floating]] = [
        np.where(found, own.count[at], 0.0),
        idle,
        np.where(found, own.strongest[at], UNKNOWN),
        rhythm,
        np.where(np.isnan(gap), UNKNOWN, gap),
    ]
    for codes in (facts.category, facts.brand):
        group = _Group.by(histories, codes[histories.products], int(codes.max(initial=-1)) + 1)
        at, found = group.find(rows, codes[products])
        columns.append(np.where(found, group.count[at] / lengths, 0.0))
        columns.append(np.where(found, (now - group.last[at]) / SECONDS_PER_DAY, UNKNOWN))
    columns += _price_columns(histories, facts, rows, products)
    mainstream = shoppers[:, SHOPPER_FEATURES.index("shopper_mainstream")]
    breadth = shoppers[:, SHOPPER_FEATURES.index("shopper_products")]
    columns.append(facts.log_share[products, -1] - mainstream[rows])
    columns.append(facts.buyer_breadth[products] - breadth[rows])
    return columns


def _price_columns(
    histories: Histories, facts: CatalogueFacts, rows: NDArray[np.int64], products: NDArray[np.int32]
) -> list[NDArray[np.floating]]:
    """Log price beside the shopper's usual one, in logs and in the shopper's own standard deviations; 0 if unknown."""
    prices = facts.log_price[histories.products].astype(np.float64)
    priced = ~np.isnan(prices)
    shopper = histories.shopper_of_event[priced]
    count = np.bincount(shopper, minlength=len(histories))
    mean = np.bincount(shopper, weights=prices[priced], minlength=len(histories)) / np.maximum(count, 1)
    squares = np.bincount(shopper, weights=(prices[priced] - mean[shopper]) ** 2, minlength=len(histories))
    deviation = np.sqrt((squares + 1.0) / (count + 1.0))
    difference = facts.log_price[products] - mean[rows]
    difference = np.where(np.isnan(difference) | (count[rows] == 0), 0.0, difference)
    return [difference, difference / deviation[rows]]


@dataclass(frozen=True, slots=True)
class _Group:
    """Events of the batch grouped by shopper and a code, sorted by that pair; never empty (a last dummy stands in)."""

    keys: NDArray[np.int64]
    count: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    strongest: NDArray[np.float64]
    width: int

    @classmethod
    def by(cls, histories: Histories, codes: NDArray[np.int32], width: int) -> "_Group":
        """Group events by shopper and ``codes`` (``[E]``, below ``width``); events with code -1 are left out."""
        coded = np.flatnonzero(codes >= 0)
        keys = histories.shopper_of_event[coded] * width + codes[coded]
        order = np.argsort(keys, kind="stable")
        keys, coded = keys[order], coded[order]
        start = np.flatnonzero(np.diff(keys, prepend=-1))
        stop = np.append(start, len(keys))[1:]
        stamps = histories.timestamps[coded]
        strength = np.array([_STRENGTH[kind] for kind in InteractionType])[histories.types[coded]]
        strongest = np.maximum.reduceat(strength, start) if len(start) else np.empty(0)
        # A last entry that no search may find keeps every lookup inside the arrays.
        return cls(
            keys=np.append(keys[start], np.iinfo(np.int64).max),
            count=np.append(stop - start, 0).astype(np.float64),
            first=np.append(stamps[start], 0),
            last=np.append(stamps[stop - 1], 0),
            strongest=np.append(strongest, 0.0),
            width=width,
        )

    def find(self, rows: NDArray[np.int64], codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Position of each pair, and whether it is there; a code of -1 never is."""
        wanted = rows * self.width + codes
        at = np.searchsorted(self.keys, wanted)
        return at, (self.keys[at] == wanted) & (codes >= 0)


_STRENGTH = {
    InteractionType.VIEW: 1.0,
    InteractionType.ADD_TO_CART: 2.0,
    InteractionType.PURCHASE: 3.0,
    InteractionType.RATING: 3.0,
}
