"""Rating errors, calibration and the bias baseline: fractions by hand, numpy's least squares, planted biases."""

from datetime import timedelta

import numpy as np
import pytest

from lambda_api.recommender.ids import IdMap
from recsys_assets.evaluation.ratings import (
    BiasBaseline,
    build_rating_task,
    calibrate,
    evaluate_ratings,
    pair_scores,
    rating_errors,
)
from tests.evaluation.helpers import END, START, Event, ScriptedRecommender, catalogue, interactions

VALIDATION = START - timedelta(days=7)


def test_hand_computed_errors() -> None:
    errors = rating_errors(np.array([4.0, 2.0, 5.0]), np.array([5.0, 2.0, 3.0]))
    assert errors.rmse == pytest.approx((5 / 3) ** 0.5, rel=1e-15)
    assert (errors.mae, errors.n) == (1.0, 3)
    with pytest.raises(ValueError, match="no ratings"):
        rating_errors(np.array([]), np.array([]))


def test_calibration_is_least_squares_within_the_scale() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200)
    ratings = np.clip(np.round(3 + scores + rng.normal(size=200)), 1, 5)
    line = calibrate(scores, ratings)
    slope, intercept = np.polyfit(scores, ratings, 1)
    assert (line.slope, line.intercept) == (pytest.approx(slope, rel=1e-10), pytest.approx(intercept, rel=1e-10))
    np.testing.assert_array_equal(line.predict(np.array([-1e6, 1e6])), [1.0, 5.0])


def test_constant_scores_predict_the_mean() -> None:
    line = calibrate(np.full(4, 7.0), np.array([1.0, 2.0, 4.0, 5.0]))
    np.testing.assert_array_equal(line.predict(np.array([7.0, 0.0])), [3.0, 3.0])


def test_hand_computed_biases() -> None:
    # Mean 3. Product 0 rated 5 and 4: (2 + 1) / (1 + 2) = 1. Product 1 rated 2 and 1: (-1 - 2) / (1 + 2) = -1.
    user, product = np.array([0, 1, 0, 1], np.int32), np.array([0, 0, 1, 1], np.int32)
    baseline = BiasBaseline.fit(
        user, product, np.array([5.0, 4.0, 2.0, 1.0]), (3, 3), product_shrinkage=1, user_shrinkage=2
    )
    np.testing.assert_allclose(baseline.product, [1, -1, 0])
    # What is left: user 0 has 1 and 0, user 1 has 0 and -1; shrunken by 2.
    np.testing.assert_allclose(baseline.user, [1 / 4, -1 / 4, 0])
    predicted = baseline.predict(np.array([0, 2, -1], np.int32), np.array([0, 1, -1], np.int32))
    np.testing.assert_allclose(predicted, [4.25, 2.0, 3.0])


def test_bias_baseline_recovers_planted_biases() -> None:
    rng = np.random.default_rng(1)
    user_bias, product_bias = rng.normal(0, 0.5, 80), rng.normal(0, 0.5, 40)
    user, product = (grid.ravel().astype(np.int32) for grid in np.meshgrid(np.arange(80), np.arange(40)))
    rating = 3 + user_bias[user] + product_bias[product]
    baseline = BiasBaseline.fit(user, product, rating, (80, 40), product_shrinkage=0, user_shrinkage=0)
    np.testing.assert_allclose(baseline.predict(user, product), rating, atol=1e-9)


EVENTS: list[Event] = [
    ("ann", "mug", "purchase", -30),
    ("ann", "mug", "rating", -3),
    ("ann", "lamp", "rating", -3),
    ("bob", "mug", "rating", -2),
    ("bob", "lamp", "rating", -1),
    ("ann", "tray", "rating", 1),
    ("ann", "tray", "rating", 2),  # the later rating of the pair stands
    ("bob", "tray", "rating", 1),
    ("new", "mug", "rating", 1),  # no history
]
RATINGS = {1: 4.0, 2: 2.0, 3: 5.0, 4: 3.0, 5: 1.0, 6: 5.0, 7: 4.0, 8: 3.0}
PRODUCTS = catalogue(["mug", "lamp", "tray"])


