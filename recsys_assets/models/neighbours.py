"""The exact nearest neighbours of every row of a sparse matrix, within bounded memory."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.csr import offsets
from lambda_api.recommender.item_weights import SparseWeights

Row = tuple[NDArray[np.int32], NDArray[np.float32]]

SIMILARITIES_PER_BLOCK = 4_000_000
"""Most similarities held at once (48 MB with their places)."""


def nearest(vectors: sparse.csr_matrix, k: int) -> SparseWeights:
    """The ``k`` largest positive inner products of each row with all rows, the row itself among them.

    Args:
        vectors: float ``[n, d]``, one row per product; normalised rows make the inner product a cosine.
        k: neighbours kept per product, the product itself included as in implicit's neighbour models.

    Returns:
        Weights ``[n, n]`` with at most ``k`` per row; of equals those of lower indices.
    """
    return strongest(rows_of_product(vectors, vectors.T), k)


def rows_of_product(left: sparse.spmatrix, right: sparse.spmatrix) -> Iterator[Row]:
    """The rows of ``left @ right``, of which at most `SIMILARITIES_PER_BLOCK` values are in memory, or one row."""
    left, right = left.tocsr(), right.tocsr()
    # Most pairs of products have nothing in common; only the others are stored.
    terms = np.concatenate([[0], np.cumsum(np.diff(right.indptr)[left.indices], dtype=np.int64)])
    stored = np.cumsum(np.minimum(np.diff(terms[left.indptr]), right.shape[1]))
    full = np.arange(1, stored[-1] // SIMILARITIES_PER_BLOCK + 1) * SIMILARITIES_PER_BLOCK if len(stored) else stored
    edges = np.unique([0, *np.searchsorted(stored, full, side="right"), left.shape[0]])
    return (row for start, stop in pairwise(edges.tolist()) for row in rows_of(left[start:stop] @ right))


def without_common(vectors: sparse.csr_matrix, most_pairs: int) -> sparse.csr_matrix:
    """``vectors`` without the columns that most rows share, so that rows share a column in ``most_pairs`` cases.

    The commonest columns tell least and cost most: comparing rows takes the square of a column's values. All are kept
    where that is affordable.
    """
    values = np.bincount(vectors.indices, minlength=vectors.shape[1]).astype(np.int64)
    order = np.argsort(values, kind="stable")
    kept = np.zeros(len(values), dtype=bool)
    kept[order] = np.cumsum(values[order] ** 2) <= most_pairs
    return vectors if kept.all() else sparse.csr_matrix(vectors[:, np.flatnonzero(kept)])


def rows_of(matrix: sparse.csr_matrix) -> Iterator[Row]:
    """Each row of ``matrix`` as columns and float32 weights, in the order stored."""
    data = matrix.data.astype(np.float32, copy=False)
    return ((matrix.indices[first:last], data[first:last]) for first, last in pairwise(matrix.indptr))


def strongest(rows: Iterable[Row], k: int) -> SparseWeights:
    """The ``k`` largest positive weights of each of ``n`` rows as weights ``[n, n]``, of equals those of lower columns.

    Columns of a row are distinct, in any order.
    """
    kept = [_strongest_of_row(columns, weights, k) for columns, weights in rows]
    return SparseWeights(
        indptr=offsets([len(columns) for columns, _ in kept]),
        indices=np.concatenate([np.empty(0, np.int32), *(columns for columns, _ in kept)]).astype(np.int32),
        data=np.concatenate([np.empty(0, np.float32), *(weights for _, weights in kept)]),
    )


def _strongest_of_row(columns: NDArray[np.int32], weights: NDArray[np.float32], k: int) -> Row:
    """The ``k`` largest positive weights, of equals those of lower columns; columns ascending."""
    if len(weights) > k:
        border = max(np.partition(weights, len(weights) - k)[len(weights) - k], np.float32(0.0))
        kept = np.flatnonzero(weights >= border)
        columns, weights = columns[kept], weights[kept]
    order = np.argsort(columns)
    columns, weights = columns[order], weights[order]
    if len(weights) > k:
        spare = k - np.count_nonzero(weights > border)
        tied = weights == border
        kept = np.flatnonzero(~tied | (np.cumsum(tied) <= spare))
        columns, weights = columns[kept], weights[kept]
    positive = weights > 0
    return columns[positive], weights[positive]


def normalised_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """``matrix`` with rows of Euclidean length 1; rows of zeros stay zero."""
    squares = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    return (sparse.diags(scale) @ matrix).tocsr()
