"""Item-to-item graphs of the two-stage recommender: several views of one log, each a few neighbours per product."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.csr import offsets_of_rows, run_starts, session_starts
from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.recommender.two_stage.sessions import SESSION_GAP_SECONDS
from recsys_assets.models.content import Content
from recsys_assets.models.dataset import DEFAULT_TYPE_WEIGHTS, TrainingData
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.neighbours import product_in_blocks, strongest

RECENT_HALF_LIFE_DAYS, RECENT_SHARE = 21.0, 0.25
"""Half-life of recent events, and the largest share of the log's length that it may be."""

NEXT_SESSIONS = 3
NEXT_STEPS, STEP_DECAY = 5, 0.7
WALK_NEIGHBOURS, POPULAR_POWER = 20, 0.3
SHRINKAGE = 5.0
HISTORY_LIMIT, LARGE_SHOP_HISTORY_LIMIT = 1_000, 150
"""Shoppers and sessions with more products are left out of the counting of pairs, which grows with the square."""

LARGE_SHOP = 8_000
"""Products above which pairs are counted sparsely, and long histories cost more than they tell."""


def pruned(blocks: Iterable[sparse.csr_matrix], neighbours: int) -> SparseWeights:
    """The ``neighbours`` largest positive weights of each row without its own product, ties to the lower index."""
    return strongest(blocks, neighbours, without_self=True)


def co_purchase(data: TrainingData, neighbours: int) -> SparseWeights:
    """Products of the same shoppers: the BM25 graph of `ItemKnn`, in a large shop without the longest histories."""
    if len(data.products) <= LARGE_SHOP:
        return _without_self(ItemKnn(neighbours=neighbours + 1, trend_power=0.0).fit(data))
    rows = ItemKnn().weighted(_thinned(data.matrix(DEFAULT_TYPE_WEIGHTS, binary=True)))
    return pruned(product_in_blocks(rows, rows.T), neighbours)


def content(data: TrainingData, neighbours: int) -> SparseWeights:
    """Products described alike: the graph of `Content`, which reaches products nobody has touched."""
    return _without_self(Content(neighbours=neighbours + 1, trend_power=0.0).fit(data))


def recent(data: TrainingData, neighbours: int) -> SparseWeights:
    """What shoppers of a product have been taking lately: ``W = X' R`` over shoppers.

    ``X[u, i]`` is 1 over the square root of the shopper's products, ``R[u, j]`` the weight of the event times
    ``0.5 ** (age / RECENT_HALF_LIFE_DAYS)``; the weight is divided by the root of the product's totals on both sides.
    """
    matrix = _thinned(data.matrix(DEFAULT_TYPE_WEIGHTS, binary=True).astype(np.float64))
    table = np.array([DEFAULT_TYPE_WEIGHTS[kind] for kind in sorted(DEFAULT_TYPE_WEIGHTS)])
    weight = table[data.kind] / table.max()
    span = data.as_of - int(data.timestamp.min(initial=data.as_of))
    half_life = max(1.0, min(RECENT_HALF_LIFE_DAYS * SECONDS_PER_DAY, RECENT_SHARE * span))
    weight = weight * 0.5 ** ((data.as_of - data.timestamp) / half_life)
    decayed = sparse.csr_matrix((weight, (data.user, data.product)), shape=matrix.shape)
    per_user = np.asarray(matrix.sum(axis=1)).ravel()
    scaled = sparse.diags(1.0 / np.sqrt(np.maximum(per_user, 1.0))) @ matrix
    return pruned(_normalised(scaled.T, decayed, np.asarray(matrix.sum(axis=0)).ravel()), neighbours)


def same_session(data: TrainingData, neighbours: int) -> SparseWeights:
    """Products of one session: cosine over sessions, a session counting less the more products it holds."""
    sessions = session_matrix(data)[0]
    size = np.asarray(sessions.sum(axis=1)).ravel()
    scaled = sparse.diags(1.0 / np.log1p(size + 1.0)) @ sessions
    counts = np.asarray(sessions.sum(axis=0)).ravel()
    scale = 1.0 / np.sqrt(counts + SHRINKAGE)
    return pruned(product_in_blocks(scaled.T, sessions, scale, scale), neighbours)


def next_session(data: TrainingData, neighbours: int) -> SparseWeights:
    """What follows a product in the same shopper's next `NEXT_SESSIONS` sessions, the next one counting most."""
    sessions, owner = session_matrix(data)
    size = np.maximum(np.asarray(sessions.sum(axis=1)).ravel(), 1.0)
    before = sparse.diags(1.0 / np.sqrt(size)) @ sessions
    first, then = [], []
    for step in range(1, NEXT_SESSIONS + 1):
        follows = np.flatnonzero(owner[:-step] == owner[step:]) if len(owner) > step else np.empty(0, np.int64)
        first.append(before[follows])
        then.append(0.5 ** (step - 1) * before[follows + step])
    left, right = (sparse.vstack(parts, format="csr") for parts in (first, then))
    totals = np.asarray(sessions.sum(axis=0)).ravel()
    return pruned(_normalised(left.T, right, totals, totals), neighbours)


