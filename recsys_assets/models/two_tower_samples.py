"""Training samples of the two towers: moments of shoppers, the events before each, and the products that followed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import offsets, offsets_of_rows, ranges, run_starts
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from recsys_assets.models.dataset import TrainingData, type_table


@dataclass(frozen=True)
class Samples:
    """``S`` moments, each with at least one event before it and one new product after it.

    Attributes:
        first, stop: int64 ``[S]``; events ``first:stop`` of the data lie before the moment.
        now: int64 ``[S]``, the moment, seconds since 1970 UTC.
        indptr: int64 ``[S + 1]``; targets ``indptr[s]:indptr[s + 1]`` belong to sample ``s``.
        target: int32 ``[T]``, products touched within the horizon after the moment and never before it.
        grade: float32 ``[T]``, the largest type weight of those touches, in (0, 1].
    """

    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    now: NDArray[np.int64]
    indptr: NDArray[np.int64]
    target: NDArray[np.int32]
    grade: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.now)

    def where(self, kept: NDArray[np.bool_]) -> "Samples":
        """The samples ``kept`` (bool ``[S]``)."""
        chosen = np.repeat(kept, np.diff(self.indptr))
        indptr = offsets(np.diff(self.indptr)[kept])
        return Samples(
            self.first[kept], self.stop[kept], self.now[kept], indptr, self.target[chosen], self.grade[chosen]
        )


def draw(
    data: TrainingData,
    weights: Mapping[InteractionType, float],
    horizon_days: float,
    most: int,
    rng: np.random.Generator,
) -> Samples:
    """Samples of ``data``: for each moment of a shopper but the first, a random time within the day before it.

    Recommendations are requested at any time, not only the second before a purchase. Samples at the exact moments would
    teach the network that a very recent event means buying.

    Args:
        most: number of samples drawn, evenly, from a larger log.
    """
    horizon = int(horizon_days * SECONDS_PER_DAY)
    table = type_table(weights, relative=True).astype(np.float32)
    begins = run_starts(data.user) | run_starts(data.timestamp)
    later = np.flatnonzero(begins & ~run_starts(data.user))
    if len(later) > most:
        later = np.sort(rng.choice(later, most, replace=False))
    gap = rng.integers(1, int(SECONDS_PER_DAY), len(later))
    now = np.maximum(data.timestamp[later] - gap, data.timestamp[later - 1])
    ends = _last_until(data, data.user[later], now + horizon)
    sample = np.repeat(np.arange(len(later)), ends - later)
    ahead = ranges(later, ends - later)
    grade = table[data.kind[ahead]]
    fresh = np.flatnonzero((grade > 0) & (_first_touch(data)[ahead] >= later[sample]))
    sample, product, grade = sample[fresh], data.product[ahead[fresh]], grade[fresh]
    order = np.lexsort((product, sample))
    starts = np.flatnonzero(run_starts(sample[order]) | run_starts(product[order]))
    best = np.maximum.reduceat(grade[order], starts) if len(starts) else grade
    sample, product = sample[order][starts], product[order][starts]
    counts = np.bincount(sample, minlength=len(later))
    kept = np.flatnonzero(counts)
    first = offsets_of_rows(data.user, len(data.users))
    return Samples(
        first=first[data.user[later[kept]]],
        stop=later[kept],
        now=now[kept],
        indptr=offsets(counts[kept]),
        target=product.astype(np.int32),
        grade=best.astype(np.float32),
    )


def _last_until(data: TrainingData, users: NDArray[np.integer], moments: NDArray[np.int64]) -> NDArray[np.int64]:
    """End of the events of each user up to and including a moment; events are ordered by user, oldest first."""
    start = int(data.timestamp.min(initial=0))
    span = int(data.timestamp.max(initial=0)) - start + 2
    keys = data.user.astype(np.int64) * span + (data.timestamp - start)
    wanted = users.astype(np.int64) * span + np.minimum(moments - start, span - 1)
    return np.searchsorted(keys, wanted, side="right")


def _first_touch(data: TrainingData) -> NDArray[np.int64]:
    """For each event, the place of the first event of its user with its product."""
    pair = data.pairs
    order = np.argsort(pair, kind="stable")
    starts = run_starts(pair[order])
    first = np.empty(len(pair), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first
