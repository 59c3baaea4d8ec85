"""Item-to-item graphs of the two-stage recommender: several views of one log, each a few neighbours per product.

Put a new view of the data here, with its formula. Keep following the graphs at inference in
``lambda_api.recommender.two_stage.candidates``, and the graphs that a trainer of the zoo fits in that trainer.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from recsys_assets.models.content import Content
from recsys_assets.models.cut_points import moments
from recsys_assets.models.dataset import DEFAULT_TYPE_WEIGHTS, TrainingData
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.temporal_linear import TemporalLinear

SESSION_GAP_SECONDS = 1_800
"""Half an hour without an event ends a session."""

RECENT_HALF_LIFE_DAYS = 21.0
NEXT_SESSIONS = 3
SHRINKAGE = 5.0
HISTORY_LIMIT, LARGE_SHOP_HISTORY_LIMIT = 1_000, 150
"""Shoppers and sessions with more products are left out of the counting of pairs, which grows with the square."""

LARGE_SHOP = 8_000
"""Products above which pairs are counted sparsely, and long histories cost more than they tell."""


def pruned(matrix: sparse.spmatrix, neighbours: int) -> SparseWeights:
    """The ``neighbours`` largest positive weights of each row without its own product, ties to the lower index."""
    coo = sparse.coo_matrix(matrix)
    kept = (coo.data > 0) & (coo.row != coo.col)
    row, column, value = coo.row[kept], coo.col[kept], coo.data[kept].astype(np.float32)
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    start = np.searchsorted(row, np.arange(coo.shape[0]))
    kept = np.arange(len(row)) - start[row] < neighbours
    row, column, value = row[kept], column[kept], value[kept]
    order = np.lexsort((column, row))
    counts = np.bincount(row, minlength=coo.shape[0])
    return SparseWeights(
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        indices=column[order].astype(np.int32),
        data=value[order],
    )


def together(data: TrainingData, neighbours: int, most: int) -> SparseWeights:
    """Products of the same shoppers: the BM25 graph of `ItemKnn`, in a large shop without the longest histories."""
    if len(data.products) <= LARGE_SHOP:
        return _without_self(ItemKnn(neighbours=neighbours + 1, trend_power=0.0).fit(data))
    rows = ItemKnn()._weighted(_thinned(data.matrix(DEFAULT_TYPE_WEIGHTS, binary=True)))
    return pruned(rows @ rows.T, neighbours)


def follows(data: TrainingData, neighbours: int, most: int) -> SparseWeights:
    """The largest weights of `TemporalLinear` among the ``most`` products with the most events.

    Nothing follows anything where nobody came twice.
    """
    known = data.of_most_touched(most)
    if moments(known, DEFAULT_TYPE_WEIGHTS, "steps").cuts == 0:
        return SparseWeights(np.zeros(len(data.products) + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    unlimited = 1.0 + most**2  # whoever asks has decided how many are few enough
    trainer = TemporalLinear(top_neighbours=neighbours, trend_power=0.0, max_memory_gb=unlimited)
    return _without_self(trainer.fit(known))


def described(data: TrainingData, neighbours: int, most: int) -> SparseWeights:
    """Products described alike: the graph of `Content`, which reaches products nobody has touched."""
    return _without_self(Content(neighbours=neighbours + 1, trend_power=0.0).fit(data))


def recent(data: TrainingData, neighbours: int, most: int) -> SparseWeights:
    """What shoppers of a product have been taking lately: ``W = X' R`` over shoppers.

    ``X[u, i]`` is 1 over the square root of the shopper's products, ``R[u, j]`` the weight of the event times
    ``0.5 ** (age / RECENT_HALF_LIFE_DAYS)``; the weight is divided by the root of the product's totals on both sides.
    """
    matrix = _thinned(data.matrix(DEFAULT_TYPE_WEIGHTS, binary=True).astype(np.float64))
    table = np.array([DEFAULT_TYPE_WEIGHTS[kind] for kind in sorted(DEFAULT_TYPE_WEIGHTS)])
    weight = table[data.kind] / table.max()
    weight = weight * 0.5 ** ((data.as_of - data.timestamp) / (RECENT_HALF_LIFE_DAYS * SECONDS_PER_DAY))
    decayed = sparse.csr_matrix((weight, (data.user, data.product)), shape=matrix.shape)
    per_user = np.asarray(matrix.sum(axis=1)).ravel()
    scaled = sparse.diags(1.0 / np.sqrt(np.maximum(per_user, 1.0))) @ matrix
    return pruned(_normalised(scaled.T @ decayed, np.asarray(matrix.sum(axis=0)).ravel(), decayed), neighbours)


def same_session(data: TrainingData, neighbours: int, most: int) -> SparseWeights:
    """Products of one session: cosine over sessions, a session counting less the more products it holds."""
    sessions = session_matrix(data)[0]
    size = np.asarray(sessions.sum(axis=1)).ravel()
    scaled = sparse.diags(1.0 / np.log1p(size + 1.0)) @ sessions
    counts = np.asarray(sessions.sum(axis=0)).ravel()
    scale = sparse.diags(1.0 / np.sqrt(counts + SHRINKAGE))
    return pruned(scale @ (scaled.T @ sessions) @ scale, neighbours)


def next_session(data: TrainingData, neighbours: int, most: int) -> SparseWeights:
    """What follows a product in the same shopper's next `NEXT_SESSIONS` sessions, the next one counting most."""
    sessions, owner = session_matrix(data)
    size = np.maximum(np.asarray(sessions.sum(axis=1)).ravel(), 1.0)
    before = sparse.diags(1.0 / np.sqrt(size)) @ sessions
    total = sparse.csr_matrix((len(data.products), len(data.products)))
    for step in range(1, NEXT_SESSIONS + 1):
        follows = np.flatnonzero(owner[:-step] == owner[step:]) if len(owner) > step else np.empty(0, np.int64)
        total = total + 0.5 ** (step - 1) * (before[follows].T @ before[follows + step])
    return pruned(_normalised(total, np.asarray(sessions.sum(axis=0)).ravel(), sessions), neighbours)