def next_click(data: TrainingData, neighbours: int) -> SparseWeights:
    """What is clicked after a product within its session, `NEXT_STEPS` clicks ahead, the nearest counting most.

    Each weight is divided by the number of events of the product, shrunk: about the chance that the next click leads
    there.
    """
    session, shape = session_of_event(data), (len(data.products), len(data.products))
    total = sparse.csr_matrix(shape)
    for step in range(1, NEXT_STEPS + 1):
        at = np.flatnonzero(session[step:] == session[:-step])
        weight = np.full(len(at), STEP_DECAY ** (step - 1))
        total = total + sparse.csr_matrix((weight, (data.product[at], data.product[at + step])), shape=shape)
    events = np.bincount(data.product, minlength=len(data.products))
    return pruned([sparse.diags(1.0 / (events + SHRINKAGE)) @ total], neighbours)


def session_walk(data: TrainingData, neighbours: int) -> SparseWeights:
    """Two steps through products of the same sessions; reaches products that no session has together.

    A step goes to one of the `WALK_NEIGHBOURS` strongest neighbours; frequent products count less.
    """
    sessions = session_matrix(data)[0]
    size = np.maximum(np.asarray(sessions.sum(axis=1)).ravel(), 1.0)
    counts = np.asarray(sessions.sum(axis=0)).ravel()
    scaled = sparse.diags(1.0 / np.sqrt(size)) @ sessions
    step = _matrix(pruned(product_in_blocks(scaled.T, sessions, 1.0 / (counts + SHRINKAGE)), WALK_NEIGHBOURS))
    return pruned(product_in_blocks(step, step, column_scale=(counts + 1.0) ** -POPULAR_POWER), neighbours)


GRAPHS: Mapping[str, Callable[[TrainingData, int], SparseWeights]] = {
    "co_purchase": co_purchase,
    "content": content,
    "recent": recent,
    "same_session": same_session,
    "next_session": next_session,
    "next_click": next_click,
    "session_walk": session_walk,
}
"""Every graph by name; ``fit(data, neighbours)``."""


OF_CATALOGUE = frozenset({"content"})
"""Graphs of the catalogue alone: the same for every window of a log."""


def session_matrix(data: TrainingData) -> tuple[sparse.csr_matrix, NDArray[np.int32]]:
    """Sessions x products, ones, and the user of each session; sessions are in order of user, then time."""
    session = session_of_event(data)
    first = run_starts(session)
    shape = (int(first.sum()), len(data.products))
    matrix = sparse.csr_matrix((np.ones(len(session)), (session, data.product)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return _thinned(matrix), data.user[first]


def session_of_event(data: TrainingData) -> NDArray[np.int64]:
    """Number of each event's session, int64 ``[E]``, ascending."""
    return np.cumsum(session_starts(data.user, data.timestamp, SESSION_GAP_SECONDS)) - 1


def _matrix(weights: SparseWeights) -> sparse.csr_matrix:
    return sparse.csr_matrix(
        (weights.data.astype(np.float64), weights.indices, weights.indptr), shape=(len(weights),) * 2
    )


def _thinned(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows with more products than the limit emptied: they relate everything to everything."""
    size = np.diff(matrix.indptr)
    limit = HISTORY_LIMIT if matrix.shape[1] <= LARGE_SHOP else LARGE_SHOP_HISTORY_LIMIT
    return (sparse.diags((size <= limit).astype(np.float64)) @ matrix).tocsr()


def _normalised(
    left: sparse.spmatrix,
    right: sparse.spmatrix,
    sources: NDArray[np.float64],
    targets: NDArray[np.float64] | None = None,
) -> Iterator[sparse.csr_matrix]:
    """Rows of ``left @ right``, divided by the root of how often the source occurs, columns by that of the target.

    ``targets``: totals, by default those of ``right``. Both are shrunk.
    """
    reach = np.asarray(right.sum(axis=0)).ravel() if targets is None else targets
    return product_in_blocks(left, right, 1.0 / np.sqrt(sources + SHRINKAGE), 1.0 / np.sqrt(reach + 1.0))


def _without_self(recommender: ItemToItemRecommender) -> SparseWeights:
    weights = recommender.weights
    assert isinstance(weights, SparseWeights)
    row = np.repeat(np.arange(len(weights)), np.diff(weights.indptr))
    kept = weights.indices != row
    return SparseWeights(offsets_of_rows(row[kept], len(weights)), weights.indices[kept], weights.data[kept])
