"""The temporal linear item-to-item model: ridge regression from a shopper's past to their future.

Put the model's parameters, its terms and its memory rule here. Keep the regression's rows in ``cut_points``, its
algebra in ``ridge`` and scoring in ``lambda_api.recommender.item_to_item``.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.profiles import EventWeighting
from recsys_assets.models.attributes import attribute_vectors
from recsys_assets.models.cut_points import Clock, Moments, moments, past_and_future
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ease import ease_weights
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_given,
    require_interactions,
    require_not_negative,
    require_positive,
    require_whole,
    weighting,
)
from recsys_assets.models.popularity import DEFAULT_HALF_LIFE_DAYS, decayed_popularity, trend
from recsys_assets.models.ridge import ROWS_PER_BLOCK, regression, stored
from recsys_assets.models.trainer import Report

GIGABYTE = 1e9


@dataclass(frozen=True)
class TemporalLinear:
    """Which products follow which, in closed form, with optional EASE and content terms.

    Every history is cut after each of its moments (see `recsys_assets.models.cut_points`); ``S`` holds the decayed past
    of each cut, ``T`` its decayed future, and ``B = (S'S + l2 I)^-1 S'T`` is the ridge regression of one on the other.
    This is the SLIT form of Choi et al., "Session-aware linear item-item models for session-based recommendation",
    WWW 2021 (arXiv 2103.16104); see also Park et al., "Temporal linear item-item model for sequential recommendation",
    arXiv 2412.07382 (TALE). A shopper scores ``prior[j] * sum_i x[i] * W[i, j]`` (`ItemToItemRecommender`) with

    ``W = B + ease_weight * E + content_weight * C``,

    ``E`` the weights of `Ease` without its decay and prior, ``C`` the cosine of descriptions (`attribute_vectors`; no
    product is like itself, so that the term recommends something else), and ``x`` the shopper's events, each
    weighing ``exp(-distance / delta_serving)`` counted back from their latest moment, summed per product.

    Moments are the unit of order: the lines of one basket are one moment and say nothing about each other's order. A
    shopper with one moment has no future to learn from, but counts in ``E``.

    Cold shoppers get popular products. Cold products are reached through ``C`` only.

    Attributes:
        clock: what distances are measured in. ``"steps"``: moments of the shopper; ``"days"``: time.
        delta_past, delta_future: reach of the decays while fitting, in clock units, > 0.
        delta_serving: reach of the decay of the shopper's events when scoring, in clock units, > 0. Longer than
            ``delta_past`` as a rule: many terms, each certain of what it says, average better.
        l2: the penalty.
        ease_weight, ease_l2: share of ``E``, 0 for none, and its own penalty.
        content_weight: share of ``C``, 0 for none.
        name_weight, attribute_weight: shares of names and of categories with brands in ``C``.
        top_neighbours: keep this many positive weights per product of the past and store them sparsely; ``None``
            keeps all, densely (4 bytes times products squared in the bundle).
        newest_moments: of each shopper to learn from; bounds what a robot costs and weighs.
        max_memory_gb: refuse to start when the solution would need more.
        trend_days, trend_power: window and exponent of the trend prior; power 0 for none.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: weight of each interaction type, by label; types with weight 0 are not learned from.
    """

    name: ClassVar[str] = "temporal_linear"

    clock: Clock = "steps"
    delta_past: float = 1.0
    delta_future: float = 3.0
    delta_serving: float = 3.0
    l2: float = 60.0
    ease_weight: float = 0.0
    ease_l2: float = 100.0
    content_weight: float = 0.0
    name_weight: float = 1.0
    attribute_weight: float = 1.0
    top_neighbours: int | None = None
    newest_moments: int = 200
    max_memory_gb: float = 4.0
    trend_days: float = 14.0
    trend_power: float = 0.5
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        if self.clock not in ("steps", "days"):
            raise ValueError(f"clock must be 'steps' or 'days', not {self.clock!r}")
        positive = {
            name: getattr(self, name)
            for name in ("delta_past", "delta_future", "delta_serving", "l2", "ease_l2", "max_memory_gb", "trend_days")
        }
        require_given(**positive, newest_moments=self.newest_moments)
        require_positive(**positive, popularity_half_life_days=self.popularity_half_life_days)
        require_whole(top_neighbours=self.top_neighbours, newest_moments=self.newest_moments)
        require_not_negative(
            ease_weight=self.ease_weight,
            content_weight=self.content_weight,
            name_weight=self.name_weight,
            attribute_weight=self.attribute_weight,
            trend_power=self.trend_power,
        )
        if self.content_weight and not (self.name_weight or self.attribute_weight):
            raise ValueError("content_weight needs name_weight or attribute_weight to be positive")
        self.event_weighting()

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Invert once, twice with an EASE term.

        Raises:
            ValueError: no interaction has a weight, nobody has two moments (and neither other term has a weight), or
                the products need more than ``max_memory_gb``.
        """
        weights = by_type(self.type_weights)
        require_interactions(data, weights, self.name)
        history = moments(data, weights, self.clock, self.newest_moments)
        self._require_cuts(history)
        warm = np.flatnonzero(np.diff(data.matrix(weights).tocsc().indptr)).astype(np.int32)
        products = len(data.products)
        # Cold products have weights only where descriptions give them some.
        active = np.arange(products, dtype=np.int32) if self.content_weight else warm
        self._require_memory(len(warm), len(active), products)
        combined = self._combined(data, history, warm, active)
        return ItemToItemRecommender(
            data.products,
            decayed_popularity(data, weights, self.popularity_half_life_days),
            stored(combined, active, products, self.top_neighbours),
            self.event_weighting(),
            trend(data, weights, self.trend_days, self.trend_power) if self.trend_power else None,
        )

    def event_weighting(self) -> EventWeighting:
        """How a shopper's events weigh when scoring: as in a row of ``S``, with ``delta_serving``."""
        if self.clock == "steps":
            return weighting(self.type_weights, None, math.exp(-1.0 / self.delta_serving), "sum")
        return weighting(self.type_weights, self.delta_serving * math.log(2.0), 1.0, "sum")

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return asdict(self)

    def _combined(
        self, data: TrainingData, history: Moments, warm: NDArray[np.int32], active: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """``W`` among the products ``active``, float32. One float64 ``n x n`` matrix at a time."""
        inside = Moments(history.indptr, history.time, history.events[:, warm])
        gramian, cross = past_and_future(inside, self.delta_past, self.delta_future)
        weights = regression(gramian, cross, self.l2, self.name)
        del gramian, cross
        if self.ease_weight:
            matrix = data.matrix(by_type(self.type_weights), binary=True)[:, warm].astype(np.float64)
            ease = ease_weights((matrix.T @ matrix).toarray(), self.ease_l2)
            ease *= self.ease_weight
            weights += ease
        if len(active) > len(warm):
            everything = np.zeros((len(active), len(active)), dtype=np.float32)
            everything[np.ix_(warm, warm)] = weights
            weights = everything
        if self.content_weight:
            add_cosines(
                weights, attribute_vectors(data.catalogue, self.name_weight, self.attribute_weight), self.content_weight
            )
        return weights

    def _require_cuts(self, history: Moments) -> None:
        if history.cuts == 0 and not (self.ease_weight or self.content_weight):
            raise ValueError(
                f"{self.name} has no past and future to learn from: none of {len(history.indptr) - 1} shoppers has "
                "weighted events at two different moments; widen the data window, give ease_weight or content_weight, "
                "or use item_knn or ease, which need no order"
            )

    def _require_memory(self, warm: int, active: int, products: int) -> None:
        # The Gramian, inverted in place; the terms' sum and the term being added; sparse S'S and S'T while counting.
        needed = 8.0 * warm**2 + 8.0 * active**2 + 4.0 * warm**2
        needed += 0.0 if self.top_neighbours else 4.0 * products**2
        if needed / GIGABYTE > self.max_memory_gb:
            raise ValueError(
                f"{self.name} would need {needed / GIGABYTE:.1f} GB for {warm:,} products with interactions (of "
                f"{products:,}), more than max_memory_gb={self.max_memory_gb:g}: raise it, shorten the data window, "
                "set top_neighbours to store fewer weights, or use item_knn or matrix_factorisation, which grow with "
                "the interactions instead"
            )


def add_cosines(weights: NDArray[np.float32], vectors: sparse.csr_matrix, weight: float) -> None:
    """Add ``weight`` times the inner product of two products' vectors to ``weights``, off the diagonal."""
    diagonal = np.diag(weights).copy()
    transposed = (weight * vectors).T.tocsr()
    for start in range(0, len(weights), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        weights[block] += (vectors[block] @ transposed).toarray().astype(np.float32)
    np.fill_diagonal(weights, diagonal)
