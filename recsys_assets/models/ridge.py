"""Dense linear algebra of the closed-form item-to-item models, EASE and temporal linear.

Everything is solved in float64 and stored in float32.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.errors import RecsysError
from lambda_api.recommender.csr import offsets
from lambda_api.recommender.item_weights import DenseWeights, ItemWeights
from recsys_assets.models.neighbours import strongest

ROWS_PER_BLOCK = 512
"""Rows of an ``n x n`` matrix worked on at once, which keeps temporary arrays small."""

DENSE_FROM = 0.05
"""Share of non-zeros from which a dense product is faster than a sparse one."""

SPARSE_NEIGHBOURS = 500
"""Weights kept per product in catalogues where storing all would take gigabytes."""

GIGABYTE = 1e9


class ModelTooLarge(RecsysError, ValueError):
    """Fitting would need more memory than allowed."""


def busiest(matrix: sparse.csr_matrix, most: int) -> NDArray[np.int32]:
    """The at most ``most`` columns with the most entries, of equals the lower ones, none empty; ascending."""
    entries = np.bincount(matrix.indices, minlength=matrix.shape[1])
    chosen = np.argsort(-entries, kind="stable")[:most]
    return np.sort(chosen[entries[chosen] > 0]).astype(np.int32)


def neighbours_kept(top_neighbours: int | None, products: int, max_products: int) -> int | None:
    """Weights to keep per product; ``None`` for all."""
    return SPARSE_NEIGHBOURS if top_neighbours is None and products > max_products else top_neighbours


def require_memory(model: str, needed: float, max_memory_gb: float, solved: int, products: int) -> None:
    """Raise `ModelTooLarge` where ``needed`` bytes are more than allowed."""
    if needed / GIGABYTE > max_memory_gb:
        raise ModelTooLarge(
            f"{model} would need {needed / GIGABYTE:.1f} GB for {solved:,} products with interactions (of "
            f"{products:,}), more than max_memory_gb={max_memory_gb:g}",
            remedy="raise it, lower max_products, shorten the data window, set top_neighbours to store fewer weights, "
            "or use item_knn or matrix_factorisation, which grow with the interactions instead",
        )


def inverse(gramian: NDArray[np.float64], l2: float, model: str) -> NDArray[np.float64]:
    """``(gramian + l2 I)^-1`` by Cholesky, symmetric to the bit, in the memory of ``gramian``.

    Args:
        gramian: symmetric, positive semi-definite, C-contiguous ``[n, n]``; overwritten.
        l2: > 0.
        model: named in the error.

    Raises:
        ValueError: the sum is not positive definite in float64.
    """
    from scipy.linalg import lapack

    gramian[np.diag_indices_from(gramian)] += l2
    # Fortran order lets LAPACK work in place; the matrix is symmetric, so the transpose is the same matrix.
    factor, failed = lapack.dpotrf(gramian.T, lower=0, overwrite_a=1)
    if failed:
        raise ValueError(f"{model}: the Gramian plus l2 I is not positive definite (LAPACK dpotrf: {failed}); raise l2")
    result, failed = lapack.dpotri(factor, lower=0, overwrite_c=1)
    if failed:
        raise ValueError(f"{model}: the Gramian plus l2 I cannot be inverted (LAPACK dpotri: {failed}); raise l2")
    for start in range(0, len(result), ROWS_PER_BLOCK):
        stop = start + ROWS_PER_BLOCK
        result[stop:, start:stop] = result[start:stop, stop:].T
        corner = np.triu(result[start:stop, start:stop])
        result[start:stop, start:stop] = corner + np.triu(corner, 1).T
    return result.T


def regression(
    gramian: NDArray[np.float64], cross: sparse.csr_matrix, l2: float, model: str, dtype: Any = np.float32
) -> NDArray[Any]:
    """``(gramian + l2 I)^-1 cross``, the ridge regression of the columns of ``cross``.

    Args:
        gramian: float64 ``[n, n]``; overwritten, see `inverse`.
        cross: float64 sparse ``[n, n]``.
        dtype: of the result; the arithmetic is always float64.

    Raises:
        ValueError: see `inverse`.
    """
    size = len(gramian)
    inverted = inverse(gramian, l2, model)
    targets = cross.T.tocsr()
    dense = targets.nnz > DENSE_FROM * size**2
    weights = np.empty((size, size), dtype=dtype)
    for start in range(0, size, ROWS_PER_BLOCK):
        block = targets[start : start + ROWS_PER_BLOCK]
        # The inverse is symmetric: target rows times it are the transposed columns of the result.
        weights[:, start : start + ROWS_PER_BLOCK] = ((block.toarray() if dense else block) @ inverted).T
    return weights


def stored(
    weights: NDArray[np.float32], active: NDArray[np.int32], products: int, top_neighbours: int | None
) -> ItemWeights:
    """``weights`` among the products ``active`` as weights among all ``products``.

    Args:
        weights: float32 ``[len(active), len(active)]``.
        active: indices of its rows and columns, ascending.
        top_neighbours: keep this many positive weights per row, sparsely, of equals those of lower indices; ``None``
            keeps everything, densely.
    """
    if top_neighbours is None:
        if len(active) == products:
            return DenseWeights(weights)
        everything = np.zeros((products, products), dtype=np.float32)
        everything[np.ix_(active, active)] = weights
        return DenseWeights(everything)
    return strongest(_in_blocks(weights, active, products), top_neighbours)


def _in_blocks(weights: NDArray[np.float32], active: NDArray[np.int32], products: int) -> Iterator[sparse.csr_matrix]:
    """``weights`` among ``active`` as blocks of rows of ``[products, products]``."""
    for start in range(0, products, ROWS_PER_BLOCK):
        stop = min(start + ROWS_PER_BLOCK, products)
        first, last = np.searchsorted(active, (start, stop)).tolist()
        lengths = np.zeros(stop - start, dtype=np.int64)
        lengths[active[first:last] - start] = len(active)
        values = (weights[first:last].ravel(), np.tile(active, last - first), offsets(lengths))
        yield sparse.csr_matrix(values, shape=(stop - start, products))
