"""Candidates: what each source proposes to each shopper, and the union of their proposals.

Put the ways a product can become a candidate here. Keep features of candidates (``features``) and fitting of the item
graphs (``recsys_assets.models.hybrid_graphs``) out. Nothing here depends on the batch a shopper is asked in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import EventWeighting, Profiles
from lambda_api.recommender.two_stage.facts import CatalogueFacts

FloatArray = NDArray[np.float32]

FUSION_OFFSET = 20.0
"""``k`` of reciprocal rank fusion, ``sum of 1 / (k + rank)`` (Cormack et al., "Reciprocal rank fusion outperforms
Condorcet", SIGIR 2009); smaller than their 60, since lists of ten are cut from few sources."""

PER_CATEGORY = 20
"""Trending products proposed of one category."""

SourceKind = Literal["graph", "trending", "category", "again"]


@dataclass(frozen=True, slots=True)
class Source:
    """One way of proposing products.

    Attributes:
        name: of the source, in feature names and tables.
        kind: ``graph`` follows item-to-item weights from the shopper's profile; ``trending`` proposes what sells now to
            everybody; ``category`` what sells now in the shopper's categories; ``again`` the shopper's own products.
        take: proposals per shopper.
        weighting: what the shopper's events weigh (``graph``, ``category`` and ``again``).
        graph: name of the weights (``graph``).
        prior: multiply scores by the trend of the product.
    """

    name: str
    kind: SourceKind
    take: int
    weighting: EventWeighting
    graph: str = ""
    prior: bool = False

    def parameters(self) -> dict[str, Any]:
        """JSON-able form, the input of `from_parameters`."""
        return {
            "name": self.name,
            "kind": self.kind,
            "take": self.take,
            "weighting": self.weighting.parameters(),
            "graph": self.graph,
            "prior": self.prior,
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Inverse of `parameters`."""
        return cls(**{**parameters, "weighting": EventWeighting.from_parameters(parameters["weighting"])})


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of what ``S`` sources propose to ``B`` shoppers, ``R`` rows in all.

    Attributes:
        products: distinct products of each shopper, ascending.
        scores: float32 ``[R, S]``, >= 0, of every source for every candidate, whichever source proposed it.
        ranks: float32 ``[R, S]``, place of the score among the shopper's candidates from 0, equal scores sharing the
            best place; ``NO_RANK`` where the score is 0.
        fusion: float32 ``[R]``, > 0, reciprocal rank fusion over the sources.
    """

    products: Ragged
    scores: FloatArray
    ranks: FloatArray
    fusion: FloatArray


NO_RANK = 1000.0


@dataclass(frozen=True)
class CandidateGenerator:
    """All sources over one catalogue.

    Attributes:
        sources: in the order of the columns of `Candidates`.
        graphs: item-to-item weights by name.
        facts: of the catalogue.
        limit: candidates per shopper at most; the best by fusion stay.
        consumed_types: products the shopper has an event of these types with are no candidates; empty where buying
            again counts.
    """

    sources: tuple[Source, ...]
    graphs: Mapping[str, SparseWeights]
    facts: CatalogueFacts
    limit: int
    consumed_types: tuple[InteractionType, ...]

    def candidates(self, histories: Histories, allowed: NDArray[np.bool_] | None = None) -> Candidates:
        """Propose, unite, cut. ``allowed`` (bool ``[n]``) leaves other products out before anything is ranked."""
        n_products = len(self.facts)
        blocked = self._blocked(histories, allowed)
        dense = self._scores(histories)
        taken = np.zeros((len(histories), n_products), dtype=bool)
        for source, scores in zip(self.sources, dense, strict=True):
            scores[blocked] = 0.0
            taken |= _largest(scores, source.take)
        rows, products = np.nonzero(taken)
        scores = np.stack([source[rows, products] for source in dense], axis=1)
        ranks = np.stack([_ranks(rows, column) for column in scores.T], axis=1)
        fusion = np.where(scores > 0, 1.0 / (FUSION_OFFSET + ranks), 0.0).sum(axis=1).astype(np.float32)
        kept = _places(rows, fusion) < self.limit
        counts = np.bincount(rows[kept], minlength=len(histories))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Candidates(Ragged(indptr, products[kept].astype(np.int32)), scores[kept], ranks[kept], fusion[kept])

    def terms(
        self, history: Histories, products: NDArray[np.int32], found: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """How strongly each product of one shopper's past leads to ``products`` (``[m]``).

        A source counts by the part it has in the fusion of a product; within it each past product by its term.
        ``found`` are the `candidates` of ``history``.

        Returns:
            Past products int32 ``[p]``, ascending, and terms over all sources, float64 ``[m, p]``.
        """
        past = np.unique(history.products)
        total = np.zeros((len(products), len(past)))
        at = np.searchsorted(found.products.values, products)
        at = np.minimum(at, max(0, len(found.products.values) - 1))
        if len(found.products.values) == 0:
            return past, total
        is_candidate = found.products.values[at] == products
        for column, source in enumerate(self.sources):
            leads = np.flatnonzero(is_candidate & (found.scores[at, column] > 0))
            if source.kind == "trending" or len(leads) == 0:
                continue
            profile = source.weighting.profiles(history)
            terms = self._source_terms(source, profile, products[leads])
            sums = terms.sum(axis=1, keepdims=True)
            credit = 1.0 / (FUSION_OFFSET + found.ranks[at[leads], column].astype(np.float64))
            shares = np.where(sums > 0, terms / np.where(sums > 0, sums, 1.0), 0.0)
            total[np.ix_(leads, np.searchsorted(past, profile.products))] += credit[:, None] * shares
        return past, total

    def _source_terms(self, source: Source, profile: Profiles, products: NDArray[np.int32]) -> NDArray[np.float64]:
        """float64 ``[m, p]``: the part of each product of ``profile`` in the source's score of each of ``products``."""
        own = profile.products
        if source.kind == "graph":
            return profile.weights * self.graphs[source.graph].block(own, products).T
        if source.kind == "again":
            return profile.weights * (own == products[:, None])
        category = self.facts.category
        return profile.weights * (category[own] == category[products][:, None])

    def _scores(self, histories: Histories) -> list[FloatArray]:
        """Scores of every source, each float32 ``[B, n]``, writable."""
        profiles: dict[EventWeighting, Profiles] = {}
        dense = []
        for source in self.sources:
            if source.weighting not in profiles:
                profiles[source.weighting] = source.weighting.profiles(histories)
            dense.append(self._source_scores(source, profiles[source.weighting]))
        return dense

    def _source_scores(self, source: Source, profiles: Profiles) -> FloatArray:
        if source.kind == "graph":
            scores = self.graphs[source.graph].scores(profiles)
            if source.prior:
                scores *= self.facts.trend
            return scores
        if source.kind == "trending":
            return np.tile(self.facts.trending, (len(profiles), 1))
        shopper = np.repeat(np.arange(len(profiles)), np.diff(profiles.indptr))
        if source.kind == "again":
            own = np.zeros((len(profiles), len(self.facts)), dtype=np.float32)
            own[shopper, profiles.products] = profiles.weights
            return own
        category = self.facts.category[profiles.products]
        width = int(self.facts.category.max(initial=-1)) + 2
        cells = shopper * width + category + 1
        affinity = np.bincount(cells, weights=profiles.weights, minlength=len(profiles) * width)
        affinity = affinity.reshape(len(profiles), width).astype(np.float32)
        affinity[:, 0] = 0.0
        return affinity[:, self.facts.category + 1] * self._category_trending

    @cached_property
    def _category_trending(self) -> FloatArray:
        """float32 ``[n]``: the trend of the best of each category, 0 for the others."""
        trending = self.facts.trending
        return np.where(_ranks(self.facts.category.astype(np.int64), trending) < PER_CATEGORY, trending, 0.0)

    def _blocked(self, histories: Histories, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        blocked = np.zeros((len(histories), len(self.facts)), dtype=bool)
        if allowed is not None:
            blocked[:] = ~allowed
        consumed = np.isin(histories.types, [int(kind) for kind in self.consumed_types])
        blocked[histories.shopper_of_event[consumed], histories.products[consumed]] = True
        return blocked


def _largest(scores: FloatArray, count: int) -> NDArray[np.bool_]:
    """The positive scores among the ``count`` largest of each row; ties at the border stay out, unless all tie."""
    above = scores > 0
    for row in np.flatnonzero(np.count_nonzero(above, axis=1) > count):
        # Most scores are 0, and selecting among many equals is what partition is slowest at.
        line = scores[row]
        positive = line[above[row]]
        positive.partition(len(positive) - count - 1)
        border = positive[-count - 1]
        # A row whose largest scores all tie would propose nothing; then the tie comes in whole and fusion cuts it.
        above[row] = line > border if positive[-count:].max() > border else line >= border
    return above


def _ranks(rows: NDArray[np.int64], scores: FloatArray) -> FloatArray:
    """Place of each score within its row, largest first, from 0; equal scores share the first place of their run.

    Args:
        rows: int64 ``[R]``, >= -1, in any order.
        scores: float32 ``[R]``, >= 0.
    """
    if len(rows) == 0:
        return np.empty(0, dtype=np.float32)
    keys = _row_then_score(rows, scores)
    order = np.argsort(keys)
    ordered = keys[order]
    places = np.arange(len(keys))
    run = np.maximum.accumulate(np.where(np.diff(ordered, prepend=-1) != 0, places, 0))
    start = np.maximum.accumulate(np.where(np.diff(ordered >> 32, prepend=-1) != 0, places, 0))
    ranks = np.empty(len(keys), dtype=np.float32)
    ranks[order] = run - start
    ranks[scores <= 0] = NO_RANK
    return ranks


def _places(rows: NDArray[np.int64], scores: FloatArray) -> NDArray[np.int64]:
    """As `_ranks`, but every score has a place of its own: of equal ones the earlier comes first; rows ascending."""
    order = np.argsort(_row_then_score(rows, scores), kind="stable")
    places = np.empty(len(rows), dtype=np.int64)
    places[order] = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return places


def _row_then_score(rows: NDArray[np.int64], scores: FloatArray) -> NDArray[np.int64]:
    """One integer per score that sorts by row, then by score downwards; equal for equal scores of one row."""
    # Bits of non-negative floats are in the order of the floats.
    bits = np.ascontiguousarray(scores, dtype=np.float32).view(np.int32).astype(np.int64)
    return ((rows.astype(np.int64) + 1) << 32) | (0x7FFFFFFF - bits)


def source_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """Names in column order."""
    return tuple(source.name for source in sources)
