"""The two-stage recommender: candidates, their features, one learned ranker, then popular products to fill a list.

Put assembly of the stages and the contract here. Keep sources, features and facts in the modules beside this one.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import (
    Parameters,
    Recommendations,
    Recommender,
    ScoreArray,
    Whitelist,
)
from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.item_weights import SparseWeights, mean_likeness
from lambda_api.recommender.onnx_graph import OnnxGraph
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.recommender.topk import top_k
from lambda_api.recommender.two_stage.blocks import Block, blocks_of, for_each
from lambda_api.recommender.two_stage.candidates import CELLS_AT_ONCE, CandidateGenerator, Candidates
from lambda_api.recommender.two_stage.credit import terms_of
from lambda_api.recommender.two_stage.features import feature_names, ranking_features
from lambda_api.recommender.two_stage.product_statistics import WINDOW_DAYS, CatalogueFacts
from lambda_api.recommender.two_stage.sources import Source, source_names
from lambda_api.recommender.two_stage.towers import TowerSearch
from lambda_api.recommender.two_tower import GRAPH_NAME as TOWER_GRAPH
from lambda_api.recommender.two_tower import TwoTowerRecommender

GRAPH_NAME = "ranker"
GRAPH_INPUT = "features"

CELLS_PER_CHUNK = 300_000
"""Products times products held at once when looking for similar ones: about a megabyte."""

SHOPPERS_PER_BLOCK = 64
"""Answered at once; more would not fit a core's cache, fewer spend their time on calls."""

WEEK = WINDOW_DAYS.index(7.0)

MAX_LOGIT = 60.0


