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
from lambda_api.recommender.histories import Histories, run_starts
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
    "shopper_novelty",
    "shopper_last_size",
    "shopper_gap_days",
    "shopper_due",
)
PAIR_FEATURES: tuple[str, ...] = (
    "own_events",
    "own_idle_days",
    "own_strongest",
    "own_rhythm",
    "own_gap_days",
    "own_moments",
    "own_moments_ago",
    "own_share",
    "own_age_days",
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
NEWEST_MOMENTS = 3


def feature_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Names of the ``F`` columns of `ranking_features` for sources of these names."""
    per_source = [f"from_{name}_{what}" for name in sources for what in ("score", "share", "rank")]
    return (*per_source, "n_sources", "fusion", *PRODUCT_FEATURES, *SHOPPER_FEATURES, *PAIR_FEATURES)


def ranking_features(
    histories: Histories, candidates: Candidates, facts: CatalogueFacts, only: NDArray[np.int64] | None = None
) -> FloatArray:
    """float32 ``[R, F]``, row-aligned with ``candidates``, columns as `feature_names`; never NaN.

    ``only``: rows wanted, ``[r]``; the same rows, bit for bit, as of all of them.

    A row depends on its shopper and ``histories.now`` alone, not on the batch. Product facts are those of
    ``facts.as_of``. What is not known is `UNKNOWN`; a column the shop does not record is constant.
    """
    rows, products = candidates.products.row_of_value, candidates.products.values
    columns = [*_source_columns(candidates, rows, len(histories))]
    if only is not None:
        rows, products = rows[only], products[only]
        columns = [column[only] for column in columns]
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
    moments, ago = _moments(histories)
    gap = np.where(moments > 1, (first - last) / np.maximum(moments - 1, 1), UNKNOWN)
    mainstream = np.bincount(shopper, weights=facts.log_share[histories.products, -1], minlength=batch) / some
    recent = stamps >= histories.now - RECENT_DAYS * SECONDS_PER_DAY
    columns = [
        np.log1p(events),
        np.log1p(np.diff(histories.distinct_products().indptr)),
        np.log1p(moments),
        last,
        first,
        mainstream,
        np.log1p(np.bincount(shopper[recent], minlength=batch)),
        _novelty(histories, ago),
        np.log1p(np.bincount(shopper[ago == 0], minlength=batch)),
        gap,
        np.where(gap > 0, last / np.maximum(gap, 1.0), UNKNOWN),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _moments(histories: Histories) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct moments of each shopper, int64 ``[B]``, and how many of them follow each event, int64 ``[E]``."""
    shopper, stamps = histories.shopper_of_event, histories.timestamps
    changed = run_starts(stamps) | run_starts(shopper)
    moments = np.bincount(shopper[changed], minlength=len(histories))
    return moments, np.cumsum(moments)[shopper] - np.cumsum(changed)


def _novelty(histories: Histories, ago: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of a shopper's events in the newest moments that were the first with their product; float64 ``[B]``."""
    shopper, batch = histories.shopper_of_event, len(histories)
    pair = shopper * (int(histories.products.max(initial=0)) + 1) + histories.products
    first = np.zeros(len(pair), dtype=bool)
    first[np.unique(pair, return_index=True)[1]] = True
    newest = ago < NEWEST_MOMENTS
    lately = np.bincount(shopper[newest], minlength=batch)
    novel = np.bincount(shopper[newest & first], minlength=batch)
    return np.where(lately > 0, novel / np.maximum(lately, 1), UNKNOWN)


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
    latest, earliest, times = own.over(_moments(histories)[1])
    shown = np.where(found, times[at], 0.0)
    columns += [
        shown,
        np.where(found, latest[at], UNKNOWN),
        np.where(found, shown / np.maximum(earliest[at] + 1, 1), 0.0),
        np.where(found, (now - own.first[at]) / SECONDS_PER_DAY, UNKNOWN),
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
    """Events of the batch grouped by shopper and a code, sorted by that pair; never empty (a last dummy stands in).

    ``events`` are the events in that order, a group's oldest first; groups begin at ``start``.
    """

    keys: NDArray[np.int64]
    count: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    strongest: NDArray[np.float64]
    width: int
    events: NDArray[np.int64]
    start: NDArray[np.int64]

    @classmethod
    def by(cls, histories: Histories, codes: NDArray[np.int32], width: int) -> "_Group":
        """Group events by shopper and ``codes`` (``[E]``, below ``width``); events with code -1 are left out."""
        coded = np.flatnonzero(codes >= 0)
        keys = histories.shopper_of_event[coded] * width + codes[coded]
        order = np.argsort(keys, kind="stable")
        keys, coded = keys[order], coded[order]
        start = np.flatnonzero(run_starts(keys))
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
            events=coded,
            start=start,
        )

    def over(self, ago: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of each group's events the least, the largest and the number of distinct values of ``ago`` (int64 ``[E]``,
        descending in time)."""
        if len(self.start) == 0:
            return np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64)
        values = ago[self.events]
        stop = np.append(self.start, len(values))[1:]
        new = run_starts(values)
        new[self.start] = True
        times = np.add.reduceat(new.astype(np.int64), self.start)
        return np.append(values[stop - 1], 0), np.append(values[self.start], 0), np.append(times, 0)

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
