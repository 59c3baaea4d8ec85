"""The nearest neighbours of every row of a sparse matrix, exactly, within bounded memory.

Put the neighbour search that item-kNN and content similarity share here. Keep weighting of the matrix out.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.topk import top_k

SIMILARITIES_PER_CHUNK = 4_000_000
"""Similarities held at once (16 MB of float32)."""


def nearest(vectors: sparse.csr_matrix, k: int) -> SparseWeights:
    """The ``k`` largest positive inner products of each row with all rows, the row itself among them.

    Args:
        vectors: float ``[n, d]``, one row per product; normalised rows make the inner product a cosine.
        k: neighbours kept per product, the product itself included as in implicit's neighbour models.

    Returns:
        Weights ``[n, n]`` with at most ``k`` per row, ties at the border won by the lower index.
    """
    rows = vectors.shape[0]
    transposed = vectors.T.tocsr()
    height = max(1, SIMILARITIES_PER_CHUNK // max(1, rows))
    counts: list[NDArray[np.int64]] = []
    indices: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float32]] = []
    for start in range(0, rows, height):
        similarity = (vectors[start : start + height] @ transposed).toarray().astype(np.float32, copy=False)
        similarity[similarity <= 0] = -np.inf
        chosen, weights = top_k(similarity, min(k, rows))
        order = np.argsort(np.where(chosen < 0, rows, chosen), axis=1, kind="stable")
        chosen, weights = np.take_along_axis(chosen, order, 1), np.take_along_axis(weights, order, 1)
        kept = chosen >= 0
        counts.append(kept.sum(axis=1))
        indices.append(chosen[kept])
        values.append(weights[kept])
    return SparseWeights(
        indptr=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64),
        indices=np.concatenate(indices).astype(np.int32),
        data=np.concatenate(values).astype(np.float32),
    )


def normalised_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """``matrix`` with rows of Euclidean length 1; rows of zeros stay zero."""
    squares = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    return (sparse.diags(scale) @ matrix).tocsr()
