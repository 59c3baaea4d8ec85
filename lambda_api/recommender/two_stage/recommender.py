"""The two-stage recommender: candidates, their features, a learned ranker, then popular products to fill a list.

It holds one stage for shoppers between two visits and, where the log has sessions, one for shoppers within a session.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.errors import RecsysError
from lambda_api.recommender.contract import (
    Recommendations,
    Recommender,
    ScoreArray,
    StoredModel,
    most_similar,
)
from lambda_api.recommender.csr import find_sorted, offsets_of_rows
from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.item_weights import SparseWeights, mean_likeness
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.recommender.topk import empty_lists
from lambda_api.recommender.two_stage.asked import Asked
from lambda_api.recommender.two_stage.blocks import Block, blocks_of, for_each
from lambda_api.recommender.two_stage.breadth import broad, shares_of_single_clicks
from lambda_api.recommender.two_stage.candidates import CELLS_AT_ONCE, CandidateGenerator
from lambda_api.recommender.two_stage.product_statistics import WINDOW_DAYS, CatalogueFacts
from lambda_api.recommender.two_stage.ranker import Ranker
from lambda_api.recommender.two_stage.sessions import in_session, of_newest_session, shoppers_of
from lambda_api.recommender.two_stage.stage import Allowed, RankedStage, Scored, looked_up, of_rows

FORMAT = 4
"""Version of this kind's part of a bundle. 2: session stage, sources renamed, no towers. 3: share of a category.
4: trees as arrays, not as an ONNX graph."""

RANKER, SESSION_RANKER = "ranker_", "session_ranker_"
"""Prefixes of the arrays of each stage's ranker."""

CELLS_PER_CHUNK = 300_000
"""Products times products held at once when looking for similar ones: about a megabyte."""

SHOPPERS_PER_BLOCK = 64
"""Answered at once; more would not fit a core's cache, fewer spend their time on calls."""

WEEK = WINDOW_DAYS.index(7.0)


class OldFormatError(RecsysError):
    """A bundle was written by another version of the two-stage recommender."""


