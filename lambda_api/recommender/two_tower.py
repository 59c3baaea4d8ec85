"""The two-tower recommender at inference: a shopper's events through a small network, products as trained vectors."""

from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import (
    Recommendations,
    Recommender,
    ScoreArray,
    StoredModel,
    cosine_likeness,
    nearest_by_cosine,
    unit_rows,
)
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.onnx_graph import OnnxGraph
from lambda_api.recommender.profiles import SECONDS_PER_DAY

GRAPH_NAME = "shopper_tower"
GRAPH_INPUTS = ("events", "types", "gaps")
GRAPH_OUTPUT = "shopper"

NEWEST_EVENTS = 100
"""The tower reads so many of a shopper's latest events."""

GAP_DAYS = (1 / 24, 0.25, 1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 120.0, 240.0)
"""Bounds between the eleven classes of an event's age, in days."""


class TwoTowerRecommender(Recommender):
    """``score[b, j] = s_b . y_j + bias_j``: ``s_b`` from the shopper tower, ``y_j`` the vector of product ``j``.

    The shopper tower reads each of the newest events as its product's vector plus vectors of its type and of how long
    ago it was, pools them by learned attention with several heads, and maps the result into the products' space
    (Covington et al., "Deep neural networks for YouTube recommendations", RecSys 2016, with attention in place of the
    mean). A product's vector is the sum of a vector of its own and one of its description, so that products without
    events have a vector too.

    Shoppers are represented by their events, not by id, so the last click counts at once. Without events they get
    popular products. Scores are not sums over past products, so `contributions` are empty.
    """

    kind: ClassVar[str] = "two_tower"

    def __init__(
        self,
        products: IdMap,
        popularity: ScoreArray,
        item_vectors: NDArray[np.float32],
        item_bias: NDArray[np.float32],
        graph: bytes,
    ) -> None:
        """``item_vectors``: float32 ``[n_products, f]``; ``item_bias``: float32 ``[n_products]``.

        Raises:
            ValueError: shapes disagree.
        """
        super().__init__(products, popularity)
        if item_vectors.ndim != 2 or len(item_vectors) != len(products):
            raise ValueError(f"item_vectors must have shape ({len(products)}, f), not {item_vectors.shape}")
        if item_bias.shape != (len(products),):
            raise ValueError(f"item_bias must have shape ({len(products)},), not {item_bias.shape}")
        # Slicing a plain view of a mapped file is several times faster than slicing a memmap.
        self.vectors, self.bias = np.asarray(item_vectors), np.asarray(item_bias)
        self._graph = OnnxGraph(graph)

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Shoppers with an event."""
        known: NDArray[np.bool_] = histories.lengths > 0
        return known

    def shopper_vectors(self, histories: Histories) -> NDArray[np.float32]:
        """``s_b`` of each shopper, float32 ``[B, f]``; zeros without an event.

        One shopper per run: no padding, and bits that do not depend on the batch.
        """
        vectors = np.zeros((len(histories), self.vectors.shape[1]), dtype=np.float32)
        gaps = gap_classes(histories.now - histories.timestamps)
        for row in np.flatnonzero(histories.lengths):
            events = newest(histories, int(row))
            feed: dict[str, NDArray[Any]] = {
                "events": self.vectors[histories.products[events]],
                "types": histories.types[events].astype(np.int64),
                "gaps": gaps[events],
            }
            vectors[row] = self._graph.run(GRAPH_OUTPUT, feed)
        return vectors

    def score_all(self, histories: Histories) -> ScoreArray:
        """See the class; float32 ``[B, n_products]``."""
        scores = np.empty((len(histories), len(self.products)), dtype=np.float32)
        for row, vector in enumerate(self.shopper_vectors(histories)):
            # Unlike matmul, vecdot computes a score in the same way for any number and order of products.
            np.vecdot(self.vectors, vector, out=scores[row])
        scores += self.bias
        return scores

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """Products by cosine of their vectors; a product whose vector is zero is similar to none."""
        return nearest_by_cosine(self._unit, ~np.any(self._unit, axis=1), products, k)

    def likeness(self, products: IndexArray) -> ScoreArray:
        """Cosine of the vectors, 0 where negative."""
        return cosine_likeness(self._unit[products])

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"item_vectors": self.vectors, "item_bias": self.bias}

    def parameters(self) -> dict[str, Any]:
        return {}

    def graphs(self) -> dict[str, bytes]:
        return {GRAPH_NAME: self._graph.content}

    @classmethod
    def restore(cls, stored: StoredModel) -> Self:
        arrays, graph = stored.arrays, stored.graphs[GRAPH_NAME]
        return cls(stored.products, stored.popularity, arrays["item_vectors"], arrays["item_bias"], graph)

    @cached_property
    def _unit(self) -> NDArray[np.float32]:
        return unit_rows(self.vectors)


def gap_classes(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each age of an event, int64, from 0 for the newest to ``len(GAP_DAYS)``."""
    return np.searchsorted(GAP_DAYS, seconds / SECONDS_PER_DAY, side="right").astype(np.int64)


def newest(histories: Histories, row: int) -> NDArray[np.int64]:
    """Places of the events of shopper ``row`` that the tower reads, by time, product and type.

    Sums over events round by their order, and equal histories must have equal vectors.
    """
    own = slice(int(histories.indptr[row]), int(histories.indptr[row + 1]))
    order = np.lexsort((histories.types[own], histories.products[own], histories.timestamps[own]))
    return own.start + order[-NEWEST_EVENTS:]
