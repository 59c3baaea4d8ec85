"""All cuts of shoppers' histories into past and future, summed into two product x product matrices.

A *moment* is a distinct timestamp of one shopper: the lines of one basket share theirs, so that their stored order does
not count. A shopper with moments ``1..M`` is cut after each of ``1..M - 1``. The row of the cut after ``t`` is, with
``x_m`` the weights of the events of moment ``m`` and ``c`` the clock,

* past:   ``s_t = sum over m <= t of exp(-(c_t - c_m) / delta_past) x_m``
* future: ``f_t = sum over m > t  of exp(-(c_m - c_{t+1}) / delta_future) x_m``

times the square root of the weight ``w_t`` of the cut (how recent it is).

The rows are not built. Over moments, ``S'S = X' K X`` and ``S'T = X' H X``, where ``X`` holds the moments' events and
``K`` and ``H`` relate moments of the same shopper:

* ``K[a, b] = exp(-|c_b - c_a| / delta_past) G[max(a, b)]`` with ``G[M] = 0`` and
  ``G[m] = w_m + exp(-2 (c_{m+1} - c_m) / delta_past) G[m + 1]``
* ``H[a, b] = H[a, b - 1] exp(-(c_b - c_{b-1}) / delta_future) + w_{b-1} exp(-(c_{b-1} - c_a) / delta_past)`` for
  ``a < b``, with ``H[a, a] = 0``
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import offsets_of_rows, run_starts
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from recsys_assets.models.dataset import TrainingData, type_table

Clock = Literal["steps", "days"]

TERMS_PER_CHUNK = 4_000_000
"""Moment-to-moment and moment-to-product terms held at once (about 100 MB)."""


@dataclass(frozen=True)
class Moments:
    """``M`` moments of ``U`` shoppers, in time order within a shopper.

    Attributes:
        indptr: int64 ``[U + 1]``; shopper ``u`` owns moments ``indptr[u]:indptr[u + 1]``.
        time: float64 ``[M]``, in clock units since the shopper's first moment.
        events: float64 sparse ``[M, n_products]``, weights summed per moment and product.
        weight: float64 ``[M]``, in (0, 1], of the cut after each moment.
    """

    indptr: NDArray[np.int64]
    time: NDArray[np.float64]
    events: sparse.csr_matrix
    weight: NDArray[np.float64]

    @property
    def cuts(self) -> int:
        """Number of cuts: for each shopper the number of moments less one."""
        return int(np.maximum(np.diff(self.indptr) - 1, 0).sum())


def moments(
    data: TrainingData,
    weights: Mapping[InteractionType, float],
    clock: Clock,
    newest: int | None = None,
    half_life_days: float | None = None,
) -> Moments:
    """The moments of every shopper in ``data``.

    Args:
        weights: per type; relative to the largest, which becomes 1. Types without a weight do not count.
        clock: ``"steps"``: moments are one unit apart; ``"days"``: as far apart as they were.
        newest: keep so many moments per shopper, the latest; ``None`` keeps all.
        half_life_days: age, counted back from ``data.as_of``, at which a cut weighs half; ``None``: all weigh 1.
    """
    table = type_table(weights, relative=True)
    used = np.flatnonzero(table[data.kind] > 0)
    user, seconds = data.user[used], data.timestamp[used]
    first = run_starts(user) | run_starts(seconds)
    moment = np.cumsum(first) - 1
    owner, at = user[first].astype(np.int64), seconds[first]
    indptr = offsets_of_rows(owner, len(data.users))
    place = np.arange(len(owner)) - indptr[owner]
    time = place.astype(np.float64) if clock == "steps" else (at - at[indptr[owner]]) / SECONDS_PER_DAY
    events = sparse.csr_matrix(
        (table[data.kind[used]], (moment, data.product[used])), shape=(len(owner), len(data.products))
    )
    days = (data.as_of - at) / SECONDS_PER_DAY
    weight = np.ones(len(at)) if half_life_days is None else 0.5 ** (days / half_life_days)
    if newest is None:
        return Moments(indptr, time, events, weight)
    kept = np.flatnonzero(np.diff(indptr)[owner] - place <= newest)
    return Moments(offsets_of_rows(owner[kept], len(data.users)), time[kept], events[kept], weight[kept])


def past_and_future(
    moments: Moments, delta_past: float, delta_future: float
) -> tuple[NDArray[np.float64], sparse.csr_matrix]:
    """``S'S`` (dense) and ``S'T`` (sparse), float64 ``[n_products, n_products]``, over all cuts.

    Args:
        delta_past, delta_future: in clock units, see the module.
    """
    size = moments.events.shape[1]
    gramian = np.zeros((size, size))
    cross = sparse.csr_matrix((size, size))
    for first, last in _chunks(moments):
        start, stop = moments.indptr[first], moments.indptr[last]
        events = moments.events[start:stop]
        among, ahead = _coefficients(
            moments.indptr[first : last + 1] - start,
            moments.time[start:stop],
            moments.weight[start:stop],
            delta_past,
            delta_future,
        )
        part = (events.T @ (among @ events)).tocoo()
        gramian[part.row, part.col] += part.data
        cross = cross + events.T @ (ahead @ events)
    return gramian, cross.tocsr()


def _coefficients(
    indptr: NDArray[np.int64],
    time: NDArray[np.float64],
    weight: NDArray[np.float64],
    delta_past: float,
    delta_future: float,
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """``K`` and ``H`` of the module, one vectorised pass per distance between moments."""
    size = len(time)
    length = np.repeat(np.diff(indptr), np.diff(indptr))
    place = np.arange(size) - np.repeat(indptr[:-1], np.diff(indptr))
    later = _later_cuts(length - place, time, weight, delta_past)
    early = np.arange(size)
    ahead = np.zeros(size)
    rows, columns = [early], [early]
    among_values, ahead_values = [later], [ahead]
    for distance in range(1, int(length.max(initial=1))):
        inside = place[early] + distance < length[early]
        early, ahead = early[inside], ahead[inside]
        late = early + distance
        ahead = ahead * np.exp((time[late - 1] - time[late]) / delta_future)
        ahead += weight[late - 1] * np.exp((time[early] - time[late - 1]) / delta_past)
        rows.append(early)
        columns.append(late)
        ahead_values.append(ahead)
        among_values.append(np.exp((time[early] - time[late]) / delta_past) * later[late])
    where = (np.concatenate(rows), np.concatenate(columns))
    upper = sparse.csr_matrix((np.concatenate(among_values), where), shape=(size, size))
    forward = sparse.csr_matrix((np.concatenate(ahead_values), where), shape=(size, size))
    forward.eliminate_zeros()
    return (upper + sparse.triu(upper, 1).T).tocsr(), forward


def _later_cuts(
    from_end: NDArray[np.int64], time: NDArray[np.float64], weight: NDArray[np.float64], delta_past: float
) -> NDArray[np.float64]:
    """``G`` of the module; ``from_end`` is 1 for a shopper's last moment, 2 for the one before, ..."""
    total = np.zeros(len(time))
    order = np.argsort(from_end, kind="stable")
    bounds = np.searchsorted(from_end[order], np.arange(2, int(from_end.max(initial=1)) + 2))
    for start, stop in itertools.pairwise(bounds):
        at = order[start:stop]
        total[at] = weight[at] + np.exp(2.0 * (time[at] - time[at + 1]) / delta_past) * total[at + 1]
    return total


def _chunks(moments: Moments) -> Iterator[tuple[int, int]]:
    """Ranges of shoppers with about `TERMS_PER_CHUNK` terms each, at least one shopper."""
    length = np.diff(moments.indptr)
    events = np.diff(moments.events.indptr[moments.indptr])
    terms = np.cumsum(length * (length + events))
    first = 0
    while first < len(length):
        done = terms[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(terms, done + TERMS_PER_CHUNK, side="right")))
        yield first, last
        first = last
