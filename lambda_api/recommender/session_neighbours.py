"""Nearest sessions: recommends what was clicked in past sessions that share products with the running one."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import Recommendations, Recommender, ScoreArray, StoredModel
from lambda_api.recommender.csr import find_sorted, ranges
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.topk import top_k

NEWEST_PRODUCTS = 50
"""Distinct products of the running session that are compared."""

SESSIONS_OF_LIKENESS = 64
"""Newest sessions of each product that its likeness to others is computed from."""


@dataclass(frozen=True)
class Sessions:
    """``S`` past sessions, oldest first, and where each product occurs in them.

    Attributes:
        indptr: int64 ``[S + 1]``; session ``s`` owns places ``indptr[s]:indptr[s + 1]`` of ``products``.
        products: int32, distinct within a session, in order of their last event.
        weight: float32 ``[S]``, in (0, 1], how recent each session is.
        of_product: int64 ``[n_products + 1]``; product ``j`` owns places ``of_product[j]:of_product[j + 1]`` of
            ``containing`` and ``position``.
        containing: int32, sessions with the product, newest first.
        position: int32, places of the product in ``products`` for each of ``containing``.
    """

    indptr: NDArray[np.int64]
    products: IndexArray
    weight: NDArray[np.float32]
    of_product: NDArray[np.int64]
    containing: IndexArray
    position: IndexArray

    def __post_init__(self) -> None:
        if not (len(self.weight) == len(self.indptr) - 1 and self.indptr[-1] == len(self.products)):
            raise ValueError("indptr, products and weight are not of the same sessions")
        if not len(self.containing) == len(self.position) == self.of_product[-1]:
            raise ValueError("of_product, containing and position are not of the same places")


@dataclass(frozen=True)
class SessionSettings:
    """How sessions are compared.

    Attributes:
        neighbours: sessions that a list is made from.
        sample: newest sessions with a product of the running one that are compared.
        gap_hours: a longer pause between two events of a shopper starts a new session.
        step_decay: factor per later product of the running session, in (0, 1], of a product's weight.
        match_decay: factor, in (0, 1], per later product of the running session, of a neighbour's weight by its last
            shared product.
        reach: products of a neighbour weigh ``exp(-distance / reach)`` by their distance to that product, > 0.
        length_power: a neighbour's similarity is divided by its number of products to this power, >= 0.
        type_weights: weight >= 0 per `InteractionType` code; types without a weight are not part of sessions.
    """

    neighbours: int
    sample: int
    gap_hours: float
    step_decay: float
    match_decay: float
    reach: float
    length_power: float
    type_weights: tuple[float, ...]


@dataclass(frozen=True)
class _Neighbours:
    """The ``k`` nearest sessions to one running session of ``q`` products.

    Attributes:
        sessions: int32 ``[k]``.
        anchor: int64 ``[k]``, place in ``Sessions.products`` of the last product shared with the running session.
        parts: float64 ``[q, k]``, the share of each product of the running session in the neighbour's weight.
    """

    sessions: IndexArray
    anchor: NDArray[np.int64]
    parts: NDArray[np.float64]


class SessionNeighboursRecommender(Recommender):
    """``score[b, j] = sum over nearest sessions s of weight[b, s] * exp(-distance[s, j] / reach)``.

    Neighbours are the ``neighbours`` most similar of the ``sample`` newest sessions that share a product with the
    running one. Products of the running session weigh less the earlier they are. A neighbour weighs the sum over
    shared products, times a decay by its last shared product, times how recent it is; ``distance`` counts products of
    the neighbour from that last shared product. V-SKNN (Ludewig & Jannach, "Evaluation of session-based recommendation
    algorithms", User Modeling and User-Adapted Interaction, 2018) with the decays of STAN (Garg et al., "Sequence and
    time aware neighborhood for session-based recommendations", SIGIR 2019).

    The running session is a shopper's newest one, whenever it was. Shoppers without an event get popular products;
    products of no past session are listed as popular padding only.
    """

    kind: ClassVar[str] = "session_neighbours"
    zero_means_no_evidence: ClassVar[bool] = True

    def __init__(self, products: IdMap, popularity: ScoreArray, sessions: Sessions, settings: SessionSettings) -> None:
        """Raises ``ValueError`` where ``sessions`` are of another number of products."""
        super().__init__(products, popularity)
        if len(sessions.of_product) != len(products) + 1:
            raise ValueError(f"sessions of {len(sessions.of_product) - 1} products for a map of {len(products)}")
        self.sessions = sessions
        self.settings = settings
        self._type_weights = np.asarray(settings.type_weights, dtype=np.float64)

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Shoppers with an event whose type has a weight."""
        return histories.have_event_of(self._type_weights > 0)

    def score_all(self, histories: Histories) -> ScoreArray:
        """See the class; float32 ``[B, n_products]``."""
        scores = np.zeros((len(histories), len(self.products)), dtype=np.float32)
        for row in range(len(histories)):
            scores[row] = self._scores(*self._running(histories, row))
        return scores

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """What sessions with each product contain besides, as for a running session of this product alone."""
        scores = np.zeros((len(products), len(self.products)), dtype=np.float32)
        for row, product in enumerate(np.asarray(products, dtype=np.int32)):
            scores[row] = self._scores(product[None], np.ones(1))
            scores[row, product] = 0.0
        return Recommendations(*top_k(np.where(scores > 0, scores, -np.inf).astype(np.float32), k))

    def contributions(
        self, history: Histories, products: IndexArray, scores: ScoreArray | None = None
    ) -> tuple[IndexArray, NDArray[np.float64]]:
        """The share of each product of the running session in its neighbours' weights."""
        past, weights = self._running(history, 0)
        found = self._neighbours(past, weights)
        listed, row, near = self._listed(found)
        wanted, place = np.unique(products, return_inverse=True)
        at, there = find_sorted(wanted, listed)
        at, row, near = at[there], row[there], near[there]
        parts = [
            np.bincount(at, weights=found.parts[one, row] * near, minlength=len(wanted)) for one in range(len(past))
        ]
        terms = np.array(parts, dtype=np.float64).reshape(len(past), len(wanted)).T
        return past, terms[place]

    def likeness(self, products: IndexArray) -> ScoreArray:
        """Cosine of two products over the newest sessions of each."""
        lengths = np.minimum(np.diff(self.sessions.of_product)[products], SESSIONS_OF_LIKENESS)
        sessions = self.sessions.containing[ranges(self.sessions.of_product[products], lengths)]
        distinct, place = np.unique(sessions, return_inverse=True)
        inside = np.zeros((len(products), len(distinct)), dtype=np.float32)
        inside[np.repeat(np.arange(len(products)), lengths), place] = 1.0
        norms = np.sqrt(np.maximum(lengths, 1)).astype(np.float32)
        alike = np.minimum((inside @ inside.T) / norms / norms[:, None], 1.0).astype(np.float32)
        np.fill_diagonal(alike, 1.0)
        return alike

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of `Sessions`."""
        return vars(self.sessions).copy()

    def parameters(self) -> dict[str, Any]:
        """Those of `SessionSettings`."""
        return {**vars(self.settings), "type_weights": list(self.settings.type_weights)}

    @classmethod
    def restore(cls, stored: StoredModel) -> Self:
        """Inverse of `arrays` and `parameters`."""
        parameters = stored.parameters
        settings = SessionSettings(**{**parameters, "type_weights": tuple(parameters["type_weights"])})
        return cls(stored.products, stored.popularity, Sessions(**stored.arrays), settings)

    def _running(self, histories: Histories, row: int) -> tuple[IndexArray, NDArray[np.float64]]:
        """Distinct products of a shopper's newest session, oldest first by last event, and their weights; both ``[q]``.

        Events of one moment are in the order of their products, so that equal histories have equal scores.
        """
        own = slice(int(histories.indptr[row]), int(histories.indptr[row + 1]))
        products, times = histories.products[own], histories.timestamps[own]
        kinds: NDArray[np.float64] = self._type_weights[histories.types[own]]
        counted = np.flatnonzero(kinds > 0)
        if len(counted) == 0:
            return products[:0], np.empty(0)
        pauses = np.flatnonzero(np.diff(times[counted]) > self.settings.gap_hours * 3600)
        if len(pauses):
            counted = counted[pauses[-1] + 1 :]
        order = counted[np.lexsort((products[counted], times[counted]))]
        newest_first = products[order[::-1]]
        _, first = np.unique(newest_first, return_index=True)
        first = np.sort(first)[:NEWEST_PRODUCTS][::-1]
        chosen = newest_first[first]
        strength = [float(kinds[counted][products[counted] == product].max()) for product in chosen]
        decay = self.settings.step_decay ** np.arange(len(chosen) - 1, -1, -1, dtype=np.float64)
        return chosen, np.array(strength) * decay

    def _neighbours(self, past: IndexArray, weights: NDArray[np.float64]) -> _Neighbours:
        sessions, settings = self.sessions, self.settings
        starts = sessions.of_product[past]
        lengths = sessions.of_product[past + 1] - starts
        at = ranges(starts, lengths)
        containing, position = sessions.containing[at], sessions.position[at]
        which = np.repeat(np.arange(len(past)), lengths)
        distinct, place = np.unique(containing, return_inverse=True)
        first = max(0, len(distinct) - settings.sample)
        kept = place >= first
        which, place, position = which[kept], place[kept] - first, position[kept]
        distinct = distinct[first:]
        similarity = np.bincount(place, weights=weights[which], minlength=len(distinct))
        size = sessions.indptr[distinct + 1] - sessions.indptr[distinct]
        recent = sessions.weight[distinct] / size**settings.length_power
        similarity = similarity * recent
        # Of equal similarity the newer session.
        nearest = np.lexsort((-distinct, -similarity))[: settings.neighbours]
        rank = np.full(len(distinct), -1, dtype=np.int64)
        rank[nearest] = np.arange(len(nearest))
        kept = rank[place] >= 0
        which, column, position = which[kept], rank[place[kept]], position[kept]
        last = np.zeros(len(nearest), dtype=np.int64)
        np.maximum.at(last, column, which)
        anchor = np.zeros(len(nearest), dtype=np.int64)
        is_last = which == last[column]
        anchor[column[is_last]] = position[is_last]
        parts = np.zeros((len(past), len(nearest)))
        decay = settings.match_decay ** (len(past) - 1 - last) * recent[nearest]
        parts[which, column] = weights[which] * decay[column]
        return _Neighbours(distinct[nearest], anchor, parts)

    def _listed(self, found: _Neighbours) -> tuple[IndexArray, NDArray[np.int64], NDArray[np.float64]]:
        """Products of the neighbours, the neighbour of each, and their nearness to its anchor; all ``[L]``."""
        starts = self.sessions.indptr[found.sessions]
        lengths = self.sessions.indptr[found.sessions + 1] - starts
        at = ranges(starts, lengths)
        row = np.repeat(np.arange(len(lengths)), lengths)
        return self.sessions.products[at], row, np.exp(-np.abs(at - found.anchor[row]) / self.settings.reach)

    def _scores(self, past: IndexArray, weights: NDArray[np.float64]) -> ScoreArray:
        if len(past) == 0:
            return np.zeros(len(self.products), dtype=np.float32)
        found = self._neighbours(past, weights)
        listed, row, near = self._listed(found)
        terms = found.parts.sum(axis=0)[row] * near
        return np.bincount(listed, weights=terms, minlength=len(self.products)).astype(np.float32)