def test_rating_task_and_its_honest_histories() -> None:
    task = build_rating_task(interactions(EVENTS, RATINGS), PRODUCTS, VALIDATION, START, END)
    assert task is not None
    assert (len(task.validation), len(task.test)) == (4, 3)
    rated = zip(task.test.row.tolist(), task.products.external(task.test.product), task.test.rating, strict=True)
    named = {(task.test.histories.user_ids[row], product): rating for row, product, rating in rated}
    assert named == {("ann", "tray"): 5.0, ("bob", "tray"): 4.0, ("new", "mug"): 3.0}
    assert task.validation.histories.now == int(VALIDATION.timestamp())
    lengths = dict(zip(task.validation.histories.user_ids, task.validation.histories.lengths.tolist(), strict=True))
    assert lengths == {"ann": 1, "bob": 0}
    # The baseline knows the four validation ratings, whose mean is 7/2, and nothing of tray.
    mug = (0.5 + 1.5) / (25 + 2)
    lamp = (-1.5 - 0.5) / (25 + 2)
    ann, bob = ((0.5 - mug) + (-1.5 - lamp)) / (10 + 2), ((1.5 - mug) + (-0.5 - lamp)) / (10 + 2)
    expected = rating_errors(np.array([3.5 + ann, 3.5 + bob, 3.5 + mug]), np.array([5.0, 4.0, 3.0]))
    assert task.baseline_errors.rmse == pytest.approx(expected.rmse, rel=1e-6)
    assert task.baseline_errors.mae == pytest.approx(expected.mae, rel=1e-6)


def test_a_model_whose_scores_are_ratings_in_another_unit_is_perfect() -> None:
    task = build_rating_task(interactions(EVENTS, RATINGS), PRODUCTS, VALIDATION, START, END)
    assert task is not None
    truth = {"ann": {"mug": 4, "lamp": 2, "tray": 5}, "bob": {"mug": 5, "lamp": 3, "tray": 4}, "new": {"mug": 3}}
    scores = {user: {product: 10 * rating - 7 for product, rating in row.items()} for user, row in truth.items()}
    result = evaluate_ratings(ScriptedRecommender(["lamp", "tray", "mug", "spare"], scores), task)
    assert result.model.rmse == pytest.approx(0, abs=1e-6)
    assert result.model.n == result.bias_baseline.n == 3
    assert result.calibration.slope == pytest.approx(1 / 10, rel=1e-6)


def test_products_a_model_does_not_know_get_the_mean() -> None:
    task = build_rating_task(interactions(EVENTS, RATINGS), PRODUCTS, VALIDATION, START, END)
    assert task is not None
    blind = evaluate_ratings(ScriptedRecommender(["something else"], {}), task)
    assert blind.model == rating_errors(np.full(3, 3.5), task.test.rating)


def test_pair_scores_are_row_aligned() -> None:
    task = build_rating_task(interactions(EVENTS, RATINGS), PRODUCTS, VALIDATION, START, END)
    assert task is not None
    ids = task.products.external(np.arange(len(task.products)))
    scores = {
        user: {p: float(10 * i + j) for j, p in enumerate(ids)} for i, user in enumerate(["ann", "bob", "new"], 1)
    }
    recommender = ScriptedRecommender(ids, scores)
    assert isinstance(recommender.products, IdMap)
    expected = [
        scores[task.validation.histories.user_ids[row]][ids[product]]
        for row, product in zip(task.validation.row, task.validation.product, strict=True)
    ]
    np.testing.assert_array_equal(pair_scores(recommender, task.validation), expected)


def test_no_ratings_no_report() -> None:
    log = interactions([("ann", "mug", "purchase", -1), ("ann", "mug", "purchase", 1)])
    assert build_rating_task(log, PRODUCTS, VALIDATION, START, END) is None
    with pytest.raises(ValueError, match="validation_start < test_start < end"):
        build_rating_task(log, PRODUCTS, START, VALIDATION, END)