class TwoStageRecommender(Recommender):
    """Candidates from `CandidateGenerator`, scored by a tree ensemble over `ranking_features`.

    The score of a candidate is ``1 / (1 + exp(-(slope * ranker + intercept)))``, the calibrated chance that the shopper
    takes it within the length of a training window. Products that are no candidates score 0, which means "no
    evidence": they follow by popularity. A shopper without a weighted event gets popular products.

    Where the model was trained to recommend new products, those a shopper has already taken are no candidates.
    """

    kind: ClassVar[str] = "two_stage"
    zero_means_no_evidence: ClassVar[bool] = True
    variants_per_answer: ClassVar[int] = 3

    def __init__(
        self,
        products: IdMap,
        popularity: ScoreArray,
        generator: CandidateGenerator,
        ranker: bytes,
        calibration: tuple[float, float],
    ) -> None:
        """``ranker``: serialised ONNX graph, float32 ``[R, F]`` to one score a row. ``calibration``: slope, intercept.

        Raises:
            ValueError: graphs or facts are of another catalogue, or the slope is not positive.
        """
        super().__init__(products, popularity)
        for name, weights in generator.graphs.items():
            if len(weights) != len(products):
                raise ValueError(f"item graph {name} is of {len(weights)} products for a map of {len(products)}")
        if len(generator.facts) != len(products):
            raise ValueError(f"facts of {len(generator.facts)} products for a map of {len(products)}")
        if not calibration[0] > 0:
            raise ValueError(f"the slope of the calibration must be positive, not {calibration[0]}")
        self.generator = generator
        self.calibration = calibration
        self._ranker = OnnxGraph(ranker)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the ranker's input columns."""
        return feature_names(source_names(self.generator.sources))

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        """Shoppers with an event that some source gives a weight."""
        known = np.zeros(len(histories), dtype=bool)
        known[histories.shopper_of_event[self._counts[histories.types]]] = True
        return known

    @cached_property
    def _counts(self) -> NDArray[np.bool_]:
        """Which kinds of interaction some source gives a weight, bool per `InteractionType`."""
        weights = [source.weighting.type_weights for source in self.generator.sources]
        return np.asarray((np.array(weights) > 0).any(axis=0))

    def score_all(self, histories: Histories) -> ScoreArray:
        """Chances of the candidates, 0 for every other product; float32 ``[B, n_products]``."""
        scores = np.zeros((len(histories), len(self.products)), dtype=np.float32)
        for start, stop in self._shopper_blocks(len(histories)):
            part = histories.rows(start, stop)
            found = self.generator.candidates(part)
            chances = self._ranked(part, found, None)
            scores[start + found.products.row_of_value, found.products.values] = chances
        return scores

    def score(self, histories: Histories, products: IndexArray) -> ScoreArray:
        """See `Recommender.score`; only the products asked for are given features and ranked."""
        products = np.atleast_2d(products)
        wanted = np.broadcast_to(products, (len(histories), products.shape[1])).astype(np.int64)
        scores = np.empty(wanted.shape, dtype=np.float32)
        for start, stop in self._shopper_blocks(len(histories)):
            part = histories.rows(start, stop)
            scores[start:stop] = self._scores_among(part, self.generator.candidates(part), wanted[start:stop])
        unknown = ~self.knows(histories)
        scores[unknown] = self.popularity[wanted[unknown]]
        return scores

    def score_without(
        self, history: Histories, without: IndexArray, products: IndexArray
    ) -> tuple[ScoreArray, NDArray[np.bool_]]:
        """See `Recommender.score_without`; the item graphs are followed once for all changed histories."""
        variants, found = self.generator.candidates_without(history, without)
        wanted = np.broadcast_to(products, (len(variants), len(products))).astype(np.int64)
        scores, known = self._scores_among(variants, found, wanted), self.knows(variants)
        scores[~known] = self.popularity[products]
        return scores, known

    def _scores_among(self, histories: Histories, found: Candidates, wanted: NDArray[np.int64]) -> ScoreArray:
        """Chances of ``wanted`` (``[B, m]``) among the candidates ``found``, 0 for what is none; float32 ``[B, m]``."""
        scores = np.zeros(wanted.shape, dtype=np.float32)
        cells = found.products.row_of_value * len(self.products) + found.products.values
        if len(cells) == 0:
            return scores
        asked = np.arange(len(histories))[:, None] * len(self.products) + wanted
        at = np.minimum(np.searchsorted(cells, asked), len(cells) - 1)
        is_candidate = cells[at] == asked
        rows, place = np.unique(at[is_candidate], return_inverse=True)
        scores[is_candidate] = self._ranked(histories, found, rows)[place]
        return scores

    def recommend(
        self,
        histories: Histories,
        k: int,
        *,
        exclude: Ragged | None = None,
        candidates: Whitelist | None = None,
        fill_with_popular: bool = True,
    ) -> Recommendations:
        """See `Recommender.recommend`; only candidates are given features and scores."""
        self._require_answerable(histories, k, exclude)
        products = np.full((len(histories), k), -1, dtype=np.int32)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        listed = None
        if candidates is not None:
            listed = np.zeros(len(self.products), dtype=bool)
            listed[candidates] = True
        known = self.knows(histories)

        def answer(start: int, stop: int) -> None:
            forbidden = None if exclude is None else exclude.rows(start, stop)
            own = slice(start, stop)
            products[own], scores[own] = self._best(histories.rows(start, stop), known[own], k, forbidden, listed)
            for row in np.flatnonzero((products[own, -1] < 0) & (fill_with_popular | ~known[own])):
                banned = np.empty(0, np.int32) if forbidden is None else forbidden.row(int(row))
                self._fill(products[start + row], scores[start + row], banned, listed, known[start + row])
                if not fill_with_popular:
                    bare = scores[start + row] <= 0
                    products[start + row][bare], scores[start + row][bare] = -1, -np.inf

        for_each(answer, self._shopper_blocks(len(histories)))
        return Recommendations(products, scores)

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        """Neighbours by every item graph, each scaled to its strongest neighbour, summed."""
        products = np.asarray(products, dtype=np.int32)
        found = np.full((len(products), k), -1, dtype=np.int32)
        scores = np.full((len(products), k), -np.inf, dtype=np.float32)
        for start, stop in blocks_of(len(products), max(1, CELLS_PER_CHUNK // max(1, len(self.products)))):
            part = products[start:stop]
            total = np.zeros((len(part), len(self.products)), dtype=np.float32)
            for _, weights in sorted(self.generator.graphs.items()):
                rows = np.maximum(weights.rows(part), 0.0)
                rows[np.arange(len(part)), part] = 0.0
                best = rows.max(axis=1, initial=0.0, keepdims=True)
                total += rows / np.where(best > 0, best, 1.0)
            found[start:stop], scores[start:stop] = top_k(np.where(total > 0, total, -np.inf).astype(np.float32), k)
        return Recommendations(found, scores)

    def contributions(
        self, history: Histories, products: IndexArray, scores: ScoreArray | None = None
    ) -> tuple[IndexArray, NDArray[np.float64]]:
        """The scores, shared out over the shopper's past products by what each contributed to the sources.

        A tree ensemble has no term per event. But it saw a product because sources led to it from past products; each
        source counts by its part in the fusion of this candidate, and within it each past product by its term. All
        zero where a product is no candidate, or only because it sells well. Shares tell where to look; whether a score
        falls without an event, only scoring without it tells.
        """
        past, terms = terms_of(self.generator, history, products)
        totals = terms.sum(axis=1, keepdims=True)
        if not self.knows(history).any() or not totals.any():
            return past, np.zeros_like(terms)
        if scores is None:
            scores = self.score(history, products)[0]
        return past, scores[:, None].astype(np.float64) * terms / np.where(totals > 0, totals, 1.0)

    def likeness(self, products: IndexArray) -> ScoreArray:
        """Weights of every item graph between ``products``, each graph scaled to its largest, averaged."""
        return mean_likeness(
            [weights.block(products, products) for _, weights in sorted(self.generator.graphs.items())]
        )

    def sold_this_week(self, now: int) -> ScoreArray | None:
        """See `Recommender.sold_this_week`."""
        facts = self.generator.facts
        return facts.counts[:, WEEK] if now - facts.as_of <= WINDOW_DAYS[WEEK] * SECONDS_PER_DAY else None

    def without_ranker(self) -> "TwoStageRecommender":
        """The same candidates in the order of their fusion; no ONNX graph is run."""
        return FusedCandidates(self.products, self.popularity, self.generator, self._ranker.content, self.calibration)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Facts of the catalogue and every item graph in CSR form."""
        arrays = self.generator.facts.arrays()
        for name, weights in self.generator.graphs.items():
            arrays |= {f"graph_{name}_{part}": array for part, array in weights.arrays().items()}
        if self.generator.factors is not None:
            arrays |= {f"factors_{name}": array for name, array in self.generator.factors.arrays().items()}
        if self.generator.towers is not None:
            arrays |= {f"towers_{name}": array for name, array in self.generator.towers.model.arrays().items()}
        return arrays

    def parameters(self) -> dict[str, Any]:
        """Sources, limits, calibration and the moment of fitting."""
        return {
            "sources": [source.parameters() for source in self.generator.sources],
            "graphs": sorted(self.generator.graphs),
            "limit": self.generator.limit,
            "consumed_types": [kind.label for kind in self.generator.consumed_types],
            "factors": None if self.generator.factors is None else self.generator.factors.parameters(),
            "calibration": list(self.calibration),
            "as_of": self.generator.facts.as_of,
        }

    def graphs(self) -> dict[str, bytes]:
        """``ranker``, and the shopper tower where there is one."""
        towers = self.generator.towers
        return {GRAPH_NAME: self._ranker.content, **({} if towers is None else towers.model.graphs())}

    @classmethod
    def restore(
        cls,
        products: IdMap,
        popularity: ScoreArray,
        arrays: Mapping[str, NDArray[Any]],
        parameters: Parameters,
        graphs: Mapping[str, bytes],
    ) -> Self:
        """Inverse of `arrays`, `parameters` and `graphs`."""
        facts = CatalogueFacts.restore(arrays, parameters["as_of"])
        generator = CandidateGenerator(
            sources=tuple(Source.from_parameters(source) for source in parameters["sources"]),
            graphs={
                name: SparseWeights(*(arrays[f"graph_{name}_{part}"] for part in ("indptr", "indices", "data")))
                for name in parameters["graphs"]
            },
            facts=facts,
            limit=parameters["limit"],
            consumed_types=tuple(InteractionType.from_label(label) for label in parameters["consumed_types"]),
            factors=_restored_factors(products, popularity, arrays, parameters),
            towers=_restored_towers(products, popularity, arrays, graphs, facts),
        )
        slope, intercept = parameters["calibration"]
        return cls(products, popularity, generator, graphs[GRAPH_NAME], (slope, intercept))

    def rank(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The ranker's own scores of rows of features (``[R, F]``), float32 ``[R]``."""
        if len(features) == 0:
            return np.empty(0, dtype=np.float32)
        scores: NDArray[np.float32] = self._ranker.run(None, {GRAPH_INPUT: features})
        return scores.reshape(-1)

    def _ranked(self, histories: Histories, candidates: Candidates, only: NDArray[np.int64] | None) -> ScoreArray:
        """Chances of ``candidates``, or of these rows of them."""
        features = ranking_features(histories, candidates, self.generator.facts, only)
        slope, intercept = self.calibration
        logits = np.clip(slope * self.rank(features).astype(np.float64) + intercept, -MAX_LOGIT, MAX_LOGIT)
        return (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)

    def _best(
        self,
        histories: Histories,
        known: NDArray[np.bool_],
        k: int,
        exclude: Ragged | None,
        listed: NDArray[np.bool_] | None,
    ) -> tuple[IndexArray, ScoreArray]:
        """The ``k`` best candidates of each shopper that are allowed; shoppers nothing is ``known`` of have none."""
        found = self.generator.candidates(histories)
        rows, values = found.products.row_of_value, found.products.values
        allowed = known[rows]
        if listed is not None:
            allowed &= listed[values]
        if exclude is not None and len(exclude.values):
            width = len(self.products)
            allowed &= ~np.isin(rows * width + values, exclude.row_of_value * width + exclude.values)
        if not allowed.all():
            only = np.flatnonzero(allowed)
            chances, rows, values = self._ranked(histories, found, only), rows[only], values[only]
        else:
            chances = self._ranked(histories, found, None)
        start = np.searchsorted(rows, np.arange(len(histories) + 1))
        padded = np.full((len(histories), max(1, int(np.diff(start).max()))), -np.inf, dtype=np.float32)
        padded[rows, np.arange(len(values)) - start[rows]] = chances
        chosen, scores = top_k(padded, k)
        at = np.minimum(start[:-1, None] + np.maximum(chosen, 0), max(0, len(values) - 1))
        products = values[at] if len(values) else np.zeros(chosen.shape, dtype=np.int32)
        return np.where(chosen >= 0, products, -1).astype(np.int32), scores

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


def _restored_factors(
    products: IdMap, popularity: ScoreArray, arrays: Mapping[str, NDArray[Any]], parameters: Parameters
) -> FactorRecommender | None:
    if parameters.get("factors") is None:
        return None
    own = {name: arrays[f"factors_{name}"] for name in ("item_factors", "gramian")}
    return FactorRecommender.restore(products, popularity, own, parameters["factors"], {})


def _restored_towers(
    products: IdMap,
    popularity: ScoreArray,
    arrays: Mapping[str, NDArray[Any]],
    graphs: Mapping[str, bytes],
    facts: CatalogueFacts,
) -> TowerSearch | None:
    if TOWER_GRAPH not in graphs:
        return None
    own = {name: arrays[f"towers_{name}"] for name in ("item_vectors", "item_bias")}
    return TowerSearch(TwoTowerRecommender.restore(products, popularity, own, {}, graphs), facts)


class FusedCandidates(TwoStageRecommender):
    """The candidates of a two-stage recommender by reciprocal rank fusion alone: what is left when the ranker fails.

    Scores are the fusion itself, > 0. Never stored: it is made by `TwoStageRecommender.without_ranker`.
    """

    def _ranked(self, histories: Histories, candidates: Candidates, only: NDArray[np.int64] | None) -> ScoreArray:
        return candidates.fusion if only is None else candidates.fusion[only]
