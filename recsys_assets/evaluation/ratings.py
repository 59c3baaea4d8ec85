"""Rating-prediction error: RMSE and MAE of calibrated scores, beside a bias baseline.

The recommenders are built to rank, and their scores are comparable within one user only, so one straight line for all
users is a rough calibration. Where the bias baseline is better, as it usually is, predict ratings with the baseline and
rank with the recommender. Only rated products are measured, and users choose what they rate (missing not at random).
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.csr import offsets
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray
from recsys_assets.measurement.metrics import FloatArray
from recsys_assets.measurement.translation import Translation
from recsys_assets.models.dataset import TrainingData

PRODUCT_SHRINKAGE = 25.0
USER_SHRINKAGE = 10.0


@dataclass(frozen=True, slots=True)
class RatedPairs:
    """``E`` ratings given in a window, with what their users had done before it.

    Attributes:
        histories: ``B`` users before the window, products indexed like ``product``.
        row: int64 ``[E]``, the row of ``histories`` that gave each rating, ascending.
        product: int32 ``[E]``.
        rating: float64 ``[E]``, the shop's own scale.
    """

    histories: Histories
    row: NDArray[np.int64]
    product: IndexArray
    rating: FloatArray

    def __len__(self) -> int:
        return len(self.rating)


@dataclass(frozen=True, slots=True)
class RatingErrors:
    """``rmse = sqrt(mean((p - r)^2))`` and ``mae = mean(|p - r|)`` over ``n`` ratings, in rating units."""

    rmse: float
    mae: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """The line ``rating = intercept + slope * score``, clipped to the ratings it was fitted on."""

    intercept: float
    slope: float
    lowest: float
    highest: float

    def predict(self, scores: NDArray[np.floating]) -> FloatArray:
        """Predicted ratings, same shape as ``scores``."""
        line = self.intercept + self.slope * np.asarray(scores, dtype=np.float64)
        return np.clip(line, self.lowest, self.highest)


@dataclass(frozen=True, slots=True)
class RatingEvaluation:
    """A model's rating errors on the test window, beside the baseline's on the same ratings."""

    model: RatingErrors
    bias_baseline: RatingErrors
    calibration: Calibration


def rating_errors(predicted: FloatArray, ratings: FloatArray) -> RatingErrors:
    """RMSE and MAE of ``predicted`` against ``ratings``, both ``[E]``. Raises ``ValueError`` without ratings."""
    if len(ratings) == 0:
        raise ValueError("no ratings to compare with")
    residual = predicted - ratings
    return RatingErrors(float(np.sqrt((residual**2).mean())), float(np.abs(residual).mean()), len(ratings))


def calibrate(scores: NDArray[np.floating], ratings: FloatArray) -> Calibration:
    """Ordinary least squares of ``ratings`` on ``scores``, both ``[E]``; slope 0 where the scores are constant.

    Raises:
        ValueError: no ratings.
    """
    if len(ratings) == 0:
        raise ValueError("no ratings to calibrate on")
    centred = np.asarray(scores, dtype=np.float64) - np.mean(scores, dtype=np.float64)
    spread = centred @ centred
    slope = float(centred @ (ratings - ratings.mean()) / spread) if spread > 0 else 0.0
    intercept = float(ratings.mean() - slope * np.mean(scores, dtype=np.float64))
    return Calibration(intercept, slope, float(ratings.min()), float(ratings.max()))


@dataclass(frozen=True)
class BiasBaseline:
    """``rating = mean + b_user + b_product``, the biases shrunken towards 0.

    The model is that of Koren, Bell and Volinsky, "Matrix factorization techniques for recommender systems", Computer
    2009; the shrinkage that of Koren, "Factor in the neighbors: scalable and accurate collaborative filtering", TKDD
    2010, section 2.1.

    Attributes:
        mean: of all ratings.
        user: float64 ``[n_users]``; 0 for a user without ratings.
        product: float64 ``[n_products]``; 0 for a product without ratings.
        lowest, highest: of the ratings seen; predictions are clipped to them.
    """

    mean: float
    user: FloatArray
    product: FloatArray
    lowest: float
    highest: float

    @classmethod
    def fit(
        cls,
        user: IndexArray,
        product: IndexArray,
        rating: FloatArray,
        shape: tuple[int, int],
        *,
        product_shrinkage: float = PRODUCT_SHRINKAGE,
        user_shrinkage: float = USER_SHRINKAGE,
    ) -> "BiasBaseline":
        """Fit on ``E`` ratings: ``b_i = sum(r - mean) / (25 + n_i)``, then ``b_u = sum(r - mean - b_i) / (10 + n_u)``.

        Args:
            user, product, rating: ``[E]``.
            shape: ``(n_users, n_products)``.

        Raises:
            ValueError: no ratings.
        """
        if len(rating) == 0:
            raise ValueError("no ratings to fit the bias baseline on")
        n_users, n_products = shape
        mean = float(rating.mean())
        product_bias = _shrunken_mean(rating - mean, product, n_products, product_shrinkage)
        user_bias = _shrunken_mean(rating - mean - product_bias[product], user, n_users, user_shrinkage)
        return cls(mean, user_bias, product_bias, float(rating.min()), float(rating.max()))

    def predict(self, user: IndexArray, product: IndexArray) -> FloatArray:
        """Predicted ratings ``[E]``; index ``-1`` is a user or product never seen, whose bias is 0."""
        user_bias, product_bias = np.append(self.user, 0.0)[user], np.append(self.product, 0.0)[product]
        return np.clip(self.mean + user_bias + product_bias, self.lowest, self.highest)


@dataclass(frozen=True)
class RatingTask:
    """Ratings to calibrate on, and ratings to predict.

    Attributes:
        products: every product of catalogue and log; the pairs below use its indices.
        validation, test: rated pairs of the two windows, histories ending where each window starts.
        baseline_errors: of `BiasBaseline`, fitted on the ratings before the test window, on the test pairs.
    """

    products: IdMap
    validation: RatedPairs
    test: RatedPairs
    baseline_errors: RatingErrors


def build_rating_task(
    interactions: pa.Table, products: pa.Table, validation_start: datetime, test_start: datetime, end: datetime
) -> RatingTask | None:
    """Collect the ratings of ``[validation_start, test_start)`` and ``[test_start, end)``.

    Any interaction with a rating counts; of several by one user for one product in a window, the latest. Users without
    a history before the window are kept: the baseline can predict them.

    Args:
        interactions, products: canonical tables, any row order.
        validation_start, test_start, end: aware, UTC.

    Returns:
        ``None`` when either window holds no rating: there is nothing to report.

    Raises:
        ValueError: the moments are not ascending.
    """
    if not validation_start < test_start < end:
        raise ValueError(f"expected validation_start < test_start < end, got {validation_start}, {test_start}, {end}")
    log = TrainingData.from_tables(interactions, products, end)
    moments = [int(moment.timestamp()) for moment in (validation_start, test_start, end)]
    validation, test = (_rated_pairs(log, first, last) for first, last in pairwise(moments))
    if len(validation[1]) == 0 or len(test[1]) == 0:
        return None
    known = (log.timestamp < moments[1]) & ~np.isnan(log.rating)
    baseline = BiasBaseline.fit(
        log.user[known], log.product[known], log.rating[known].astype(np.float64), (len(log.users), len(log.products))
    )
    test_pairs, test_users = test
    return RatingTask(
        products=log.products,
        validation=validation[0],
        test=test_pairs,
        baseline_errors=rating_errors(baseline.predict(test_users, test_pairs.product), test_pairs.rating),
    )


def evaluate_ratings(recommender: Recommender, task: RatingTask) -> RatingEvaluation:
    """Calibrate a recommender on the validation pairs and measure it on the test pairs.

    Meant for a recommender fitted before the validation window; one that has seen those ratings gets a line that is too
    steep and a test error that is rather too high. Unknown products are predicted at the mean validation rating.
    """
    validation_scores = _translated_scores(recommender, task.validation, task.products)
    scored = ~np.isnan(validation_scores)
    ratings = task.validation.rating
    mean = float(ratings.mean())
    calibration = (
        calibrate(validation_scores[scored], ratings[scored])
        if scored.any()
        else Calibration(mean, 0.0, float(ratings.min()), float(ratings.max()))
    )
    test_scores = _translated_scores(recommender, task.test, task.products)
    predicted = np.where(np.isnan(test_scores), mean, calibration.predict(test_scores))
    return RatingEvaluation(rating_errors(predicted, task.test.rating), task.baseline_errors, calibration)


def pair_scores(recommender: Recommender, pairs: RatedPairs) -> NDArray[np.float32]:
    """The model's score of each rated pair, float32 ``[E]``; ``pairs`` in the recommender's own product indices."""
    if len(pairs) == 0:
        return np.empty(0, dtype=np.float32)
    counts = np.bincount(pairs.row, minlength=len(pairs.histories))
    place = np.arange(len(pairs)) - offsets(counts)[pairs.row]
    wanted = np.zeros((len(counts), int(counts.max())), dtype=np.int32)
    wanted[pairs.row, place] = pairs.product
    return recommender.score(pairs.histories, wanted)[pairs.row, place]


def _rated_pairs(log: TrainingData, first: int, last: int) -> tuple[RatedPairs, IndexArray]:
    """Pairs rated in ``[first, last)`` seconds, and the user index of each; histories hold the raters' past."""
    inside = np.flatnonzero((log.timestamp >= first) & (log.timestamp < last) & ~np.isnan(log.rating))
    # The log ascends in time within a user, so the last of equal pairs is the latest rating.
    _, from_end = np.unique(log.pairs[inside][::-1], return_index=True)
    chosen = inside[len(inside) - 1 - from_end]
    raters, row = np.unique(log.user[chosen], return_inverse=True)
    histories = log.where(log.timestamp < first, as_of=first).histories_of(raters)
    pairs = RatedPairs(histories, row.astype(np.int64), log.product[chosen], log.rating[chosen].astype(np.float64))
    return pairs, log.user[chosen]


def _translated_scores(recommender: Recommender, pairs: RatedPairs, products: IdMap) -> FloatArray:
    """Scores float64 ``[E]``, NaN where the recommender does not know the product."""
    translation = Translation.between(products, recommender.products)
    wanted = translation.to_model[pairs.product]
    known = wanted >= 0
    scores = np.full(len(pairs), np.nan)
    histories = translation.histories(pairs.histories)
    scores[known] = pair_scores(
        recommender, RatedPairs(histories, pairs.row[known], wanted[known], pairs.rating[known])
    )
    return scores


def _shrunken_mean(residual: FloatArray, group: IndexArray, groups: int, shrinkage: float) -> FloatArray:
    total = np.bincount(group, weights=residual, minlength=groups)
    return total / np.maximum(shrinkage + np.bincount(group, minlength=groups), 1e-12)
