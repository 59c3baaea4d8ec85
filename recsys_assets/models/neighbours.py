"""The exact nearest neighbours of every row of a sparse matrix, within bounded memory."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.csr import offsets
from lambda_api.recommender.item_weights import SparseWeights

SIMILARITIES_PER_BLOCK = 4_000_000
"""Similarities held at once (48 MB with their places)."""


def nearest(vectors: sparse.csr_matrix, k: int) -> SparseWeights:
    """The ``k`` largest positive inner products of each row with all rows, the row itself among them.

    Args:
        vectors: float ``[n, d]``, one row per product; normalised rows make the inner product a cosine.
        k: neighbours kept per product, the product itself included as in implicit's neighbour models.

    Returns:
        Weights ``[n, n]`` with at most ``k`` per row; of equals those of lower indices.
    """
    return strongest(product_in_blocks(vectors, vectors.T), k)


def product_in_blocks(
    left: sparse.spmatrix,
    right: sparse.spmatrix,
    row_scale: NDArray[np.float64] | None = None,
    column_scale: NDArray[np.float64] | None = None,
) -> Iterator[sparse.csr_matrix]:
    """``left @ right`` in blocks of rows, multiplied by the scales of rows and columns where these are given.

    A block holds at most `SIMILARITIES_PER_BLOCK` values and one row more.
    """
    left, right = left.tocsr(), right.tocsr()
    # Most pairs of products have nothing in common; only the others are stored.
    terms = np.concatenate([[0], np.cumsum(np.diff(right.indptr)[left.indices], dtype=np.int64)])
    stored = np.cumsum(np.minimum(np.diff(terms[left.indptr]), right.shape[1]))
    full = np.arange(1, stored[-1] // SIMILARITIES_PER_BLOCK + 1) * SIMILARITIES_PER_BLOCK if len(stored) else stored
    edges = np.unique([0, *np.searchsorted(stored, full, side="right"), left.shape[0]])

    def block(start: int, stop: int) -> sparse.csr_matrix:
        values = left[start:stop] @ right
        if row_scale is not None:
            values.data *= np.repeat(row_scale[start:stop], np.diff(values.indptr))
        if column_scale is not None:
            values.data *= column_scale[values.indices]
        return values

    return (block(start, stop) for start, stop in pairwise(edges.tolist()))


def without_common(vectors: sparse.csr_matrix, most_pairs: int) -> sparse.csr_matrix:
    """``vectors`` without its commonest columns, so that at most ``most_pairs`` pairs of values share a column.

    The commonest columns tell least and cost most: comparing rows takes the square of a column's values. All are kept
    where that is affordable.
    """
    values = np.bincount(vectors.indices, minlength=vectors.shape[1]).astype(np.int64)
    order = np.argsort(values, kind="stable")
    kept = np.zeros(len(values), dtype=bool)
    kept[order] = np.cumsum(values[order] ** 2) <= most_pairs
    return vectors if kept.all() else sparse.csr_matrix(vectors[:, np.flatnonzero(kept)])


def strongest(blocks: Iterable[sparse.csr_matrix], k: int, *, without_self: bool = False) -> SparseWeights:
    """The ``k`` largest positive weights of each of ``n`` rows as weights ``[n, n]``, of equals those of lower columns.

    Args:
        blocks: the rows, one block after the other. Columns of a row are distinct, in any order.
        without_self: leave out the weight of a row for its own column.
    """
    kept: list[sparse.csr_matrix] = []
    first = 0
    for block in blocks:
        kept.append(_strongest_of(block, k, first if without_self else None))
        first += block.shape[0]
    return SparseWeights(
        indptr=offsets(np.concatenate([np.empty(0, np.int64), *(np.diff(one.indptr) for one in kept)])),
        indices=np.concatenate([np.empty(0, np.int32), *(one.indices for one in kept)]).astype(np.int32),
        data=np.concatenate([np.empty(0, np.float32), *(one.data for one in kept)]),
    )


def _strongest_of(block: sparse.csr_matrix, k: int, own: int | None) -> sparse.csr_matrix:
    """`strongest` of a block; ``own``: the column that is the first row's own, the second's is the next."""
    weights = block.data.astype(np.float32, copy=False)
    wanted = weights > 0
    if own is not None:
        wanted &= block.indices != np.repeat(np.arange(own, own + block.shape[0]), np.diff(block.indptr))
    found = _chosen(sparse.csr_matrix((weights, block.indices, block.indptr), shape=block.shape), wanted)
    # Most rows are short; only the others are looked at one by one.
    chosen = np.ones(found.nnz, dtype=bool)
    borders = {}
    for row in np.flatnonzero(np.diff(found.indptr) > k).tolist():
        part = slice(found.indptr[row], found.indptr[row + 1])
        values = found.data[part]
        borders[row] = np.partition(values, len(values) - k)[len(values) - k]
        chosen[part] = values >= borders[row]
    # A copy: where every value was chosen, the arrays are still the caller's.
    found = _chosen(found, chosen).sorted_indices()
    chosen = np.ones(found.nnz, dtype=bool)
    for row in np.flatnonzero(np.diff(found.indptr) > k).tolist():
        part = slice(found.indptr[row], found.indptr[row + 1])
        tied = found.data[part] == borders[row]
        chosen[part] = ~tied | (np.cumsum(tied) <= k - np.count_nonzero(~tied))
    return _chosen(found, chosen)


def _chosen(matrix: sparse.csr_matrix, chosen: NDArray[np.bool_]) -> sparse.csr_matrix:
    """The values of ``matrix`` that are ``chosen`` (bool, one per value)."""
    if chosen.all():
        return matrix
    before = offsets(chosen)
    return sparse.csr_matrix((matrix.data[chosen], matrix.indices[chosen], before[matrix.indptr]), shape=matrix.shape)


def normalised_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """``matrix`` with rows of Euclidean length 1; rows of zeros stay zero."""
    squares = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    return (sparse.diags(scale) @ matrix).tocsr()
