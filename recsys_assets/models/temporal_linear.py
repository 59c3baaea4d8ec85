"""The temporal linear item-to-item model: ridge regression from a shopper's past to their future."""

import math
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.profiles import EventWeighting
from recsys_assets.models.attributes import attribute_vectors
from recsys_assets.models.cut_points import Clock, Moments, moments, past_and_future
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ease import ease_weights
from recsys_assets.models.parameters import (
    STRICT,
    Days,
    NothingToLearn,
    NotNegative,
    Positive,
    TrendParameters,
    Whole,
    weighting,
)
from recsys_assets.models.popularity import item_to_item
from recsys_assets.models.ridge import ROWS_PER_BLOCK, busiest, neighbours_kept, regression, require_memory, stored
from recsys_assets.models.trainer import Report


@dataclass(frozen=True, config=STRICT)
class TemporalLinear(TrendParameters):
    """Which products follow which, in closed form, with optional EASE and content terms.

    Each history is cut after each of its moments (see `recsys_assets.models.cut_points`); ``S`` holds the decayed past
    of each cut, ``T`` its decayed future, and ``B = (S'S + l2 I)^-1 S'T`` is the ridge regression of ``T`` on ``S``.
    This is the SLIT form of Choi et al., "Session-aware linear item-item models for session-based recommendation",
    WWW 2021 (arXiv 2103.16104); see also Park et al., "Temporal linear item-item model for sequential recommendation",
    arXiv 2412.07382 (TALE). A shopper scores ``prior[j] * sum_i x[i] * W[i, j]`` (`ItemToItemRecommender`) with

    ``W = B + ease_weight * E + content_weight * C``,

    ``E`` the weights of `Ease` without its decay and prior, ``C`` the cosine of descriptions (`attribute_vectors`; 0 on
    the diagonal), and ``x`` the shopper's events, each weighing ``exp(-distance / delta_serving)`` counted back from
    their latest moment, summed per product.

    The lines of one basket are one moment; their order does not count. A shopper with one moment has no future to learn
    from, but counts in ``E``.

    Cold shoppers get popular products. Cold products, and all but the ``max_products`` products with the most shoppers
    (the cost grows with their square), have weights in ``C`` only.

    Attributes:
        clock: unit of distances. ``"steps"``: moments of the shopper; ``"days"``: time.
        delta_past, delta_future: lengths of the decays while fitting, in clock units.
        delta_serving: length of the decay of the shopper's events when scoring, in clock units; usually longer than
            ``delta_past``.
        l2: the penalty.
        ease_weight, ease_l2: share of ``E``, 0 for none, and its own penalty.
        content_weight: share of ``C``, 0 for none.
        name_weight, attribute_weight: shares of names and of categories with brands in ``C``.
        top_neighbours: keep so many positive weights per product, sparsely; ``None`` keeps all, densely (4 bytes times
            products squared in the bundle), or `SPARSE_NEIGHBOURS` in a catalogue larger than ``max_products``.
        newest_moments: learned from per shopper; bounds the cost and influence of a robot.
        max_products: ``B`` and ``E`` are computed among so many products.
        max_memory_gb: refuse to start when the solution would need more.
        event_half_life_days: age, counted back from the end of the data, at which a cut weighs half; ``None`` for no
            decay.
    """

    name: ClassVar[str] = "temporal_linear"

    clock: Clock = "steps"
    delta_past: Positive = 1.0
    delta_future: Positive = 3.0
    delta_serving: Positive = 3.0
    l2: Positive = 60.0
    ease_weight: NotNegative = 0.0
    ease_l2: Positive = 100.0
    content_weight: NotNegative = 0.0
    name_weight: NotNegative = 1.0
    attribute_weight: NotNegative = 1.0
    top_neighbours: Whole | None = None
    newest_moments: Whole = 200
    max_products: Whole = 12_500
    max_memory_gb: Positive = 4.0
    event_half_life_days: Days = None

    @model_validator(mode="after")
    def _described(self) -> Self:
        if self.content_weight and not (self.name_weight or self.attribute_weight):
            raise ValueError("content_weight needs name_weight or attribute_weight to be positive")
        return self

    def fit(self, data: TrainingData, report: Report | None = None) -> ItemToItemRecommender:
        """Invert once, twice with an EASE term.

        Raises:
            NothingToLearn: no interaction has a weight, or no shopper has two moments (and no other term has a
                weight).
            ModelTooLarge: the products need more than ``max_memory_gb``.
        """
        data = self.learnable(data)
        weights, products = self.weights, len(data.products)
        history = moments(data, weights, self.clock, self.newest_moments, self.event_half_life_days)
        self._require_cuts(history)
        warm = busiest(data.matrix(weights), self.max_products)
        # Cold products have weights only where descriptions give them some.
        active = np.arange(products, dtype=np.int32) if self.content_weight else warm
        neighbours = neighbours_kept(self.top_neighbours, products, self.max_products)
        # The Gramian, inverted in place; the terms' sum and the term being added; sparse S'S and S'T while counting.
        needed = 8.0 * len(warm) ** 2 + 8.0 * len(active) ** 2 + 4.0 * len(warm) ** 2
        needed += 0.0 if neighbours else 4.0 * products**2
        require_memory(self.name, needed, self.max_memory_gb, len(warm), products)
        combined = self._combined(data, history, warm, active)
        return item_to_item(data, self, stored(combined, active, products, neighbours), self.event_weighting())

    def event_weighting(self) -> EventWeighting:
        """How a shopper's events weigh when scoring: as in a row of ``S``, with ``delta_serving``."""
        if self.clock == "steps":
            return weighting(self.type_weights, None, math.exp(-1.0 / self.delta_serving), "sum")
        return weighting(self.type_weights, self.delta_serving * math.log(2.0), 1.0, "sum")

    def _combined(
        self, data: TrainingData, history: Moments, warm: NDArray[np.int32], active: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """``W`` among the products ``active``, float32. One float64 ``n x n`` matrix at a time."""
        inside = replace(history, events=history.events[:, warm])
        gramian, cross = past_and_future(inside, self.delta_past, self.delta_future)
        weights = regression(gramian, cross, self.l2, self.name)
        del gramian, cross
        if self.ease_weight:
            matrix = data.matrix(self.weights, binary=True, half_life_days=self.event_half_life_days)
            matrix = matrix[:, warm].astype(np.float64)
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
            raise NothingToLearn(
                f"{self.name} has no past and future to learn from: none of {len(history.indptr) - 1} shoppers has "
                "weighted events at two different moments",
                remedy="widen the data window, give ease_weight or content_weight, or use item_knn or ease, which need "
                "no order",
            )


def add_cosines(weights: NDArray[np.float32], vectors: sparse.csr_matrix, weight: float) -> None:
    """Add ``weight`` times the inner product of two products' vectors to ``weights``, off the diagonal."""
    diagonal = np.diag(weights).copy()
    transposed = (weight * vectors).T.tocsr()
    for start in range(0, len(weights), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        weights[block] += (vectors[block] @ transposed).toarray().astype(np.float32)
    np.fill_diagonal(weights, diagonal)
