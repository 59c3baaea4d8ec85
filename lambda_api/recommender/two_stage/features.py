"""Ranking features: one class from histories and candidates to rows, for training and for serving alike.

Features of products alone are in ``product_statistics``. No feature tells the hour or the day of the week: all rows of
a training window share them, so a model could only learn from them which window a row is from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import find_sorted, run_starts
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.recommender.two_stage.candidates import Candidates
from lambda_api.recommender.two_stage.product_statistics import PRODUCT_FEATURES, UNKNOWN, CatalogueFacts
from lambda_api.recommender.two_stage.sessions import of_newest_session

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
OWN_FEATURES: tuple[str, ...] = (
    "own_events",
    "own_idle_days",
    "own_strongest",
    "own_rhythm",
    "own_gap_days",
    "own_moments",
    "own_moments_ago",
    "own_share",
    "own_age_days",
)
"""What the shopper did with the candidate."""

CATEGORY_FEATURES = ("category_share", "category_idle_days")
BRAND_FEATURES = ("brand_share", "brand_idle_days")
PRICE_FEATURES = ("price_difference", "price_deviations")
AUDIENCE_FEATURES = ("mainstream_difference", "breadth_difference")

PAIR_FEATURES: tuple[str, ...] = (
    *OWN_FEATURES,
    *CATEGORY_FEATURES,
    *BRAND_FEATURES,
    *PRICE_FEATURES,
    *AUDIENCE_FEATURES,
)

SESSION_FEATURES: tuple[str, ...] = (
    "session_events",
    "session_products",
    "session_minutes",
    "session_last_minutes",
    "session_category_share",
    "session_price_difference",
)
"""The running session, and the candidate beside it; only for models that are asked during a session."""

RECENT_DAYS = 14.0
NEWEST_MOMENTS = 3


def feature_names(sources: Sequence[str], session: bool = False) -> tuple[str, ...]:
    """Names of the ``F`` columns of `FeatureRows` for sources of these names."""
    per_source = [f"from_{name}_{what}" for name in sources for what in ("score", "share", "rank")]
    of_session = SESSION_FEATURES if session else ()
    return (*per_source, "n_sources", "fusion", *PRODUCT_FEATURES, *SHOPPER_FEATURES, *PAIR_FEATURES, *of_session)


class FeatureRows:
    """Features of the candidates of a batch; what they share is worked out once, rows are made when asked for.

    A row depends on its shopper and ``histories.now`` alone, not on the batch. Product facts are those of
    ``facts.as_of``. What is not known is `UNKNOWN`; a column the shop does not record is constant. ``session``: with
    `SESSION_FEATURES`.
    """

    def __init__(
        self, histories: Histories, candidates: Candidates, facts: CatalogueFacts, *, session: bool = False
    ) -> None:
        self._candidates, self._facts, self._session = candidates, facts, session
        self._best, self._past = _best_scores(candidates, len(histories)), _Past(histories, facts)

    def of(self, only: NDArray[np.int64] | None = None) -> FloatArray:
        """float32 ``[R, F]``, row-aligned with the candidates, columns as `feature_names`; never NaN.

        ``only``: rows wanted, ``[r]``; the same rows, bit for bit, as of all of them.
        """
        candidates, facts, past = self._candidates, self._facts, self._past
        rows, products = candidates.products.row_of_value, candidates.products.values
        scores, ranks, fusion = candidates.scores, candidates.ranks, candidates.fusion
        if only is not None:
            rows, products = rows[only], products[only]
            scores, ranks, fusion = scores[only], ranks[only], fusion[only]
        widths = (3 * scores.shape[1], 2, len(PRODUCT_FEATURES), len(SHOPPER_FEATURES), len(PAIR_FEATURES))
        edges = np.cumsum([0, *widths, len(SESSION_FEATURES) if self._session else 0])
        features = np.empty((len(rows), edges[-1]), dtype=np.float32)
        by_source, united, of_product, of_shopper, of_pair, of_session = (
            features[:, start:stop] for start, stop in pairwise(edges.tolist())
        )
        by_source[:, 0::3] = scores
        np.divide(scores, self._best[rows], out=by_source[:, 1::3])
        by_source[:, 2::3] = ranks
        united[:, 0] = (scores > 0).sum(axis=1)
        united[:, 1] = fusion
        of_product[:] = facts.features[products]
        of_shopper[:] = past.shoppers[rows]
        _write_pairs(of_pair, past, facts, rows, products)
        if self._session:
            _write_session(of_session, past, facts, rows, products)
        return features


def _best_scores(candidates: Candidates, batch: int) -> FloatArray:
    """The largest score of each source for each shopper, 1 where it has none; float32 ``[B, S]``."""
    best = np.ones((batch, candidates.scores.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(np.diff(candidates.products.indptr))
    if len(filled):
        found = np.maximum.reduceat(candidates.scores, candidates.products.indptr[filled], axis=0)
        best[filled] = np.where(found > 0, found, np.float32(1.0))
    return best


class _Past:
    """What the histories of a batch say, worked out once for all candidates.

    Attributes:
        shoppers: float32 ``[B, len(SHOPPER_FEATURES)]``.
        own, category, brand: what the shopper did with a product, a category, a brand, by their codes.
    """

    def __init__(self, histories: Histories, facts: CatalogueFacts) -> None:
        self.histories = histories
        self.shopper = histories.shopper_of_event
        self.moments, self.ago = _moments(histories, self.shopper)
        now, lengths = histories.now, np.maximum(histories.lengths, 1)
        own = _Group.by(self, histories.products, len(facts))
        self.own = own.table(
            self._own_columns(own, facts), (0.0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0.0, UNKNOWN, 0.0, UNKNOWN)
        )
        self.category, self.brand = (
            group.table([group.count / lengths[group.shopper], (now - group.last) / SECONDS_PER_DAY], (0.0, UNKNOWN))
            for group in (
                _Group.by(self, codes[histories.products], width)
                for codes, width in ((facts.category, facts.categories), (facts.brand, facts.brands))
            )
        )
        self.shoppers = self._shopper_columns(own, facts)

    def _own_columns(self, own: "_Group", facts: CatalogueFacts) -> list[NDArray[Any]]:
        """The first of `PAIR_FEATURES`, of each product of a shopper's past."""
        now = self.histories.now
        with np.errstate(invalid="ignore"):
            gap = np.where(own.count > 1, (own.last - own.first) / SECONDS_PER_DAY, np.nan) / np.maximum(
                own.count - 1, 1
            )
        idle = (now - own.last) / SECONDS_PER_DAY
        rhythm_days = np.where(np.isnan(gap) | (gap <= 0), facts.repeat_days[own.code], gap)
        types = self.histories.types[own.events]
        strongest = np.maximum.reduceat(_STRENGTH[types], own.start) if len(own.start) else np.empty(0)
        latest, earliest, times = own.over(self.ago)
        return [
            own.count,
            idle,
            strongest,
            np.where(rhythm_days > 0, idle / np.maximum(rhythm_days, 1.0), UNKNOWN),
            np.where(np.isnan(gap), UNKNOWN, gap),
            times,
            latest,
            times / np.maximum(earliest + 1, 1),
            (now - own.first) / SECONDS_PER_DAY,
        ]

    def _shopper_columns(self, own: "_Group", facts: CatalogueFacts) -> FloatArray:
        histories, shopper, stamps = self.histories, self.shopper, self.histories.timestamps
        batch = len(histories)
        events = histories.lengths.astype(np.float64)
        some = np.maximum(events, 1.0)
        filled = np.flatnonzero(histories.lengths)
        last, first = np.full(batch, UNKNOWN), np.full(batch, UNKNOWN)
        last[filled] = (histories.now - stamps[histories.indptr[filled + 1] - 1]) / SECONDS_PER_DAY
        first[filled] = (histories.now - stamps[histories.indptr[filled]]) / SECONDS_PER_DAY
        gap = np.where(self.moments > 1, (first - last) / np.maximum(self.moments - 1, 1), UNKNOWN)
        shares = facts.log_share[histories.products, -1]
        recent = stamps >= histories.now - RECENT_DAYS * SECONDS_PER_DAY
        # An event is new where it was the shopper's first with its product.
        new = np.zeros(len(stamps), dtype=bool)
        new[own.events[own.start]] = True
        newest = self.ago < NEWEST_MOMENTS
        lately = np.bincount(shopper[newest], minlength=batch)
        novel = np.bincount(shopper[newest & new], minlength=batch)
        columns = [
            np.log1p(events),
            np.log1p(np.bincount(own.shopper, minlength=batch)),
            np.log1p(self.moments),
            last,
            first,
            np.bincount(shopper, weights=shares, minlength=batch) / some,
            np.log1p(np.bincount(shopper[recent], minlength=batch)),
            np.where(lately > 0, novel / np.maximum(lately, 1), UNKNOWN),
            np.log1p(np.bincount(shopper[self.ago == 0], minlength=batch)),
            gap,
            np.where(gap > 0, last / np.maximum(gap, 1.0), UNKNOWN),
        ]
        return np.stack(columns, axis=1).astype(np.float32)