GRAPHS: Mapping[str, Callable[[TrainingData, int, int], SparseWeights]] = {
    "together": together,
    "follows": follows,
    "described": described,
    "recent": recent,
    "same_session": same_session,
    "next_session": next_session,
}
"""Every graph by name; ``fit(data, neighbours, most)``, ``most`` products among which closed forms are solved."""


OF_CATALOGUE = frozenset({"described"})
"""Graphs of the catalogue alone: the same for every window of a log."""


def session_matrix(data: TrainingData) -> tuple[sparse.csr_matrix, NDArray[np.int32]]:
    """Sessions x products, ones, and the user of each session; sessions are in order of user, then time."""
    gap = np.diff(data.timestamp, prepend=data.timestamp[:1]) > SESSION_GAP_SECONDS
    begins = gap | (np.diff(data.user, prepend=-1) != 0)
    session = np.cumsum(begins) - 1
    shape = (int(begins.sum()), len(data.products))
    matrix = sparse.csr_matrix((np.ones(len(session)), (session, data.product)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return _thinned(matrix), data.user[begins]


def _thinned(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows with more products than the limit emptied: they relate everything to everything."""
    size = np.diff(matrix.indptr)
    limit = HISTORY_LIMIT if matrix.shape[1] <= LARGE_SHOP else LARGE_SHOP_HISTORY_LIMIT
    return (sparse.diags((size <= limit).astype(np.float64)) @ matrix).tocsr()


def _normalised(weights: sparse.spmatrix, sources: NDArray[np.float64], targets: sparse.spmatrix) -> sparse.csr_matrix:
    """Rows divided by the root of how often the source occurs, columns by that of the target's total, shrunk."""
    reach = np.asarray(targets.sum(axis=0)).ravel()
    left = sparse.diags(1.0 / np.sqrt(sources + SHRINKAGE))
    right = sparse.diags(1.0 / np.sqrt(reach + 1.0))
    return (left @ weights @ right).tocsr()


def _without_self(recommender: ItemToItemRecommender) -> SparseWeights:
    weights = recommender.weights
    assert isinstance(weights, SparseWeights)
    row = np.repeat(np.arange(len(weights)), np.diff(weights.indptr))
    kept = weights.indices != row
    counts = np.bincount(row[kept], minlength=len(weights))
    return SparseWeights(
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        indices=weights.indices[kept],
        data=weights.data[kept],
    )
