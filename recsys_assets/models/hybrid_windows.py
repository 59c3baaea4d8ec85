"""Past windows that a ranker learns from: where they lie, what was known before each, what shoppers took within it.

All cuts in time while training the two-stage recommender are made here, so that this module shows that nothing looks
ahead.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.interactions import INTERACTION_LABELS, InteractionType
from lambda_api.recommender.csr import find_sorted, run_starts
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from recsys_assets.models.dataset import TrainingData
from recsys_assets.schema import relevant_types

WINDOW_LENGTHS = (7.0, 10.0, 14.0, 20.0, 30.0, 45.0, 60.0, 90.0)
"""Lengths tried in days: the shortest that gives the newest window `ENOUGH_SHOPPERS` to learn from is taken."""

ENOUGH_SHOPPERS = 500
LONGEST_SHARE, TRAINED_SHARE = 1 / 6, 0.6
"""One window covers at most this share of the log, all of them together at most that one."""

MINIMUM_RATING = 4.0

GRADES: dict[InteractionType, int] = {
    InteractionType.VIEW: 1,
    InteractionType.ADD_TO_CART: 2,
    InteractionType.PURCHASE: 3,
    InteractionType.RATING: 3,
}


@dataclass(frozen=True, slots=True)
class Window:
    """``start <= timestamp < end``, seconds since 1970 UTC."""

    start: int
    end: int


def relevant(data: TrainingData) -> frozenset[InteractionType]:
    """`relevant_types` of the log that ``data`` holds."""
    codes = np.unique(data.kind)
    return relevant_types(pa.table({"interaction_type": [INTERACTION_LABELS[code] for code in codes]}))


def plan_windows(
    data: TrainingData, wanted: Collection[InteractionType], count: int, days: float | None
) -> list[Window]:
    """Up to ``count`` windows side by side, the last ending at ``data.as_of``; none where the log is too short."""
    if len(data.timestamp) == 0 or count == 0:
        return []
    span = (data.as_of - int(data.timestamp.min())) / SECONDS_PER_DAY
    if days is None:
        lengths = [length for length in WINDOW_LENGTHS if length <= span * LONGEST_SHARE] or [span * LONGEST_SHARE]
        enough = (length for length in lengths if _shoppers(data, wanted, length) >= ENOUGH_SHOPPERS)
        days = next(enough, lengths[-1])
    count = min(count, int(span * TRAINED_SHARE / days)) if days > 0 else 0
    length = round(days * SECONDS_PER_DAY)
    edges = [data.as_of - step * length for step in range(count, -1, -1)]
    return [Window(start, end) for start, end in pairwise(edges)]


def before(data: TrainingData, moment: int) -> TrainingData:
    """``data`` as it was at ``moment`` (seconds since 1970 UTC); ids and catalogue keep their indices."""
    return data.where(data.timestamp < moment, as_of=moment)


def labels(data: TrainingData, window: Window, wanted: Collection[InteractionType]) -> "Labels":
    """What everybody took within ``window``, graded: `GRADES` up to the most telling type in ``wanted``."""
    inside = (data.timestamp >= window.start) & (data.timestamp < window.end)
    inside &= (data.kind != InteractionType.RATING) | (data.rating >= MINIMUM_RATING)
    highest = max(GRADES[kind] for kind in wanted)
    grade = np.minimum(np.array([GRADES[kind] for kind in InteractionType])[data.kind[inside]], highest)
    return Labels.best(data.pairs[inside], grade.astype(np.int32), highest, len(data.products))


@dataclass(frozen=True, slots=True)
class Labels:
    """Graded pairs of a user and a product.

    Attributes:
        keys: int64 ``[P]``, ascending, ``user * n_products + product``.
        grades: int32 ``[P]``, at least 1. highest: the grade of the most telling type.
    """

    keys: NDArray[np.int64]
    grades: NDArray[np.int32]
    highest: int
    n_products: int

    @classmethod
    def best(cls, keys: NDArray[np.int64], grades: NDArray[np.int32], highest: int, n_products: int) -> "Labels":
        """The largest of the ``grades`` of each of the ``keys``, both ``[R]`` in any order."""
        order = np.lexsort((-grades, keys))
        first = order[run_starts(keys[order])]
        return cls(keys[first], grades[first], highest, n_products)

    @property
    def users(self) -> NDArray[np.int64]:
        """Users with a label of the highest grade, ascending."""
        return np.unique(self.keys[self.grades == self.highest] // max(1, self.n_products))

    def of(self, users: NDArray[np.int64], products: NDArray[np.int32]) -> NDArray[np.int32]:
        """Grade of each pair, 0 for pairs without one; int32 ``[R]``."""
        at, there = find_sorted(self.keys, users * self.n_products + products)
        found = np.zeros(len(at), dtype=np.int32)
        found[there] = self.grades[at[there]]
        return found


def _shoppers(data: TrainingData, wanted: Collection[InteractionType], days: float) -> int:
    """Shoppers with an event of a wanted type in the last ``days`` and any event before."""
    start = data.as_of - days * SECONDS_PER_DAY
    late = data.timestamp >= start
    taking = late & data.is_of(wanted)
    return len(np.intersect1d(data.user[taking], data.user[~late]))
