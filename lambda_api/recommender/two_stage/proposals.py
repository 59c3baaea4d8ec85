"""What the sources lead to, as arrays: a grid of the products that any of them reaches, and places within it.

A request is a batch of one and spends its time on calls, not on numbers: so one call serves all sources and shoppers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.csr import offsets
from lambda_api.recommender.csr import ranges as positions
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import Profiles

FloatArray = NDArray[np.float32]

FUSION_OFFSET = 20.0
"""``k`` of reciprocal rank fusion, ``sum of 1 / (k + rank)`` (Cormack et al., "Reciprocal rank fusion outperforms
Condorcet", SIGIR 2009); smaller than their 60, since lists of ten are cut from few sources."""

NO_RANK = 1000.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """Cells ``shopper * n_products + product``, int64, distinct, and scores of one source, float32 >= 0.

    Sources that score what others propose as well have no scores here.
    """

    cells: NDArray[np.int64]
    scores: FloatArray


@dataclass(frozen=True, slots=True)
class Paths:
    """Every step from a product of a shopper's past to one that some graph leads to, graph after graph.

    Attributes:
        cells: int64 ``[G]``, ``shopper * n + product`` of the product led to.
        reach: float32 ``[G]``, weight of the step in its graph.
        terms: float64 ``[G]``, the same times the weight of the past product in the profile.
        stops: int64 ``[graphs + 1]``; graph ``g`` owns steps ``stops[g]:stops[g + 1]``.
        pair_stops: int64 ``[sum of pairs + 1]``, the same by graph and pair of its profile.
    """

    cells: NDArray[np.int64]
    reach: FloatArray
    terms: NDArray[np.float64]
    stops: NDArray[np.int64]
    pair_stops: NDArray[np.int64]

    def reweighted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """``terms`` for other weights of the pairs, ``[sum of pairs]``."""
        return np.repeat(weights, np.diff(self.pair_stops)) * self.reach


def expand(graphs: Sequence[SparseWeights], profiles: Sequence[Profiles], width: int) -> Paths:
    """Follow each of ``graphs`` from the profile beside it. ``width``: products of the catalogue."""
    if not graphs:
        none = np.zeros(1, dtype=np.int64)
        return Paths(none[:0], np.empty(0, np.float32), np.empty(0, np.float64), none, none)
    starts = np.concatenate([graph.indptr[own.products] for graph, own in zip(graphs, profiles, strict=True)])
    ends = np.concatenate([graph.indptr[1:][own.products] for graph, own in zip(graphs, profiles, strict=True)])
    lengths = ends - starts
    pair_stops = offsets(lengths)
    stops = pair_stops[offsets([len(own.products) for own in profiles])]
    place = positions(starts, lengths)
    cells = np.empty(len(place), dtype=np.int64)
    reach = np.empty(len(place), dtype=np.float32)
    for number, graph in enumerate(graphs):
        part = slice(int(stops[number]), int(stops[number + 1]))
        cells[part] = graph.indices[place[part]]
        reach[part] = graph.data[place[part]]
    if len(profiles[0]) > 1:
        cells += np.repeat(np.concatenate([own.row_of_pair * width for own in profiles]), lengths)
    terms = np.repeat(np.concatenate([own.weights for own in profiles]), lengths) * reach
    return Paths(cells, reach, np.asarray(terms, dtype=np.float64), stops, pair_stops)


@dataclass(frozen=True, slots=True)
class Grid:
    """Distinct products that ``B`` shoppers are led to, padded to equal length: row ``b`` is shopper ``b``.

    Attributes:
        products: int64 ``[B * W]``, ascending within a shopper, 0 in padding, of which each row has some.
        slot_of_cell: int32 ``[B * n]``, place in the grid of each cell that was marked; the last of its row where it
            was blocked. Anything for other cells.
        width: ``W``.
    """

    products: NDArray[np.int64]
    slot_of_cell: NDArray[np.int32]
    width: int

    @classmethod
    def of(
        cls,
        marked: Sequence[NDArray[np.int64]],
        blocked: NDArray[np.int64],
        allowed: NDArray[np.bool_] | None,
        shape: tuple[int, int],
    ) -> "Grid":
        """The grid of all cells in ``marked`` but those ``blocked`` or of a product that is not ``allowed``.

        ``shape``: shoppers and products.
        """
        batch, n_products = shape
        mark = np.zeros(batch * n_products, dtype=bool)
        for cells in marked:
            mark[cells] = True
        mark[blocked] = False
        if allowed is not None:
            mark.reshape(shape)[:, ~allowed] = False
        found = np.flatnonzero(mark)
        edges = np.searchsorted(found, np.arange(batch + 1, dtype=np.int64) * n_products)
        counts = np.diff(edges)
        width = int(counts.max()) + 1
        slot_of_cell = np.empty(batch * n_products, dtype=np.int32)
        if allowed is not None:
            slot_of_cell.reshape(shape)[:] = (np.arange(1, batch + 1) * width - 1)[:, None]
        slot_of_cell[blocked] = (blocked // n_products + 1) * width - 1
        slot = np.arange(len(found)) + np.repeat(np.arange(batch) * width - edges[:-1], counts)
        slot_of_cell[found] = slot
        products = np.zeros(batch * width, dtype=np.int64)
        products[slot] = found - np.repeat(np.arange(batch, dtype=np.int64) * n_products, counts)
        return cls(products, slot_of_cell, width)


def largest(scores: FloatArray, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which scores are among the ``counts[s]`` largest of their row, and above 0; bool ``[S, B, W]``.

    ``scores``: float32 ``[S, B, W]``, >= 0. Ties at the border stay out, unless all of the largest tie: a row would
    then propose nothing, so the tie comes in whole and fusion cuts it.
    """
    borders = np.zeros((*scores.shape[:2], 1), dtype=np.float32)
    for source, take in enumerate(counts.tolist()):
        for row, line in enumerate(scores[source]):
            # Most are zeros, on which sorting is slow.
            found = line[line > 0]
            if len(found) > take:
                found.sort()
                border = found[-take - 1]
                borders[source, row] = border if found[-1] > border else np.nextafter(border, np.float32(0.0))
    return scores > borders


def ranks_of(scores: FloatArray) -> FloatArray:
    """Place of each score within its row, largest first, from 0; equal scores share the first place of their run.

    ``scores``: float32 ``[rows, W]``, >= 0, contiguous; `NO_RANK` where 0.
    """
    rows, width = scores.shape
    # Bits of non-negative floats are in the order of the floats. Sorting integers that hold score and place is several
    # times quicker than sorting places by score.
    packed = (0x7FFFFFFF - scores.view(np.int32)).astype(np.int64) << 32
    packed |= np.arange(width)
    packed.sort(axis=1)
    place = packed & 0xFFFFFFFF
    place += (np.arange(rows) * width)[:, None]
    packed >>= 32
    first = np.zeros((rows, width), dtype=np.int64)
    np.multiply(packed[:, 1:] != packed[:, :-1], np.arange(1, width), out=first[:, 1:])
    np.maximum.accumulate(first, axis=1, out=first)
    ranks = np.empty(rows * width, dtype=np.float32)
    ranks[place.ravel()] = first.ravel()
    ranks = ranks.reshape(rows, width)
    ranks[scores <= 0] = NO_RANK
    return ranks


def fused(scores: FloatArray, ranks: FloatArray) -> FloatArray:
    """Reciprocal rank fusion over sources: float32 ``[R]`` from ``[S, R]``."""
    parts = np.where(scores > 0, 1.0 / (FUSION_OFFSET + ranks), np.float32(0.0))
    return np.asarray(np.ascontiguousarray(parts.T).sum(axis=1), dtype=np.float32)


def within(values: FloatArray, limit: int) -> NDArray[np.bool_]:
    """Which are among the ``limit`` largest of their row, of equal ones the earlier; ``values`` float32 ``[B, W]``."""
    width = values.shape[1]
    if width <= limit:
        return np.ones(values.shape, dtype=bool)
    border = np.partition(values, width - limit, axis=1)[:, width - limit, None]
    above = values > border
    equal = values == border
    spare = limit - above.sum(axis=1, keepdims=True)
    return np.asarray(above | (equal & (np.cumsum(equal, axis=1) <= spare)))


def ranked(
    scores: FloatArray, rows: NDArray[np.int64], counts: NDArray[np.int64], limit: int
) -> tuple[FloatArray, FloatArray, NDArray[np.int64] | None]:
    """Ranks ``[S, R]`` and fusion ``[R]`` of ``scores`` (``[S, R]``), and the rows that stay, ``None`` for all."""
    sources, batch, width = len(scores), len(counts), int(counts.max(initial=0))
    if len(rows) == 0:
        return np.empty_like(scores), np.empty(0, dtype=np.float32), None
    if batch == 1:
        ranks = ranks_of(scores)
    else:
        place = np.arange(len(rows)) + (np.arange(batch) * width - np.cumsum(counts) + counts)[rows]
        padded = np.zeros((sources, batch * width), dtype=np.float32)
        padded[:, place] = scores
        ranks = ranks_of(padded.reshape(sources * batch, width)).reshape(sources, -1)[:, place]
    fusion = fused(scores, ranks)
    if width <= limit:
        return ranks, fusion, None
    if batch == 1:
        return ranks, fusion, np.flatnonzero(within(fusion[None], limit)[0])
    table = np.full(batch * width, -1.0, dtype=np.float32)
    table[place] = fusion
    return ranks, fusion, np.flatnonzero(within(table.reshape(batch, width), limit).ravel()[place])