def _moments(histories: Histories, shopper: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct moments of each shopper, int64 ``[B]``, and how many of them follow each event, int64 ``[E]``."""
    changed = run_starts(histories.timestamps) | run_starts(shopper)
    moments = np.bincount(shopper[changed], minlength=len(histories))
    return moments, np.cumsum(moments)[shopper] - np.cumsum(changed)


def _write_pairs(
    columns: FloatArray, past: _Past, facts: CatalogueFacts, rows: NDArray[np.int64], products: NDArray[np.int32]
) -> None:
    """Fill float32 ``[R, len(PAIR_FEATURES)]``."""
    groups = (OWN_FEATURES, CATEGORY_FEATURES, BRAND_FEATURES, PRICE_FEATURES, AUDIENCE_FEATURES)
    edges = np.cumsum([0, *map(len, groups)]).tolist()
    own, category, brand, price, audience = (columns[:, start:stop] for start, stop in pairwise(edges))
    own[:] = past.own.of(rows, products)
    category[:] = past.category.of(rows, facts.category[products])
    brand[:] = past.brand.of(rows, facts.brand[products])
    price[:, 0], price[:, 1] = _price_columns(past, facts, rows, products)
    mainstream = past.shoppers[:, SHOPPER_FEATURES.index("shopper_mainstream")]
    breadth = past.shoppers[:, SHOPPER_FEATURES.index("shopper_products")]
    np.subtract(facts.log_share[products, -1], mainstream[rows], out=audience[:, 0])
    np.subtract(facts.buyer_breadth[products], breadth[rows], out=audience[:, 1])


def _write_session(
    columns: FloatArray, past: _Past, facts: CatalogueFacts, rows: NDArray[np.int64], products: NDArray[np.int32]
) -> None:
    """Fill float32 ``[R, len(SESSION_FEATURES)]``."""
    histories, batch = past.histories, len(past.histories)
    inside = np.flatnonzero(of_newest_session(histories))
    shopper, own, stamps = past.shopper[inside], histories.products[inside], histories.timestamps[inside]
    events = np.bincount(shopper, minlength=batch)
    distinct = np.unique(shopper * len(facts) + own) // len(facts)
    minutes, last = np.full(batch, UNKNOWN), np.full(batch, UNKNOWN)
    newest = np.cumsum(events) - 1
    some = events > 0
    minutes[some] = (stamps[newest[some]] - stamps[(newest - events + 1)[some]]) / 60.0
    several = events > 1
    last[several] = (stamps[newest[several]] - stamps[newest[several] - 1]) / 60.0
    of_shopper = np.stack([events, np.bincount(distinct, minlength=batch), minutes, last], axis=1)
    columns[:, :4] = of_shopper[rows]
    width = max(1, facts.categories)
    code = facts.category[own]
    coded = code >= 0
    counts = np.bincount(shopper[coded] * width + code[coded], minlength=batch * width)
    wanted = facts.category[products]
    share = counts[rows * width + np.maximum(wanted, 0)] / np.maximum(events[rows], 1)
    columns[:, 4] = np.where(wanted >= 0, share, 0.0)
    price = facts.log_price[own].astype(np.float64)
    priced = ~np.isnan(price)
    count = np.bincount(shopper[priced], minlength=batch)
    mean = np.bincount(shopper[priced], weights=price[priced], minlength=batch) / np.maximum(count, 1)
    difference = facts.log_price[products] - mean[rows]
    columns[:, 5] = np.where(np.isnan(difference) | (count[rows] == 0), 0.0, difference)


def _price_columns(
    past: _Past, facts: CatalogueFacts, rows: NDArray[np.int64], products: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log price beside the shopper's usual one, in logs and in the shopper's own standard deviations; 0 if unknown."""
    prices = facts.log_price[past.histories.products].astype(np.float64)
    priced = ~np.isnan(prices)
    shopper, batch = past.shopper, len(past.histories)
    if not priced.all():
        prices, shopper = prices[priced], shopper[priced]
    count = np.bincount(shopper, minlength=batch)
    mean = np.bincount(shopper, weights=prices, minlength=batch) / np.maximum(count, 1)
    squares = np.bincount(shopper, weights=(prices - mean[shopper]) ** 2, minlength=batch)
    deviation = np.sqrt((squares + 1.0) / (count + 1.0))
    difference = facts.log_price[products] - mean[rows]
    difference = np.where(np.isnan(difference) | (count[rows] == 0), 0.0, difference)
    return difference, difference / deviation[rows]


@dataclass(frozen=True, slots=True)
class _Table:
    """Columns by shopper and code: float32 ``[groups + 1, c]``, whose last row stands for what is not there."""

    keys: NDArray[np.int64]
    columns: FloatArray
    width: int

    def of(self, rows: NDArray[np.int64], codes: NDArray[np.int32]) -> FloatArray:
        """Rows of the pairs of a shopper and a code, float32 ``[R, c]``; a code of -1 is never there."""
        if len(self.keys) == 0:
            return self.columns
        at, there = find_sorted(self.keys, rows * self.width + codes)
        return self.columns[np.where(there & (codes >= 0), at, -1)]


@dataclass(frozen=True, slots=True)
class _Group:
    """Events of the batch grouped by shopper and a code, in order of that pair.

    ``events`` are the events in that order, a group's oldest first; groups begin at ``start``. Of each group: its
    ``shopper`` and ``code``, ``count`` of events, and ``first`` and ``last`` timestamp.
    """

    events: NDArray[np.int64]
    start: NDArray[np.int64]
    shopper: NDArray[np.int64]
    code: NDArray[np.int32]
    count: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    width: int

    @classmethod
    def by(cls, past: _Past, codes: NDArray[np.int32], width: int) -> "_Group":
        """Group events by shopper and ``codes`` (``[E]``, below ``width``); events with code -1 are left out."""
        keys = past.shopper * width + codes
        order = np.argsort(keys, kind="stable")
        if len(codes) and codes.min() < 0:
            order = order[codes[order] >= 0]
        start = np.flatnonzero(run_starts(keys[order]))
        stop = np.append(start, len(order))[1:]
        oldest, newest = order[start], order[stop - 1]
        stamps = past.histories.timestamps
        return cls(
            events=order,
            start=start,
            shopper=past.shopper[oldest],
            code=codes[oldest],
            count=(stop - start).astype(np.float64),
            first=stamps[oldest],
            last=stamps[newest],
            width=width,
        )

    def table(self, columns: Sequence[NDArray[Any]], absent: Sequence[float]) -> _Table:
        """``columns`` of each group (``[groups]`` each), and the row ``absent`` for pairs without one."""
        table = np.empty((len(self.start) + 1, len(columns)), dtype=np.float32)
        for place, column in enumerate(columns):
            table[:-1, place] = column
        table[-1] = absent
        return _Table(self.shopper * self.width + self.code, table, self.width)

    def over(self, ago: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of each group's events the least, the largest and the number of distinct values of ``ago`` (int64 ``[E]``,
        descending in time)."""
        values = ago[self.events]
        if len(values) == 0:
            return values, values, values
        stop = np.append(self.start, len(values))[1:]
        new = run_starts(values)
        new[self.start] = True
        return values[stop - 1], values[self.start], np.add.reduceat(new.astype(np.int64), self.start)


_STRENGTH = np.array(
    [{"RATING": 3.0, "PURCHASE": 3.0, "ADD_TO_CART": 2.0, "VIEW": 1.0}[kind.name] for kind in InteractionType]
)
"""How firm each kind of interaction is, by its code."""
