"""The two towers as a candidate source: what is nearest to a shopper's vector, and how near any product is.

Put retrieval by the towers here. Keep the towers themselves in ``lambda_api.recommender.two_tower``.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.histories import Histories
from lambda_api.recommender.two_stage.product_statistics import WINDOW_DAYS, CatalogueFacts
from lambda_api.recommender.two_tower import TwoTowerRecommender

FloatArray = NDArray[np.float32]

SEARCHED = 16_384
"""Proposals come from among so many products, those with the most events of late: a look at one takes 25 ns. Any other
product is scored where another source proposes it."""

MONTH = WINDOW_DAYS.index(30.0)


@dataclass(frozen=True, slots=True)
class Found:
    """What the towers say about ``B`` shoppers.

    Attributes:
        vectors: float32 ``[B, f]`` of the shoppers. level: float32 ``[B]``, logit of a product that is as likely as
            the average one; infinite without an event.
        cells: int64, ``shopper * n + product`` of the best products of each shopper, above their level.
        touched: int64, ascending, cells of products with an event; the towers only tell what is new to a shopper.
    """

    vectors: FloatArray
    level: FloatArray
    cells: NDArray[np.int64]
    touched: NDArray[np.int64]


@dataclass(frozen=True)
class TowerSearch:
    """Vectors of all products and the tower of the shopper, with the facts that say which products to search."""

    model: TwoTowerRecommender
    facts: CatalogueFacts

    def find(self, histories: Histories, take: int, allowed: NDArray[np.bool_] | None) -> Found:
        """The ``take`` best products of each shopper without an event of theirs; ``allowed``: bool ``[n]``."""
        n_products, searched = len(self.facts), self._searched
        vectors = self.model.shopper_vectors(histories)
        level = np.full(len(histories), np.inf, dtype=np.float32)
        cells = [np.empty(0, dtype=np.int64)]
        for row in np.flatnonzero(histories.lengths):
            own = histories.products[histories.indptr[row] : histories.indptr[row + 1]]
            # One product per shopper: a matrix product rounds a row by its place in the batch.
            logits = self._vectors @ vectors[row]
            logits += self._bias
            place = self._place[own]
            logits[place[place >= 0]] = -np.inf
            if allowed is not None:
                logits[~allowed[searched]] = -np.inf
            best = logits.max(initial=-np.inf)
            if not np.isfinite(best):
                continue
            level[row] = best + np.log(np.exp(logits - best).mean())
            near = np.flatnonzero(logits > level[row])
            if len(near) > take:
                near = near[np.argpartition(-logits[near], take - 1)[:take]]
            cells.append(int(row) * n_products + searched[near].astype(np.int64))
        touched = histories.shopper_of_event * n_products + histories.products
        return Found(vectors, level, np.concatenate(cells), np.unique(touched))

    def scores(self, found: Found, rows: NDArray[np.int64], products: NDArray[np.int64]) -> FloatArray:
        """Logarithm of how many times likelier than the average product each is, 0 where it is less; ``[R]``."""
        logits = np.einsum("rf,rf->r", self.model.vectors[products], found.vectors[rows]) + self.model.bias[products]
        scores = np.maximum(logits - found.level[rows], np.float32(0.0))
        cells = rows * len(self.facts) + products
        if len(found.touched):
            at = np.minimum(np.searchsorted(found.touched, cells), len(found.touched) - 1)
            scores[found.touched[at] == cells] = 0.0
        return np.asarray(scores, dtype=np.float32)

    @cached_property
    def _searched(self) -> NDArray[np.int32]:
        """Products that are searched, ascending."""
        counts = self.facts.counts
        order = np.lexsort((-counts[:, -1], -counts[:, MONTH]))[:SEARCHED]
        return np.sort(order).astype(np.int32)

    @cached_property
    def _place(self) -> NDArray[np.int32]:
        """Place of each product among the searched, -1 where it is not."""
        place = np.full(len(self.facts), -1, dtype=np.int32)
        place[self._searched] = np.arange(len(self._searched))
        return place

    @cached_property
    def _vectors(self) -> FloatArray:
        return np.ascontiguousarray(self.model.vectors[self._searched])

    @cached_property
    def _bias(self) -> FloatArray:
        return np.ascontiguousarray(self.model.bias[self._searched])
