"""Implicit-feedback matrix factorisation by alternating least squares (the implicit library).

Put fitting of item factors here. Keep folding a shopper in in ``lambda_api.recommender.factors``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.profiles import SECONDS_PER_DAY, EventWeighting
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_given,
    require_interactions,
    require_positive,
    require_whole,
    weighting,
)
from recsys_assets.models.popularity import DEFAULT_HALF_LIFE_DAYS, decayed_popularity
from recsys_assets.models.trainer import Report

LEAST_CONFIDENCE = 1e-6


@dataclass(frozen=True)
class MatrixFactorisation:
    """iALS: ``min sum_ui c_ui (p_ui - x_u . y_i)^2 + regularisation (sum |x_u|^2 + sum |y_i|^2)``.

    ``p_ui`` is 1 where the shopper has the product and 0 elsewhere; ``c_ui = 1 + alpha * profile[u, i]``, the profile
    decayed as in `EventWeighting`, in training as at inference (Hu, Koren & Volinsky, "Collaborative filtering for
    implicit feedback datasets", ICDM 2008). Only item factors are kept; shoppers are folded in (`FactorRecommender`).

    A profile counts back from the shopper's own newest event, so that a shopper who stayed away is still known; but
    which products go together is a matter of the shop's calendar. So in training ``c_ui`` of a pair halves with every
    ``confidence_half_life_days`` between its newest event and the end of the data: what was bought together long ago
    fades to "not known" instead of being a pattern for ever.

    Cold shoppers get popular products. Cold products have a zero factor and score 0, among the last.

    Attributes:
        factors: dimensions of the vectors.
        regularisation: the penalty on both sides.
        alpha: how much more a seen product counts than an unseen one.
        iterations: alternations.
        half_life_days, step_decay: recency decay of the shopper's events; ``None`` and 1 for none.
        confidence_half_life_days: of what the factors learn from; ``None`` for no decay.
        combine: events of one shopper on one product count as their ``max`` or their ``sum``.
        seed: of the initial factors.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: weight of each interaction type, by label.
    """

    name: ClassVar[str] = "matrix_factorisation"

    factors: int = 64
    regularisation: float = 3.0
    alpha: float = 1.0
    iterations: int = 15
    half_life_days: float | None = 90.0
    step_decay: float = 1.0
    confidence_half_life_days: float | None = 30.0
    combine: Literal["sum", "max"] = "max"
    seed: int = 0
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        require_given(
            factors=self.factors, iterations=self.iterations, regularisation=self.regularisation, alpha=self.alpha
        )
        require_whole(factors=self.factors, iterations=self.iterations)
        require_positive(
            regularisation=self.regularisation,
            alpha=self.alpha,
            confidence_half_life_days=self.confidence_half_life_days,
            popularity_half_life_days=self.popularity_half_life_days,
        )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be a whole number >= 0, not {self.seed!r}")
        self._weighting()

    def fit(self, data: TrainingData, report: Report | None = None) -> FactorRecommender:
        """Alternate ``iterations`` times, reporting ``iteration``.

        Raises:
            ValueError: no interaction has a weight, or the factors did not stay finite.
        """
        from implicit.cpu.als import AlternatingLeastSquares
        from implicit.recommender_base import ModelFitError
        from threadpoolctl import threadpool_limits

        require_interactions(data, by_type(self.type_weights), self.name)

        def progress(iteration: int, seconds: float, loss: float | None) -> None:
            if report is not None:
                report("iteration", float(iteration + 1))

        # implicit runs its own threads; a BLAS pool beneath them slows both down many times.
        with threadpool_limits(limits=1, user_api="blas"):
            # implicit reads the values as c_ui itself, so alpha is applied here.
            model = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularisation,
                alpha=1.0,
                iterations=self.iterations,
                random_state=self.seed,
            )
            try:
                model.fit(self.confidences(data), show_progress=False, callback=progress)
            except ModelFitError as error:
                raise ValueError(f"{self.name} diverged ({error}); raise regularisation or lower alpha") from error
        item_factors = np.ascontiguousarray(model.item_factors, dtype=np.float32)
        exact = item_factors.astype(np.float64)
        return FactorRecommender(
            data.products,
            decayed_popularity(data, by_type(self.type_weights), self.popularity_half_life_days),
            item_factors,
            exact.T @ exact,
            self._weighting(),
            self.regularisation,
            self.alpha,
        )

    def confidences(self, data: TrainingData) -> sparse.csr_matrix:
        """``c_ui`` of every pair seen, float32 ``[n_users, n_products]``."""
        histories = data.histories()
        profiles = self._weighting().profiles(histories)
        values = (1.0 + self.alpha * profiles.weights).astype(np.float32)
        if self.confidence_half_life_days is not None:
            values *= self._age_factors(histories, self.confidence_half_life_days)
        shape = (len(data.users), len(data.products))
        return sparse.csr_matrix((values, profiles.products, profiles.indptr), shape=shape)

    def _age_factors(self, histories: Histories, half_life_days: float) -> NDArray[np.float32]:
        """By how much each pair of the profiles has faded, in their order; float32 in (0, 1]."""
        weighting = self._weighting()
        # The newest event of each pair, told by a decay that counts it alone: same pairs, other weights.
        counted = tuple(float(weight > 0) for weight in weighting.type_weights)
        newest = EventWeighting(counted, half_life_days, 1.0, "max").profiles(histories)
        last = np.full(len(histories), histories.now, dtype=np.int64)
        used = np.asarray(counted)[histories.types] > 0
        last[histories.shopper_of_event[used]] = histories.timestamps[used]  # ascending: the newest stays
        away_days = (histories.now - last) / SECONDS_PER_DAY
        decay = 0.5 ** (away_days / half_life_days)
        faded = newest.weights * np.repeat(decay, np.diff(newest.indptr))
        # Never nothing: a pair of confidence 0 would be taken for one that was never seen.
        return np.maximum(faded, LEAST_CONFIDENCE).astype(np.float32)

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return asdict(self)

    def _weighting(self) -> EventWeighting:
        return weighting(self.type_weights, self.half_life_days, self.step_decay, self.combine)
