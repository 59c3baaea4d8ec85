"""Candidates: what each source proposes to each shopper, and the union of their proposals.

A source is described in ``sources``, arithmetic over all sources at once is in ``proposals``. What a shopper is
proposed does not depend on the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import find_sorted, offsets
from lambda_api.recommender.csr import ranges as positions
from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import EventWeighting, Profiles, shared_profiles
from lambda_api.recommender.two_stage.blocks import blocks_of
from lambda_api.recommender.two_stage.product_statistics import CatalogueFacts
from lambda_api.recommender.two_stage.proposals import (
    Grid,
    Paths,
    Proposal,
    expand,
    largest,
    ranked,
)
from lambda_api.recommender.two_stage.sources import WITHOUT_PROFILE, Source

FloatArray = NDArray[np.float32]

PER_CATEGORY = 20
"""Trending products proposed of one category."""


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

    def of_first(self) -> "Candidates":
        """Those of the first shopper alone; views, no copies."""
        rows = int(self.products.indptr[1])
        return Candidates(self.products.rows(0, 1), self.scores[:rows], self.ranks[:rows], self.fusion[:rows])


CELLS_AT_ONCE = 1_000_000
"""Shoppers times products worked on at once: a few megabytes, which stay in a core's cache."""


@dataclass(frozen=True, slots=True)
class GraphExpansion:
    """Profiles of a batch by weighting, and where the graphs lead from them."""

    profiles: Mapping[EventWeighting, Profiles]
    paths: Paths


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Candidates of one shopper, and those they would have had without each of ``d`` past products.

    Attributes:
        without: int32 ``[d]``.
        histories: the shopper's own, then one without any event of each product; ``1 + d`` in all.
        found: candidates of each of them.
        expansion: of the shopper's own history.
    """

    without: NDArray[np.int32]
    histories: Histories
    found: Candidates
    expansion: GraphExpansion


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
        at_once = max(1, CELLS_AT_ONCE // max(1, len(self.facts)))
        if len(histories) > at_once:
            blocks = blocks_of(len(histories), at_once)
            return _joined([self.candidates(histories.rows(start, stop), allowed) for start, stop in blocks])
        return self._united(histories, self.expanded(histories), allowed)

    def most_telling(self, expansion: GraphExpansion, count: int) -> NDArray[np.int32]:
        """The ``count`` past products of one shopper that the graphs lead on from most strongly, int32, best first.

        Every graph counts the same, whatever the scale of its weights.
        """
        paths = expansion.paths
        followed = [source for source in self.sources if source.kind == "graph"]
        own = [expansion.profiles[source.weighting].products for source in followed]
        sums = np.append(0.0, np.cumsum(paths.terms))
        of_pair, of_graph = np.diff(sums[paths.pair_stops]), np.diff(sums[paths.stops])
        shares = of_pair / np.repeat(np.where(of_graph > 0, of_graph, 1.0), [len(products) for products in own])
        past, place = np.unique(np.concatenate([np.empty(0, np.int32), *own]), return_inverse=True)
        mass = np.bincount(place, weights=shares, minlength=len(past))
        return past[np.argsort(-mass, kind="stable")[:count]]

    def what_if(self, history: Histories, products: NDArray[np.int32], expansion: GraphExpansion) -> WhatIf:
        """`candidates` of one shopper, and of the same without any event of each of ``products`` (int32 ``[d]``).

        The graphs are not followed again: a step from a product that is left out has no weight.

        Args:
            expansion: `expanded` of ``history``.
        """
        histories = history.and_without_each(products)
        batch, n_products = len(histories), len(self.facts)
        profiles = self._profiles(histories)
        blocked = self._blocked(histories)
        proposed = [self._proposal(source, profiles, batch, blocked, None) for source in self.sources]
        paths = expansion.paths
        marked = [paths.cells, *(proposal.cells % n_products for proposal in proposed if proposal is not None)]
        # What is left out may be a candidate again, but only where it is left out.
        own = self._blocked(history)
        for_all = own[~np.isin(own, products)]
        grid = Grid.of(marked, for_all, None, (1, n_products))
        weights = self._weights_without(expansion, profiles, products)
        scores = np.zeros((len(self.sources), batch * grid.width), dtype=np.float32)
        slot_of_step = grid.slot_of_cell[paths.cells].astype(np.int64)
        for row in range(batch):
            part = scores[:, row * grid.width : (row + 1) * grid.width]
            self._add_graphs(part, paths, paths.reweighted(weights[row]), slot_of_step, grid.products)
        cells = np.concatenate([proposal.cells for proposal in proposed if proposal is not None] or [blocked[:0]])
        slots = grid.slot_of_cell[cells % n_products] + cells // n_products * grid.width
        always = self._add_others(scores, proposed, slots)
        some = blocked[np.isin(blocked % n_products, products)]
        place, there = find_sorted(grid.products[:-1], some % n_products)
        scores[:, (some // n_products * grid.width + place)[there]] = 0.0
        table = scores.reshape(len(self.sources), batch, grid.width)
        return WhatIf(products, histories, self._cut(table, always, np.tile(grid.products, batch), profiles), expansion)

    def _weights_without(
        self, expansion: GraphExpansion, profiles: Mapping[EventWeighting, Profiles], products: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Weights of the pairs of ``expansion``, by graph, as they are and without each of ``products``.

        float64 ``[1 + d, pairs]``.
        """
        left_out = np.append(np.int32(-1), products)[:, None]
        made: dict[EventWeighting, NDArray[np.float64]] = {}
        for weighting, own in expansion.profiles.items():
            weights = np.zeros((len(left_out), len(own.products)))
            # What is left of the pairs is in the order of the pairs.
            weights[own.products != left_out] = profiles[weighting].weights
            made[weighting] = weights
        none = np.empty((len(left_out), 0))
        graphs = [made[source.weighting] for source in self.sources if source.kind == "graph"]
        return np.concatenate([none, *graphs], axis=1)

    def _profiles(self, histories: Histories) -> Mapping[EventWeighting, Profiles]:
        weightings = {source.weighting for source in self.sources if source.kind not in WITHOUT_PROFILE}
        if self.factors is not None:
            weightings.add(self.factors.weighting)
        return shared_profiles(weightings, histories)

    def expanded(self, histories: Histories) -> GraphExpansion:
        """Where the graphs lead from the past of a batch."""
        profiles = self._profiles(histories)
        followed = [source for source in self.sources if source.kind == "graph"]
        graphs = [self.graphs[source.graph] for source in followed]
        starts = [profiles[source.weighting] for source in followed]
        return GraphExpansion(profiles, expand(graphs, starts, len(self.facts)))

    def _united(self, histories: Histories, expansion: GraphExpansion, allowed: NDArray[np.bool_] | None) -> Candidates:
        batch, paths = len(histories), expansion.paths
        blocked = self._blocked(histories)
        proposed = [self._proposal(source, expansion.profiles, batch, blocked, allowed) for source in self.sources]
        cells = [proposal.cells for proposal in proposed if proposal is not None]
        grid = Grid.of([paths.cells, *cells], blocked, allowed, (batch, len(self.facts)))
        scores = np.zeros((len(self.sources), len(grid.products)), dtype=np.float32)
        slot_of_step = grid.slot_of_cell[paths.cells].astype(np.int64)
        self._add_graphs(scores, paths, paths.terms, slot_of_step, grid.products)
        slots = grid.slot_of_cell[np.concatenate(cells)] if cells else blocked[:0]
        always = self._add_others(scores, proposed, slots)
        table = scores.reshape(len(self.sources), batch, grid.width)
        return self._cut(table, always, grid.products, expansion.profiles)

    def _add_graphs(
        self,
        scores: FloatArray,
        paths: Paths,
        terms: NDArray[np.float64],
        slot_of_step: NDArray[np.int64],
        products: NDArray[np.int64],
    ) -> None:
        """Fill the scores of graphs (``[S, slots]``, in place); ``products`` are those of the slots."""
        graph, trend = 0, self.facts.trend[products]
        for line, source in zip(scores, self.sources, strict=True):
            if source.kind == "graph":
                part = slice(int(paths.stops[graph]), int(paths.stops[graph + 1]))
                sums = np.bincount(slot_of_step[part], weights=terms[part], minlength=len(line))
                line[:] = sums
                np.maximum(line, 0.0, out=line)
                if source.prior:
                    line *= trend
                graph += 1

    def _add_others(
        self, scores: FloatArray, proposed: Sequence[Proposal | None], slots: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Fill the scores of ``proposed``, whose cells are at ``slots``; returns which slots need no score, bool."""
        always, first = np.zeros(scores.shape[1], dtype=bool), 0
        for line, source, proposal in zip(scores, self.sources, proposed, strict=True):
            if proposal is None:
                continue
            own = slots[first : first + len(proposal.cells)]
            first += len(own)
            if source.kind in WITHOUT_PROFILE:
                always[own] = True
            else:
                line[own] = proposal.scores
        return always

    def _cut(
        self,
        table: FloatArray,
        always: NDArray[np.bool_],
        products: NDArray[np.int64],
        profiles: Mapping[EventWeighting, Profiles],
    ) -> Candidates:
        """The candidates that sources take, cut to the best by fusion.

        Args:
            table: scores ``[S, B, W]`` of ``products`` (``[B * W]``); the last place of each row holds what is blocked.
            always: candidates whatever their score, bool ``[B * W]``.
        """
        sources, batch, width = table.shape
        table[:, :, -1] = 0.0
        judged = [number for number, source in enumerate(self.sources) if source.kind not in WITHOUT_PROFILE]
        takes = np.array([self.sources[number].take for number in judged], dtype=np.int64)
        slots = np.flatnonzero(largest(table[judged], takes).any(axis=0).ravel() | always)
        rows, products = slots // width, products[slots]
        scores = table.reshape(sources, -1)[:, slots]
        for number, source in enumerate(self.sources):
            if source.kind == "trending":
                scores[number] = self.facts.trending[products]
            elif source.kind == "factors":
                scores[number] = self._factor_scores(profiles, rows, products)
        counts = np.bincount(rows, minlength=batch)
        ranks, fusion, kept = ranked(scores, rows, counts, self.limit)
        if kept is not None:
            scores, ranks, fusion = scores[:, kept], ranks[:, kept], fusion[kept]
            products, counts = products[kept], np.bincount(rows[kept], minlength=batch)
        indptr = offsets(counts)
        return Candidates(Ragged(indptr, products.astype(np.int32)), scores.T, ranks.T, fusion)

    def _proposal(
        self,
        source: Source,
        profiles: Mapping[EventWeighting, Profiles],
        batch: int,
        blocked: NDArray[np.int64],
        allowed: NDArray[np.bool_] | None,
    ) -> Proposal | None:
        """What a source proposes, blocked cells included; ``None`` for graphs (`expand`) and factors (scores only)."""
        n_products = len(self.facts)
        if source.kind == "trending":
            return self._trending(source.take, batch, blocked, allowed)
        if source.kind in ("graph", "factors"):
            return None
        own = profiles[source.weighting]
        shopper = own.row_of_pair
        if source.kind == "repurchase":
            return Proposal(shopper * n_products + own.products.astype(np.int64), own.weights.astype(np.float32))
        category = self.facts.category[own.products]
        coded = category >= 0
        width = max(1, len(self._category_best))
        sums = np.bincount(
            shopper[coded] * width + category[coded], weights=own.weights[coded], minlength=batch * width
        )
        found = np.flatnonzero(sums > 0)
        row, code = np.divmod(found, width)
        starts, lengths = self._category_best.indptr[code], np.diff(self._category_best.indptr)[code]
        products = self._category_best.values[positions(starts, lengths)]
        cells = np.repeat(row * n_products, lengths) + products
        scores = np.repeat(sums[found].astype(np.float32), lengths) * self.facts.trending[products]
        return Proposal(np.asarray(cells, dtype=np.int64), scores)

    def _trending(
        self, take: int, batch: int, blocked: NDArray[np.int64], allowed: NDArray[np.bool_] | None
    ) -> Proposal:
        """The ``take`` products that sell best now and are not blocked, for every shopper."""
        n_products = len(self.facts)
        order = self._trending_order
        if allowed is not None:
            order = order[allowed[order]]
        spare = np.bincount(blocked // n_products, minlength=batch).max(initial=0)
        order = order[: take + int(spare)]
        cells = np.arange(batch, dtype=np.int64)[:, None] * n_products + order
        free = ~find_sorted(blocked, cells)[1]
        chosen = cells[free & (np.cumsum(free, axis=1) <= take)]
        return Proposal(chosen, np.empty(0, dtype=np.float32))

    def _factor_scores(
        self, profiles: Mapping[EventWeighting, Profiles], rows: NDArray[np.int64], products: NDArray[np.int64]
    ) -> FloatArray:
        """Inner products of shoppers folded in and products, 0 where negative; float32 ``[R]``."""
        assert self.factors is not None, "a source of kind factors comes with factors"
        vectors = self.factors.approximately_folded_in(profiles[self.factors.weighting]).astype(np.float32)
        scores = np.vecdot(
            self.factors.rows_of(products.astype(np.int32)), vectors[0] if len(vectors) == 1 else vectors[rows]
        )
        return np.asarray(np.maximum(scores, np.float32(0.0)))

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
        return Ragged(offsets(counts), order[kept])

    def _blocked(self, histories: Histories) -> NDArray[np.int64]:
        """Cells that are no candidates, ascending, some more than once."""
        consumed = self._is_consumed[histories.types]
        cells = histories.shopper_of_event[consumed] * len(self.facts) + histories.products[consumed]
        return np.sort(cells)

    @cached_property
    def _is_consumed(self) -> NDArray[np.bool_]:
        """bool per `InteractionType`."""
        return np.isin([int(kind) for kind in InteractionType], [int(kind) for kind in self.consumed_types])


def _joined(parts: Sequence[Candidates]) -> Candidates:
    """Batches one after the other."""
    counts = np.concatenate([np.diff(part.products.indptr) for part in parts])
    return Candidates(
        Ragged(offsets(counts), np.concatenate([part.products.values for part in parts])),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.ranks for part in parts]),
        np.concatenate([part.fusion for part in parts]),
    )
