"""Candidates: what each source proposes to each shopper, and the union of their proposals.

Put the ways a product can become a candidate here. Keep features of candidates (``features``) and fitting of the item
graphs (``recsys_assets.models.hybrid_graphs``) out. Nothing here depends on the batch a shopper is asked in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.histories import Histories, Ragged, run_starts
from lambda_api.recommender.item_weights import SparseWeights, positions
from lambda_api.recommender.profiles import EventWeighting, Profiles
from lambda_api.recommender.two_stage.facts import CatalogueFacts

FloatArray = NDArray[np.float32]

FUSION_OFFSET = 20.0
"""``k`` of reciprocal rank fusion, ``sum of 1 / (k + rank)`` (Cormack et al., "Reciprocal rank fusion outperforms
Condorcet", SIGIR 2009); smaller than their 60, since lists of ten are cut from few sources."""

PER_CATEGORY = 20
"""Trending products proposed of one category."""

SourceKind = Literal["graph", "trending", "category", "again", "factors"]


@dataclass(frozen=True, slots=True)
class Source:
    """One way of proposing products.

    Attributes:
        name: of the source, in feature names and tables.
        kind: ``graph`` follows item-to-item weights from the shopper's profile; ``trending`` proposes what sells now to
            everybody; ``category`` what sells now in the shopper's categories; ``again`` the shopper's own products;
            ``factors`` proposes nothing, which would take a look at every product, but scores what others propose.
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

_LAST = "_last"

DENSE_CELLS = 400_000
"""Up to so many cells a dense sum, which stays in a core's cache, is quicker than sorting; both give the same bits."""


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
        factors: what a source of kind ``factors`` scores by.
    """

    sources: tuple[Source, ...]
    graphs: Mapping[str, SparseWeights]
    facts: CatalogueFacts
    limit: int
    consumed_types: tuple[InteractionType, ...]
    factors: FactorRecommender | None = None

    def candidates(self, histories: Histories, allowed: NDArray[np.bool_] | None = None) -> Candidates:
        """Propose, unite, cut. ``allowed`` (bool ``[n]``) leaves other products out before anything is ranked."""
        last: tuple[Histories, Candidates] | None = self.__dict__.get(_LAST)
        if last is not None and last[0] is histories and allowed is None:
            return last[1]
        found = self._united(histories, allowed)
        if allowed is None:
            # A request asks twice about one history, for its list and for its reasons. Threads share: one assignment.
            self.__dict__[_LAST] = (histories, found)
        return found

    def _united(self, histories: Histories, allowed: NDArray[np.bool_] | None) -> Candidates:
        n_products = len(self.facts)
        blocked = self._blocked(histories)
        found = self._proposals(histories, blocked, allowed)
        proposals = [_without(proposal, blocked, allowed, n_products) for proposal in found]
        taken = [
            proposal.cells[_largest(proposal, source.take, len(histories), n_products)]
            for source, proposal in zip(self.sources, proposals, strict=True)
        ]
        cells = np.unique(np.concatenate(taken))
        rows, products = np.divmod(cells, n_products)
        scores = np.stack(
            [
                self._factor_scores(histories, rows, products)
                if source.kind == "factors"
                else self._of(source, proposal, cells)
                for source, proposal in zip(self.sources, proposals, strict=True)
            ],
            axis=1,
        )
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
        profiles: dict[EventWeighting, Profiles] = {}
        for column, source in enumerate(self.sources):
            leads = np.flatnonzero(is_candidate & (found.scores[at, column] > 0))
            if source.kind in ("trending", "factors") or len(leads) == 0:
                continue
            if source.weighting not in profiles:
                profiles[source.weighting] = source.weighting.profiles(history)
            profile = profiles[source.weighting]
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

    def _proposals(
        self, histories: Histories, blocked: NDArray[np.int64], allowed: NDArray[np.bool_] | None
    ) -> Iterator["_Proposal"]:
        """What each source leads to, ``blocked`` among it or not."""
        profiles: dict[EventWeighting, Profiles] = {}
        for source in self.sources:
            if source.kind == "trending":
                yield self._trending(source.take, len(histories), blocked, allowed)
                continue
            if source.kind == "factors":
                yield _Proposal(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
                continue
            if source.weighting not in profiles:
                profiles[source.weighting] = source.weighting.profiles(histories)
            yield self._proposal(source, profiles[source.weighting])

    def _proposal(self, source: Source, profiles: Profiles) -> "_Proposal":
        n_products = len(self.facts)
        if source.kind == "graph":
            found = _added_up(*self.graphs[source.graph].terms(profiles), len(profiles), n_products)
            if source.prior:
                found.scores[:] *= self.facts.trend[found.cells % n_products]
            return found
        shopper = np.repeat(np.arange(len(profiles), dtype=np.int64), np.diff(profiles.indptr))
        if source.kind == "again":
            return _Proposal(shopper * n_products + profiles.products, profiles.weights.astype(np.float32))
        category = self.facts.category[profiles.products]
        coded = category >= 0
        width = len(self._category_best)
        affinity = _added_up(
            shopper[coded] * width + category[coded], profiles.weights[coded], len(profiles), max(1, width)
        )
        row, code = np.divmod(affinity.cells, max(1, width))
        starts, lengths = self._category_best.indptr[code], np.diff(self._category_best.indptr)[code]
        products = self._category_best.values[positions(starts, lengths)]
        cells = np.repeat(row * n_products, lengths) + products
        scores = np.repeat(affinity.scores, lengths) * self.facts.trending[products]
        order = np.argsort(cells)
        return _Proposal(cells[order].astype(np.int64), scores[order])

    def _trending(
        self, take: int, batch: int, blocked: NDArray[np.int64], allowed: NDArray[np.bool_] | None
    ) -> "_Proposal":
        """The ``take`` products that sell best now and are not blocked, for every shopper."""
        n_products = len(self.facts)
        order = self._trending_order
        if allowed is not None:
            order = order[allowed[order]]
        spare = np.bincount(blocked // n_products, minlength=batch).max(initial=0)
        order = order[: take + int(spare)]
        cells = (np.arange(batch)[:, None] * n_products + order[None, :]).astype(np.int64)
        free = ~_among(cells.ravel(), blocked).reshape(cells.shape)
        chosen = np.sort(cells[free & (np.cumsum(free, axis=1) <= take)])
        return _Proposal(chosen, self.facts.trending[chosen % n_products])

    def _of(self, source: Source, proposal: "_Proposal", cells: NDArray[np.int64]) -> FloatArray:
        """The source's scores of ``cells``, whichever source proposed them."""
        if source.kind == "trending":
            return self.facts.trending[cells % len(self.facts)]
        scores = np.zeros(len(cells), dtype=np.float32)
        if len(proposal.cells):
            at = np.minimum(np.searchsorted(proposal.cells, cells), len(proposal.cells) - 1)
            hit = proposal.cells[at] == cells
            scores[hit] = proposal.scores[at[hit]]
        return scores

    def _factor_scores(self, histories: Histories, rows: NDArray[np.int64], products: NDArray[np.int64]) -> FloatArray:
        """Inner products of shoppers folded in and products, 0 where negative; float32 ``[R]``."""
        assert self.factors is not None, "a source of kind factors comes with factors"
        vectors = self.factors.shopper_factors(histories).astype(np.float32)
        scores = np.einsum("rf,rf->r", self.factors.rows_of(products.astype(np.int32)), vectors[rows])
        return np.maximum(scores, np.float32(0.0))

    @cached_property
    def _trending_order(self) -> NDArray[np.int32]:
        """Products that sell now, best first."""
        trending = self.facts.trending
        order = np.argsort(-trending, kind="stable").astype(np.int32)
        return order[trending[order] > 0]

    @cached_property
    def _category_best(self) -> Ragged:
        """Per category its `PER_CATEGORY` products that sell best now."""
        order = self._trending_order
        code = self.facts.category[order]
        coded = code >= 0
        order, code = order[coded], code[coded]
        grouped = np.argsort(code, kind="stable")
        order, code = order[grouped], code[grouped]
        kept = np.arange(len(code)) - np.searchsorted(code, code) < PER_CATEGORY
        counts = np.bincount(code[kept], minlength=int(self.facts.category.max(initial=-1)) + 1)
        return Ragged(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), order[kept])

    def _blocked(self, histories: Histories) -> NDArray[np.int64]:
        """Cells that are no candidates, ascending."""
        consumed = np.isin(histories.types, [int(kind) for kind in self.consumed_types])
        products = histories.products[consumed].astype(np.int64)
        return np.unique(histories.shopper_of_event[consumed] * len(self.facts) + products)


