"""Lists from the few products that have a score, filled up by popularity.

On a catalogue of hundreds of thousands of products nearly every score of an item-to-item model is zero, and masking and
searching them all takes most of an answer.
"""

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import Recommendations, ScoreArray
from lambda_api.recommender.csr import find_sorted
from lambda_api.recommender.histories import Ragged
from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.topk import empty_lists, top_k


def best_of(
    scores: ScoreArray, k: int, exclude: Ragged, allowed: NDArray[np.bool_] | None
) -> tuple[IndexArray, ScoreArray]:
    """The ``k`` best of each shopper among what has a score > 0 and may be listed, see `empty_lists`.

    Ties by ascending product.

    Args:
        scores: float32 ``[B, n]``, few of them above 0.
        exclude: row-aligned with them.
    """
    banned = np.zeros(scores.shape[1], dtype=bool) if allowed is None else ~allowed
    products, values = empty_lists(len(scores), k)
    for row, line in enumerate(scores):
        own = exclude.row(row)
        others = banned[own]
        banned[own] = True
        found = np.flatnonzero((line > 0) & ~banned)
        banned[own] = others
        (best,), (values[row],) = top_k(line[None, found], k)
        products[row, : len(found)] = found[best[: len(found)]]
    return products, values


def complete(
    lists: Recommendations, rows: NDArray[np.int64], order: IndexArray, exclude: Ragged, scores: ScoreArray
) -> None:
    """Fill the lists of ``rows``, in place, with the first products of ``order`` that are neither listed nor excluded.

    Args:
        exclude: row-aligned with ``lists``.
        scores: float32 ``[n_products]``, beside what is filled in.
    """
    if len(rows) == 0:
        return
    width, k = len(scores), lists.products.shape[1]
    listed = lists.products[rows].astype(np.int64)
    row, column = np.nonzero(listed >= 0)
    have = np.bincount(row, minlength=len(rows))
    taken = np.sort(np.concatenate([exclude.keys(width), rows[row] * width + listed[row, column]]))
    enough = k + int(np.diff(exclude.indptr)[rows].max()) + int(have.max())
    first = order[:enough]
    free = ~find_sorted(taken, rows[:, None] * width + first)[1]
    place = have[:, None] + np.cumsum(free, axis=1) - 1
    row, column = np.nonzero(free & (place < k))
    lists.products[rows[row], place[row, column]] = first[column]
    lists.scores[rows[row], place[row, column]] = scores[first[column]]
