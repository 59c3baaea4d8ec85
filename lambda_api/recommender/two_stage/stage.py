"""One stage of the two-stage recommender: candidates, their features, and the ranker that was trained on these."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Parameters, ScoreArray
from lambda_api.recommender.csr import find_sorted
from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.two_stage.candidates import CandidateGenerator, Candidates
from lambda_api.recommender.two_stage.features import FeatureRows, feature_names
from lambda_api.recommender.two_stage.product_statistics import CatalogueFacts
from lambda_api.recommender.two_stage.ranker import Ranker
from lambda_api.recommender.two_stage.sources import Source, source_names

MAX_LOGIT = 60.0

Scored = tuple[NDArray[np.int64], IndexArray, ScoreArray]
"""Shopper, product and chance of candidates, ascending by shopper, then product."""

Allowed = Callable[[NDArray[np.int64], IndexArray], NDArray[np.bool_]]
"""Says of shoppers and products (``[R]`` each) which may be listed, bool ``[R]``."""


@dataclass(frozen=True)
class RankedStage:
    """A candidate generator and its ranker.

    Attributes:
        generator: proposes the candidates.
        ranker: scores rows of the features that it reads.
        calibration: slope > 0 and intercept; a chance is ``1 / (1 + exp(-(slope * score + intercept)))``.
        reads: names of the features that the ranker reads, in the order of its input.
        session: whether it answers within sessions, with `SESSION_FEATURES`.
        fused: rank by reciprocal rank fusion instead; the ranker is not asked.
    """

    generator: CandidateGenerator
    ranker: Ranker
    calibration: tuple[float, float]
    reads: tuple[str, ...]
    session: bool = False
    fused: bool = False

    def __post_init__(self) -> None:
        if not self.calibration[0] > 0:
            raise ValueError(f"the slope of the calibration must be positive, not {self.calibration[0]}")

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of all features of the stage, in the order of `features`."""
        return feature_names(source_names(self.generator.sources), self.session)

    def features(self, histories: Histories, found: Candidates) -> FeatureRows:
        """Features of candidates ``found`` by this stage."""
        return FeatureRows(histories, found, self.generator.facts, session=self.session)

    def rank(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The ranker's own scores of rows of `features` (``[R, F]``), float32 ``[R]``."""
        return self.ranker.score(features[:, self._columns])

    def scored(
        self,
        histories: Histories,
        found: Candidates,
        wanted: NDArray[np.int64] | None = None,
        allowed: Allowed | None = None,
    ) -> Scored:
        """The candidates ``found`` with their chances: those among ``wanted`` (``[B, m]``) and ``allowed``, or all."""
        rows, products = found.products.row_of_value, found.products.values
        keep = None if allowed is None else allowed(rows, products)
        if wanted is not None:
            width = len(self.generator.facts)
            asked = np.sort((np.arange(len(wanted))[:, None] * width + wanted).ravel())
            keep = find_sorted(asked, rows * width + products)[1]
        only = None if keep is None or keep.all() else np.flatnonzero(keep)
        return self.chances(found, only, None if self.fused else self.features(histories, found))

    def chances(self, found: Candidates, only: NDArray[np.int64] | None, features: FeatureRows | None) -> Scored:
        """Candidates with their chances, or, without ``features``, with their fusion.

        ``only``: places among the candidates ``found``, ``None`` for all. ``features``: of ``found``.
        """
        rows, products, fusion = found.products.row_of_value, found.products.values, found.fusion
        if only is not None:
            rows, products, fusion = rows[only], products[only], fusion[only]
        if features is None:
            return rows, products, fusion
        slope, intercept = self.calibration
        logits = slope * self.rank(features.of(only)).astype(np.float64) + intercept
        return rows, products, (1.0 / (1.0 + np.exp(-np.clip(logits, -MAX_LOGIT, MAX_LOGIT)))).astype(np.float32)

    @cached_property
    def _columns(self) -> NDArray[np.int64]:
        return np.array([self.feature_names.index(name) for name in self.reads], dtype=np.int64)

    def parameters(self) -> dict[str, Any]:
        """Sources, limits, calibration and what the ranker reads."""
        return {
            "sources": [source.parameters() for source in self.generator.sources],
            "graphs": sorted(self.generator.graphs),
            "limit": self.generator.limit,
            "consumed_types": [kind.label for kind in self.generator.consumed_types],
            "calibration": list(self.calibration),
            "reads": list(self.reads),
            "session": self.session,
        }

    @classmethod
    def restore(
        cls,
        parameters: Parameters,
        ranker: Ranker,
        arrays: Mapping[str, NDArray[Any]],
        facts: CatalogueFacts,
        factors: FactorRecommender | None,
    ) -> Self:
        """Inverse of `parameters`; item graphs are read from ``arrays``."""
        generator = CandidateGenerator(
            sources=tuple(Source.from_parameters(source) for source in parameters["sources"]),
            graphs={
                name: SparseWeights(*(arrays[f"graph_{name}_{part}"] for part in ("indptr", "indices", "data")))
                for name in parameters["graphs"]
            },
            facts=facts,
            limit=parameters["limit"],
            consumed_types=tuple(InteractionType.from_label(label) for label in parameters["consumed_types"]),
            factors=factors,
        )
        slope, intercept = parameters["calibration"]
        return cls(generator, ranker, (slope, intercept), tuple(parameters["reads"]), parameters["session"])


def of_rows(allowed: Allowed, own: NDArray[np.int64]) -> Allowed:
    """``allowed`` for a batch of the shoppers ``own`` alone."""
    return lambda rows, products: allowed(own[rows], products)


def looked_up(scored: Scored, wanted: NDArray[np.int64], width: int) -> ScoreArray:
    """The chances of ``wanted`` products (``[B, m]``) among those ``scored``, 0 for others; float32 ``[B, m]``."""
    rows, products, chances = scored
    place, there = find_sorted(rows * width + products, np.arange(len(wanted))[:, None] * width + wanted)
    scores = np.zeros(wanted.shape, dtype=np.float32)
    scores[there] = chances[place[there]]
    return scores
