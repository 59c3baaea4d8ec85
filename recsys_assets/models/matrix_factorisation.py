"""Implicit-feedback matrix factorisation by alternating least squares (the implicit library)."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from scipy import sparse

from lambda_api.recommender.factors import FactorRecommender, longest_first
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.profiles import SECONDS_PER_DAY, EventWeighting
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import (
    STRICT,
    Combine,
    Days,
    Positive,
    ProfileParameters,
    Whole,
    WholeOrZero,
)
from recsys_assets.models.popularity import decayed_popularity
from recsys_assets.models.trainer import Diverged, Report

LEAST_CONFIDENCE = 1e-6


@dataclass(frozen=True, config=STRICT)
class MatrixFactorisation(ProfileParameters):
    """iALS: ``min sum_ui c_ui (p_ui - x_u . y_i)^2 + regularisation (sum |x_u|^2 + sum |y_i|^2)``.

    ``p_ui`` is 1 where the shopper has the product and 0 elsewhere; ``c_ui = 1 + alpha * profile[u, i]``, the profile
    decayed as in `EventWeighting`, in training as at inference (Hu, Koren & Volinsky, "Collaborative filtering for
    implicit feedback datasets", ICDM 2008). Only item factors are kept; shoppers are folded in (`FactorRecommender`).

    A profile counts back from the shopper's own newest event. In training ``c_ui`` also halves with every
    ``event_half_life_days`` between the pair's newest event and the end of the data, so that old purchases do not
    define for ever which products go together.

    Cold shoppers get popular products. Cold products have a zero factor and score 0, among the last.

    Attributes:
        factors: dimensions of the vectors.
        regularisation: the penalty on both sides.
        alpha: how much more a seen product counts than an unseen one.
        iterations: alternations.
        event_half_life_days: see above; ``None`` for no decay.
        combine: events of one shopper on one product count as their ``max`` or their ``sum``.
        seed: of the initial factors.
    """

    name: ClassVar[str] = "matrix_factorisation"

    factors: Whole = 64
    regularisation: Positive = 3.0
    alpha: Positive = 1.0
    iterations: Whole = 15
    event_half_life_days: Days = 30.0
    combine: Combine = "max"
    seed: WholeOrZero = 0

    def fit(self, data: TrainingData, report: Report | None = None) -> FactorRecommender:
        """Alternate ``iterations`` times, reporting ``iteration``.

        Raises:
            NothingToLearn: no interaction has a weight.
            Diverged: the factors did not stay finite.
        """
        from implicit.cpu.als import AlternatingLeastSquares
        from implicit.recommender_base import ModelFitError
        from threadpoolctl import threadpool_limits

        data = self.learnable(data)

        def progress(iteration: int, seconds: float, loss: float | None) -> None:
            if report is not None:
                report("iteration", float(iteration + 1))

        # implicit runs its own threads; a pool of BLAS threads below them makes both many times slower.
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
                raise Diverged(
                    f"{self.name} diverged ({error})", remedy="raise regularisation or lower alpha"
                ) from error
        item_factors = np.ascontiguousarray(model.item_factors, dtype=np.float32)
        exact = item_factors.astype(np.float64)
        # Stored longest first, so that serving finds the best products of a large catalogue without sorting.
        stored = longest_first(item_factors)
        return FactorRecommender(
            data.products,
            decayed_popularity(data, self.weights, self.popularity_half_life_days),
            stored.rows,
            exact.T @ exact,
            self.weighting(self.combine),
            self.regularisation,
            self.alpha,
            stored.order,
            stored.lengths,
        )

    def confidences(self, data: TrainingData) -> sparse.csr_matrix:
        """``c_ui`` of every pair seen, float32 ``[n_users, n_products]``."""
        histories = data.histories()
        profiles = self.weighting(self.combine).profiles(histories)
        values = (1.0 + self.alpha * profiles.weights).astype(np.float32)
        if self.event_half_life_days is not None:
            values *= self._age_factors(histories, self.event_half_life_days)
        shape = (len(data.users), len(data.products))
        return sparse.csr_matrix((values, profiles.products, profiles.indptr), shape=shape)

    def _age_factors(self, histories: Histories, half_life_days: float) -> NDArray[np.float32]:
        """Decay of each pair of the profiles by its age, in their order; float32 in (0, 1]."""
        weighting = self.weighting(self.combine)
        # The largest decay of a pair is that of its newest event; these profiles have the same pairs in the same order.
        counted = tuple(float(weight > 0) for weight in weighting.type_weights)
        newest = EventWeighting(counted, half_life_days, 1.0, "max").profiles(histories)
        last = np.full(len(histories), histories.now, dtype=np.int64)
        used = np.asarray(counted)[histories.types] > 0
        last[histories.shopper_of_event[used]] = histories.timestamps[used]  # ascending: the newest stays
        away_days = (histories.now - last) / SECONDS_PER_DAY
        decay = 0.5 ** (away_days / half_life_days)
        decayed = newest.weights * np.repeat(decay, np.diff(newest.indptr))
        # A pair of confidence 0 would count as never seen.
        return np.maximum(decayed, LEAST_CONFIDENCE).astype(np.float32)
