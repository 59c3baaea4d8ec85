"""Item-to-item weights, dense or sparse, and the one product they are needed for: profiles times weights.

Put storage and arithmetic of an item-to-item matrix here. Keep what its weights mean in the trainers, and what a
shopper's profile is in ``profiles``. Every shopper's row is computed on its own, in an order that does not depend on
the batch, so a list does not change by one bit with the batch it was asked for in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.profiles import Profiles

FloatArray = NDArray[np.float32]

GATHERED_PER_CHUNK = 1_000_000
"""Weights copied at once (about 25 MB with their indices), whatever the batch and the histories."""


class ItemWeights(Protocol):
    """``n x n`` weights; row: a product of the shopper's past, column: the product scored."""

    def __len__(self) -> int:
        """Number of products ``n``."""

    def scores(self, profiles: Profiles) -> FloatArray:
        """Sum over each profile of weight times row; float32 ``[B, n]``."""

    def rows(self, products: IndexArray) -> FloatArray:
        """Dense rows of ``products``, float32 ``[m, n]``, a copy."""

    def block(self, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """Weights from each of ``rows`` (``[r]``) to each of ``columns`` (``[c]``, distinct); float32 ``[r, c]``."""

    def scores_of(self, profiles: Profiles, products: IndexArray) -> FloatArray:
        """`scores` of ``products`` (``[m]``, distinct) alone, to the last bit; float32 ``[B, m]``."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array needed to restore the weights."""


@dataclass(frozen=True, slots=True)
class DenseWeights:
    """Weights as one float32 ``[n, n]`` array, possibly memory-mapped: a request reads its own rows only."""

    weights: FloatArray

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.weights.shape[0] != self.weights.shape[1]:
            raise ValueError(f"weights must be square, not {self.weights.shape}")

    def __len__(self) -> int:
        return len(self.weights)

    def scores(self, profiles: Profiles) -> FloatArray:
        """See `ItemWeights.scores`."""
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
        """See `ItemWeights.rows`."""
        return np.array(self.weights[products], dtype=np.float32)

    def block(self, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """See `ItemWeights.block`."""
        return np.array(self.weights[np.ix_(rows, columns)], dtype=np.float32)

    def scores_of(self, profiles: Profiles, products: IndexArray) -> FloatArray:
        """See `ItemWeights.scores_of`; a product of fewer columns would round otherwise, so all are computed."""
        return self.scores(profiles)[:, products]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``weights``."""
        return {"weights": self.weights}


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
            # Elements of a plain view are read several times faster than those of a memmap, from the same file.
            object.__setattr__(self, name, np.asarray(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def scores(self, profiles: Profiles) -> FloatArray:
        """See `ItemWeights.scores`."""
        width = len(self)
        scores = np.zeros((len(profiles), width), dtype=np.float32)
        starts = self.indptr[profiles.products]
        lengths = self.indptr[profiles.products + 1] - starts
        shopper = np.repeat(np.arange(len(profiles), dtype=np.int64), np.diff(profiles.indptr))
        gathered = np.concatenate([[0], np.cumsum(lengths)])[profiles.indptr]
        first = 0
        while first < len(profiles):
            limit = gathered[first] + GATHERED_PER_CHUNK
            last = max(first + 1, int(np.searchsorted(gathered, limit, side="right")) - 1)
            # bincount holds float64 cells for the whole chunk, so its height is bounded as well as its entries.
            last = min(last, first + max(1, GATHERED_PER_CHUNK // max(1, width)))
            pairs = slice(int(profiles.indptr[first]), int(profiles.indptr[last]))
            place = positions(starts[pairs], lengths[pairs])
            cells = np.repeat((shopper[pairs] - first) * width, lengths[pairs]) + self.indices[place]
            terms = np.repeat(profiles.weights[pairs], lengths[pairs]) * self.data[place]
            sums = np.bincount(cells, weights=terms, minlength=(last - first) * width)
            scores[first:last] = sums.reshape(last - first, width)
            first = last
        return scores

    def terms(self, profiles: Profiles) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """What `scores` adds up: cells ``shopper * n + product`` and terms, both ``[G]``; cells in any order."""
        starts = self.indptr[profiles.products]
        lengths = self.indptr[profiles.products + 1] - starts
        shopper = np.repeat(np.arange(len(profiles), dtype=np.int64), np.diff(profiles.indptr))
        place = positions(starts, lengths)
        cells = np.repeat(shopper * len(self), lengths) + self.indices[place]
        return cells, np.repeat(profiles.weights, lengths) * self.data[place]

    def rows(self, products: IndexArray) -> FloatArray:
        """See `ItemWeights.rows`."""
        dense = np.zeros((len(products), len(self)), dtype=np.float32)
        starts = self.indptr[products]
        lengths = self.indptr[np.asarray(products) + 1] - starts
        place = positions(starts, lengths)
        dense[np.repeat(np.arange(len(products)), lengths), self.indices[place]] = self.data[place]
        return dense

    def block(self, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """See `ItemWeights.block`."""
        block = np.zeros((len(rows), len(columns)), dtype=np.float32)
        if len(columns) == 0:
            return block
        starts = self.indptr[rows]
        lengths = self.indptr[np.asarray(rows) + 1] - starts
        place = positions(starts, lengths)
        order = np.argsort(columns)
        ordered = np.asarray(columns)[order]
        found = self.indices[place]
        at = np.minimum(np.searchsorted(ordered, found), len(columns) - 1)
        hit = np.flatnonzero(ordered[at] == found)
        row = np.repeat(np.arange(len(rows)), lengths)
        block[row[hit], order[at[hit]]] = self.data[place[hit]]
        return block

    def scores_of(self, profiles: Profiles, products: IndexArray) -> FloatArray:
        """See `ItemWeights.scores_of`."""
        past, at = np.unique(profiles.products, return_inverse=True)
        block = self.block(past, products).astype(np.float64)
        scores = np.zeros((len(profiles), len(products)), dtype=np.float32)
        for row in range(len(profiles)):
            pairs = slice(int(profiles.indptr[row]), int(profiles.indptr[row + 1]))
            # Added up row by row, as bincount does in `scores`.
            scores[row] = (profiles.weights[pairs, None] * block[at[pairs]]).sum(axis=0)
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``indptr``, ``indices`` and ``data``."""
        return {"indptr": self.indptr, "indices": self.indices, "data": self.data}


def mean_likeness(blocks: Sequence[FloatArray]) -> FloatArray:
    """Likeness of ``m`` products from blocks of weights among them (each ``[m, m]``); see `Recommender.likeness`.

    The larger weight of both directions counts, relative to the largest of the block; blocks are averaged.
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


def positions(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """``start, start + 1, ...`` for ``length`` places, of every run after the other."""
    offset = np.cumsum(lengths) - lengths
    return np.repeat(starts - offset, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)