class TwoStageRecommender(Recommender):
    """Candidates from `CandidateGenerator`, scored by a tree ensemble over `FeatureRows`.

    The score of a candidate is the calibrated chance that the shopper takes it: within the length of a training window,
    or, for a shopper within a session, with the next click. Products that are no candidates score 0, which means "no
    evidence"; they follow by popularity. A shopper without a weighted event gets popular products.

    Where the model was trained to recommend new products, those a shopper has already taken are no candidates.

    Attributes:
        stage: for shoppers who are not in a session, and for all where there is no other.
        session: for shoppers in a session (`in_session`); ``None`` where the log had too few sessions.
        category_share: largest share of a list that one category may have, see ``breadth``; 1 for no limit.
    """

    kind: ClassVar[str] = "two_stage"
    zero_means_no_evidence: ClassVar[bool] = True
    variants_per_answer: ClassVar[int] = 5

    def __init__(
        self,
        products: IdMap,
        popularity: ScoreArray,
        stage: RankedStage,
        session: RankedStage | None = None,
        category_share: float = 1.0,
    ) -> None:
        """Raises ``ValueError`` where graphs or facts are of another catalogue, or the share is not in (0, 1]."""
        super().__init__(products, popularity)
        if not 0 < category_share <= 1:
            raise ValueError(f"category_share must be in (0, 1], not {category_share}")
        self.stage, self.session = stage, session
        self._last: Asked | None = None
        self.category_share = category_share
        for name, weights in self._item_graphs.items():
            if len(weights) != len(products):
                raise ValueError(f"item graph {name} is of {len(weights)} products for a map of {len(products)}")
        if len(stage.generator.facts) != len(products):
            raise ValueError(f"facts of {len(stage.generator.facts)} products for a map of {len(products)}")

    @property
    def generator(self) -> CandidateGenerator:
        """Of the stage for shoppers who are not in a session."""
        return self.stage.generator

    @cached_property
    def _item_graphs(self) -> Mapping[str, SparseWeights]:
        return {**self.stage.generator.graphs, **(self.session.generator.graphs if self.session else {})}

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Shoppers with an event that some source gives a weight."""
        return histories.have_event_of(self._counts)

    @cached_property
    def _counts(self) -> NDArray[np.bool_]:
        """Which kinds of interaction some source gives a weight, bool per `InteractionType`."""
        weights = [source.weighting.type_weights for source in self.generator.sources]
        return np.asarray((np.array(weights) > 0).any(axis=0))

    def score_all(self, histories: Histories) -> ScoreArray:
        """Chances of the candidates, 0 for every other product; float32 ``[B, n_products]``."""
        scores = np.zeros((len(histories), len(self.products)), dtype=np.float32)
        for start, stop in self._shopper_blocks(len(histories)):
            rows, products, chances = self._scored(histories.rows(start, stop))
            scores[start + rows, products] = chances
        return scores

    def score(self, histories: Histories, products: IndexArray) -> ScoreArray:
        """See `Recommender.score`; only the products asked for are given features and ranked."""
        products = np.atleast_2d(products)
        wanted = np.broadcast_to(products, (len(histories), products.shape[1])).astype(np.int64)
        scores = np.empty(wanted.shape, dtype=np.float32)
        for start, stop in self._shopper_blocks(len(histories)):
            scores[start:stop] = self._scores_of(histories.rows(start, stop), wanted[start:stop])
        unknown = ~self.knows(histories)
        scores[unknown] = self.popularity[wanted[unknown]]
        return scores

    def score_without(
        self, history: Histories, without: IndexArray, products: IndexArray
    ) -> tuple[ScoreArray, NDArray[np.bool_]]:
        """See `Recommender.score_without`; all changed histories are answered as one batch.

        A history that is no longer in a session without a product is scored on its own.
        """
        asked = self._asked_about(history).without(without)
        variants = asked.what_if.histories.rows(1, len(without) + 1)
        scores, known = np.zeros((len(without), len(products)), dtype=np.float32), self.knows(variants)
        same = np.ones(len(without), dtype=bool)
        if self.session is not None:
            same = in_session(variants) == (asked.stage is self.session)
        if same.any():
            scores[same] = asked.scores_without(products)[same]
        changed = np.flatnonzero(~same)
        if len(changed):
            wanted = np.broadcast_to(products, (len(changed), len(products))).astype(np.int64)
            scores[changed] = self._scores_of(shoppers_of(variants, changed), wanted)
        scores[~known] = self.popularity[products]
        return scores, known

    def to_check(self, history: Histories) -> IndexArray | None:
        """See `Recommender.to_check`; the next list of ``history`` is worked out together with what would be without.

        ``None`` where no item graph leads on from the shopper's past.
        """
        asked = Asked.about(self._stage_of(history), history, self.variants_per_answer)
        self._last = asked  # one assignment: threads share it
        return asked.what_if.without if len(asked.what_if.without) else None

    def _asked_about(self, history: Histories) -> Asked:
        last = self._last
        return (
            last if last is not None and last.history is history else Asked.about(self._stage_of(history), history, 0)
        )

    def _stage_of(self, history: Histories) -> RankedStage:
        """The stage that answers one shopper."""
        return self.session if self.session is not None and bool(in_session(history)[0]) else self.stage

    def _split(self, histories: Histories) -> list[tuple[RankedStage, NDArray[np.int64]]]:
        """Each stage with the rows of the shoppers that it answers."""
        everybody = np.arange(len(histories))
        if self.session is None:
            return [(self.stage, everybody)]
        running = in_session(histories)
        parts = [(self.stage, everybody[~running]), (self.session, everybody[running])]
        return [(stage, rows) for stage, rows in parts if len(rows)]

    def _scored(
        self, histories: Histories, wanted: NDArray[np.int64] | None = None, allowed: Allowed | None = None
    ) -> Scored:
        """The candidates of each shopper with their chances, by the stage of each.

        ``wanted``: products ``[B, m]`` that are of interest, ``None`` for all; ``allowed``: says of rows and products
        which may be listed.
        """
        last = self._last
        if last is not None and last.history is histories and wanted is None:
            return last.scored(allowed)
        parts: list[Scored] = []
        for stage, own in self._split(histories):
            part = shoppers_of(histories, own)
            keep = None if allowed is None else of_rows(allowed, own)
            rows, products, chances = stage.scored(
                part, stage.generator.candidates(part), None if wanted is None else wanted[own], keep
            )
            parts.append((own[rows], products, chances))
        if len(parts) == 1:
            return parts[0]
        rows, products, chances = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(rows, kind="stable")
        return rows[order], products[order], chances[order]

    def _scores_of(self, histories: Histories, wanted: NDArray[np.int64]) -> ScoreArray:
        """Chances of ``wanted`` (``[B, m]``), 0 for what is no candidate; float32 ``[B, m]``."""
        return looked_up(self._scored(histories, wanted), wanted, len(self.products))

    def _lists(
        self,
        histories: Histories,
        k: int,
        exclude: Ragged,
        allowed: NDArray[np.bool_] | None,
        fill_with_popular: bool,
    ) -> Recommendations:
        """Only candidates are given features and scores."""
        products, scores = empty_lists(len(histories), k)
        known = self.knows(histories)

        def answer(start: int, stop: int) -> None:
            forbidden, own = exclude.rows(start, stop), slice(start, stop)
            products[own], scores[own] = self._best(histories.rows(start, stop), known[own], k, forbidden, allowed)
            for row in np.flatnonzero((products[own, -1] < 0) & (fill_with_popular | ~known[own])):
                banned = forbidden.row(int(row))
                self._fill(products[start + row], scores[start + row], banned, allowed, known[start + row])
                if not fill_with_popular:
                    bare = scores[start + row] <= 0
                    products[start + row][bare], scores[start + row][bare] = -1, -np.inf

        for_each(answer, self._shopper_blocks(len(histories)))
        return Recommendations(products, scores)

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """Neighbours by every item graph, each scaled to its strongest neighbour, summed."""

        def summed(part: IndexArray) -> ScoreArray:
            total = np.zeros((len(part), len(self.products)), dtype=np.float32)
            for _, weights in sorted(self._item_graphs.items()):
                rows = np.maximum(weights.rows(part), 0.0)
                rows[np.arange(len(part)), part] = 0.0
                best = rows.max(axis=1, initial=0.0, keepdims=True)
                total += rows / np.where(best > 0, best, 1.0)
            return np.where(total > 0, total, -np.inf).astype(np.float32)

        return most_similar(products, k, summed, max(1, CELLS_PER_CHUNK // max(1, len(self.products))))

    def contributions(
        self, history: Histories, products: IndexArray, scores: ScoreArray | None = None
    ) -> tuple[IndexArray, NDArray[np.float64]]:
        """The scores, shared out over the shopper's past products by what each contributed to the sources.

        A tree ensemble has no term per event. But sources led to a candidate from past products: each source counts by
        its part in the fusion of the candidate, and within it each past product by its term. All zero where a product
        is no candidate, or only because it sells well. Shares say which product to check; whether a score falls without
        it is only known by scoring without it.
        """
        past, terms = self._asked_about(history).contributions(products)
        totals = terms.sum(axis=1, keepdims=True)
        if not self.knows(history).any() or not totals.any():
            return past, np.zeros_like(terms)
        if scores is None:
            scores = self.score(history, products)[0]
        return past, scores[:, None].astype(np.float64) * terms / np.where(totals > 0, totals, 1.0)

    def likeness(self, products: IndexArray) -> ScoreArray:
        """Weights of every item graph between ``products``, each graph scaled to its largest, averaged."""
        return mean_likeness([weights.block(products, products) for _, weights in sorted(self._item_graphs.items())])

    def sold_this_week(self, now: int) -> ScoreArray | None:
        """See `Recommender.sold_this_week`."""
        facts = self.generator.facts
        return facts.counts[:, WEEK] if now - facts.as_of <= WINDOW_DAYS[WEEK] * SECONDS_PER_DAY else None

    def without_ranker(self) -> "TwoStageRecommender":
        """The same candidates in the order of their fusion; no ranker is asked."""
        fused = None if self.session is None else replace(self.session, fused=True)
        stage = replace(self.stage, fused=True)
        return TwoStageRecommender(self.products, self.popularity, stage, fused, self.category_share)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Facts of the catalogue, item graphs in CSR form, which are the same in both stages, factors and rankers."""
        arrays = self.generator.facts.arrays()
        for name, weights in self._item_graphs.items():
            arrays |= {f"graph_{name}_{part}": array for part, array in weights.arrays().items()}
        if self.generator.factors is not None:
            arrays |= {f"factors_{name}": array for name, array in self.generator.factors.arrays().items()}
        arrays |= self.stage.ranker.arrays(RANKER)
        if self.session is not None:
            arrays |= self.session.ranker.arrays(SESSION_RANKER)
        return arrays

    def parameters(self) -> dict[str, Any]:
        """Format, the parameters of both stages and of the factors, the moment of fitting, and the limit of breadth."""
        factors = self.generator.factors
        return {
            "format": FORMAT,
            "stage": self.stage.parameters(),
            "session": None if self.session is None else self.session.parameters(),
            "factors": None if factors is None else factors.parameters(),
            "as_of": self.generator.facts.as_of,
            "category_share": self.category_share,
        }

    @classmethod
    def restore(cls, stored: StoredModel) -> Self:
        """Inverse of `arrays` and `parameters`.

        Raises:
            OldFormatError: the bundle was written by another version.
        """
        arrays, parameters = stored.arrays, stored.parameters
        if parameters.get("format") != FORMAT:
            raise OldFormatError(
                f"the hybrid's bundle has format {parameters.get('format', 1)}, this version reads {FORMAT}",
                remedy="train the model again with this version",
            )
        facts = CatalogueFacts.restore(arrays, parameters["as_of"])
        factors = None
        if parameters["factors"] is not None:
            own = {name: arrays[f"factors_{name}"] for name in ("item_factors", "gramian")}
            factors = FactorRecommender.restore(replace(stored, arrays=own, parameters=parameters["factors"]))
        given = (arrays, facts, factors)
        stage = RankedStage.restore(parameters["stage"], Ranker.restore(arrays, RANKER), *given)
        session = None
        if parameters["session"] is not None:
            session = RankedStage.restore(parameters["session"], Ranker.restore(arrays, SESSION_RANKER), *given)
        return cls(stored.products, stored.popularity, stage, session, parameters["category_share"])

    def _best(
        self,
        histories: Histories,
        known: NDArray[np.bool_],
        k: int,
        exclude: Ragged,
        listed: NDArray[np.bool_] | None,
    ) -> tuple[IndexArray, ScoreArray]:
        """The ``k`` best allowed candidates of each shopper within the limits of breadth; none for unknown ones."""
        width = len(self.products)
        banned = exclude.keys(width)

        def allowed(rows: NDArray[np.int64], products: IndexArray) -> NDArray[np.bool_]:
            may = known[rows]
            if listed is not None:
                may = may & listed[products]
            if len(banned):
                may = may & ~find_sorted(banned, rows * width + products)[1]
            return may

        rows, values, chances = self._scored(histories, None, allowed)
        edges = offsets_of_rows(rows, len(histories)).tolist()
        products, scores = empty_lists(len(histories), k)
        limited = self.category_share < 1 and self.generator.facts.categories > 0
        for row, (first, last) in enumerate(pairwise(edges)):
            order = first + np.argsort(-chances[first:last], kind="stable")
            best = self._broad(histories.rows(row, row + 1), values[order], k) if limited else slice(k)
            best = order[best]
            products[row, : len(best)], scores[row, : len(best)] = values[best], chances[best]
        return products, scores

    def _broad(self, history: Histories, products: IndexArray, k: int) -> list[int]:
        """The places of ``products``, best first, that one shopper's list of ``k`` takes."""
        category, share = self.generator.facts.category, self.category_share
        shares: Mapping[int, float] = {}
        if self._stage_of(history) is self.session:
            shares = shares_of_single_clicks(category[history.products], of_newest_session(history), share)
        return broad(category[products].tolist(), shares, share, k)

    def _fill(
        self,
        products: IndexArray,
        scores: ScoreArray,
        banned: IndexArray,
        listed: NDArray[np.bool_] | None,
        known: np.bool_,
    ) -> None:
        """Complete one list (``[k]``, in place) with popular products that are allowed and not yet in it."""
        have = int((products >= 0).sum())
        order, padding = self.popular_order, self.popular_padding
        # So many of the most popular suffice, whatever is banned; a whitelist may need them all.
        enough = order if listed is not None else order[: len(products) + len(banned)]
        free = enough if listed is None else enough[listed[enough]]
        free = free[~np.isin(free, banned) & ~np.isin(free, products[:have])][: len(products) - have]
        filled = slice(have, have + len(free))
        products[filled] = free
        popularity = self.popularity[free]
        scores[filled] = padding[free] if known else np.where(popularity > 0, popularity, padding[free])

    def _shopper_blocks(self, shoppers: int) -> list[Block]:
        return blocks_of(shoppers, max(1, min(SHOPPERS_PER_BLOCK, CELLS_AT_ONCE // max(1, len(self.products)))))
