"""Item-to-item weights, dense or sparse, and their product with shoppers' profiles.

Each shopper's row is computed on its own, in an order that does not depend on the batch: equal histories get equal
scores to the last bit in any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.csr import find_sorted, offsets, ranges
from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.profiles import Profiles

FloatArray = NDArray[np.float32]

GATHERED_PER_CHUNK = 1_000_000
"""Weights copied at once (about 25 MB with their indices); bounds memory for any batch."""


@dataclass(frozen=True, slots=True)
class SparseWeights:
    """Weights in CSR form, indices ascending within a row.

    Attributes:
        indptr: int64 ``[n + 1]``.
        indices: int32 ``[nnz]``, columns.
        data: float32 ``[nnz]``.
    """

    indptr: NDArray[np.int64]
    indices: IndexArray
    data: FloatArray

    def __post_init__(self) -> None:
        if len(self.indptr) == 0 or not len(self.indices) == len(self.data) == self.indptr[-1]:
            raise ValueError("indptr must end with the number of indices, which is the number of weights")
        for name in ("indptr", "indices", "data"):
            # Reading elements of a plain view is several times faster than reading those of a memmap.
            object.__setattr__(self, name, np.asarray(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def scores(self, profiles: Profiles) -> FloatArray:
        """Sum over each profile of weight times row; float32 ``[B, n]``."""
        width = len(self)
        scores = np.zeros((len(profiles), width), dtype=np.float32)
        starts, lengths = self._extents(profiles.products)
        shopper = profiles.row_of_pair
        gathered = offsets(lengths)[profiles.indptr]
        first = 0
        while first < len(profiles):
            limit = gathered[first] + GATHERED_PER_CHUNK
            last = max(first + 1, int(np.searchsorted(gathered, limit, side="right")) - 1)
            # bincount holds float64 cells for the whole chunk, so its height is bounded as well as its entries.
            last = min(last, first + max(1, GATHERED_PER_CHUNK // max(1, width)))
            pairs = slice(int(profiles.indptr[first]), int(profiles.indptr[last]))
            place = ranges(starts[pairs], lengths[pairs])
            cells = np.repeat((shopper[pairs] - first) * width, lengths[pairs]) + self.indices[place]
            terms = np.repeat(profiles.weights[pairs], lengths[pairs]) * self.data[place]
            sums = np.bincount(cells, weights=terms, minlength=(last - first) * width)
            scores[first:last] = sums.reshape(last - first, width)
            first = last
        return scores

    def rows(self, products: IndexArray) -> FloatArray:
        """Dense rows of ``products``, float32 ``[m, n]``, a copy."""
        dense = np.zeros((len(products), len(self)), dtype=np.float32)
        starts, lengths = self._extents(products)
        place = ranges(starts, lengths)
        dense[np.repeat(np.arange(len(products)), lengths), self.indices[place]] = self.data[place]
        return dense

    def block(self, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """Weights from each of ``rows`` (``[r]``) to each of ``columns`` (``[c]``, distinct); float32 ``[r, c]``."""
        block = np.zeros((len(rows), len(columns)), dtype=np.float32)
        starts, lengths = self._extents(rows)
        place = ranges(starts, lengths)
        order = np.argsort(columns)
        at, there = find_sorted(np.asarray(columns)[order], self.indices[place])
        hit = np.flatnonzero(there)
        row = np.repeat(np.arange(len(rows)), lengths)
        block[row[hit], order[at[hit]]] = self.data[place[hit]]
        return block

    def scores_of(self, profiles: Profiles, products: IndexArray) -> FloatArray:
        """`scores` of ``products`` (``[m]``, distinct) alone, to the last bit; float32 ``[B, m]``."""
        past, at = np.unique(profiles.products, return_inverse=True)
        block = self.block(past, products).astype(np.float64)
        scores = np.zeros((len(profiles), len(products)), dtype=np.float32)
        for row in range(len(profiles)):
            pairs = slice(int(profiles.indptr[row]), int(profiles.indptr[row + 1]))
            # Added up row by row like bincount in `scores`, so that the sums are equal to the last bit.
            scores[row] = (profiles.weights[pairs, None] * block[at[pairs]]).sum(axis=0)
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array needed to restore the weights."""
        return {"indptr": self.indptr, "indices": self.indices, "data": self.data}

    def _extents(self, rows: IndexArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each of ``rows`` starts, and its number of weights."""
        starts = self.indptr[rows]
        return starts, self.indptr[np.asarray(rows) + 1] - starts


@dataclass(frozen=True, slots=True)
class DenseWeights:
    """Weights as one float32 ``[n, n]`` array, possibly memory-mapped; a request reads the rows it needs."""

    weights: FloatArray

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.weights.shape[0] != self.weights.shape[1]:
            raise ValueError(f"weights must be square, not {self.weights.shape}")

    def __len__(self) -> int:
        return len(self.weights)

    def scores(self, profiles: Profiles) -> FloatArray:
        """See `SparseWeights.scores`."""
        scores = np.zeros((len(profiles), len(self)), dtype=np.float32)
        weights = profiles.weights.astype(np.float32)
        block = max(1, GATHERED_PER_CHUNK // max(1, len(self)))
        for row in range(len(profiles)):
            stop = int(profiles.indptr[row + 1])
            for start in range(int(profiles.indptr[row]), stop, block):
                end = min(start + block, stop)
                scores[row] += weights[start:end] @ self.weights[profiles.products[start:end]]
        return scores

    def rows(self, products: IndexArray) -> FloatArray:
        """See `SparseWeights.rows`."""
        return np.array(self.weights[products], dtype=np.float32)

    def block(self, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """See `SparseWeights.block`."""
        return np.array(self.weights[np.ix_(rows, columns)], dtype=np.float32)

    def scores_of(self, profiles: Profiles, products: IndexArray) -> FloatArray:
        """See `SparseWeights.scores_of`; computes all columns, since a product of fewer rounds differently."""
        return self.scores(profiles)[:, products]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array needed to restore the weights."""
        return {"weights": self.weights}


ItemWeights = DenseWeights | SparseWeights
"""``n x n`` weights; row: a product of the shopper's past, column: the product scored."""


def mean_likeness(blocks: Sequence[FloatArray]) -> FloatArray:
    """`Recommender.likeness` of ``m`` products from blocks of weights among them (each ``[m, m]``).

    Of both directions the larger weight counts, divided by the largest of its block; the mean over blocks.
    """
    size = len(blocks[0])
    total = np.zeros((size, size), dtype=np.float32)
    for block in blocks:
        both = np.maximum(np.maximum(block, block.T), 0.0)
        np.fill_diagonal(both, 0.0)
        total += both / max(float(both.max(initial=0.0)), np.finfo(np.float32).tiny)
    total /= len(blocks)
    np.fill_diagonal(total, 1.0)
    return total