@dataclass(frozen=True, slots=True)
class _Proposal:
    """Scores of one source: cells ``shopper * n_products + product``, int64 ascending, and scores, float32 >= 0."""

    cells: NDArray[np.int64]
    scores: FloatArray


def _added_up(cells: NDArray[np.int64], terms: NDArray[np.float64], batch: int, width: int) -> _Proposal:
    """Sums of the terms of equal cells, those that are positive, each added in the order given."""
    if batch * width <= DENSE_CELLS:
        sums = np.bincount(cells, weights=terms, minlength=batch * width)
        found = np.flatnonzero(sums > 0)
        return _Proposal(found, sums[found].astype(np.float32))
    found, place = np.unique(cells, return_inverse=True)
    sums = np.bincount(place, weights=terms, minlength=len(found))
    return _Proposal(found[sums > 0], sums[sums > 0].astype(np.float32))


def _without(
    proposal: _Proposal, blocked: NDArray[np.int64], allowed: NDArray[np.bool_] | None, n_products: int
) -> _Proposal:
    kept = proposal.scores > 0
    if len(blocked):
        kept &= ~_among(proposal.cells, blocked)
    if allowed is not None:
        kept &= allowed[proposal.cells % n_products]
    return proposal if kept.all() else _Proposal(proposal.cells[kept], proposal.scores[kept])


def _among(cells: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    if len(ascending) == 0:
        return np.zeros(len(cells), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, cells), len(ascending) - 1)
    return np.asarray(ascending[at] == cells)


def _largest(proposal: _Proposal, count: int, batch: int, n_products: int) -> NDArray[np.bool_]:
    """The ``count`` largest scores of each shopper; ties at the border stay out, unless all tie."""
    above = np.ones(len(proposal.cells), dtype=bool)
    edges = np.searchsorted(proposal.cells, np.arange(batch + 1, dtype=np.int64) * n_products)
    for row in np.flatnonzero(np.diff(edges) > count):
        line = proposal.scores[edges[row] : edges[row + 1]]
        ordered = np.partition(line, len(line) - count - 1)
        border = ordered[-count - 1]
        # A row whose largest scores all tie would propose nothing; then the tie comes in whole and fusion cuts it.
        above[edges[row] : edges[row + 1]] = line > border if ordered[-count:].max() > border else line >= border
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
    run = np.maximum.accumulate(np.where(run_starts(ordered), places, 0))
    start = np.maximum.accumulate(np.where(run_starts(ordered >> 32), places, 0))
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
