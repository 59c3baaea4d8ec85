"""What a ranker looks at: on trees whose answer is known, and SHAP's own law."""

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from scipy import stats

from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from recsys_assets.evaluation.plots import draw_importance, plot
from recsys_assets.measurement.importance import (
    RankerImportance,
    fit_and_explain,
    importance_path,
    ranker_importance,
    read_importance,
    write_importance,
)
from recsys_assets.models.explained import FittedRanker
from recsys_assets.models.hybrid import Hybrid
from recsys_assets.models.popularity import Popularity
from tests.models.hybrid_shop import SMALL, training_data


@pytest.fixture(scope="module")
def trained() -> tuple[lightgbm.Booster, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1_500, 4)).astype(np.float32)
    label = 3 * features[:, 2] - features[:, 0] + 0.05 * rng.normal(size=len(features))
    parameters = {"objective": "regression", "verbose": -1, "num_threads": 1, "deterministic": True}
    return lightgbm.train(parameters, lightgbm.Dataset(features, label), 30), features


NAMES = ("price", "noise", "affinity", "nothing")


def ranker(booster: lightgbm.Booster, features: np.ndarray, names: tuple[str, ...] = NAMES) -> FittedRanker:
    return FittedRanker(names, features, ((1.0, booster),))


def test_order_direction_and_additivity(trained: tuple[lightgbm.Booster, np.ndarray]) -> None:
    booster, features = trained
    found = ranker_importance(ranker(booster, features), rows=len(features))
    assert [one.name for one in found.features[:2]] == ["affinity", "price"]
    by_name = {one.name: one for one in found.features}
    assert by_name["affinity"].direction > 0.95 and by_name["price"].direction < -0.9
    assert sum(one.share for one in found.features) == pytest.approx(1)
    assert sum(one.gain for one in found.features) == pytest.approx(1)
    contributions = booster.predict(features, pred_contrib=True)
    np.testing.assert_allclose(contributions.sum(axis=1), booster.predict(features, raw_score=True), atol=1e-9)
    assert by_name["price"].shap == pytest.approx(np.abs(contributions[:, 0]).mean())
    assert found.base == pytest.approx(contributions[:, -1].mean())
    expected = stats.spearmanr(features[:, 2], contributions[:, 2]).statistic
    assert by_name["affinity"].direction == pytest.approx(expected, rel=1e-9)


def test_a_constant_feature_has_no_direction(trained: tuple[lightgbm.Booster, np.ndarray]) -> None:
    booster, features = trained
    flat = features.copy()
    flat[:, 2] = np.nan
    found = {one.name: one for one in ranker_importance(ranker(booster, flat), rows=100).features}
    assert found["affinity"].direction == 0
    assert {standing for _, standing in found["affinity"].points} == {0.5}


def test_round_trip_beside_the_candidate(trained: tuple[lightgbm.Booster, np.ndarray], tmp_path: Path) -> None:
    candidate = tmp_path / "hybrid"
    candidate.mkdir()
    assert read_importance(candidate) is None
    found = ranker_importance(ranker(*trained), rows=50)
    write_importance(found, candidate)
    assert read_importance(candidate) == found == RankerImportance.from_json(found.to_json())
    assert list(candidate.iterdir()) == [] and importance_path(candidate).parent == tmp_path
    write_importance(None, candidate)
    write_importance(None, candidate)
    assert read_importance(candidate) is None
    picture = plot(found, "Feature importance", "one row per feature", draw_importance)
    assert picture.light.startswith("data:image/svg+xml") and picture.light != picture.dark


def test_what_does_not_fit_the_ranker_is_refused(trained: tuple[lightgbm.Booster, np.ndarray]) -> None:
    booster, features = trained
    for rows, names in ((features[:0], NAMES), (features[:, :3], NAMES[:3]), (features, NAMES[:3])):
        with pytest.raises(ValueError, match="the ranker has 4 features"):
            ranker_importance(ranker(booster, rows, names))


def test_a_mixture_is_explained_as_the_sum_of_its_parts(trained: tuple[lightgbm.Booster, np.ndarray]) -> None:
    booster, features = trained
    other = lightgbm.train(
        {"objective": "regression", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(features, features[:, 1]), 10
    )
    mixed = FittedRanker(NAMES, features, ((0.5, booster), (2.0, other)), {3: 4.0})
    found = ranker_importance(mixed, rows=len(features))
    by_name = {one.name: one for one in found.features}
    parts = [model.predict(features, pred_contrib=True) for model in (booster, other)]
    together = 0.5 * parts[0] + 2.0 * parts[1]
    assert by_name["noise"].shap == pytest.approx(np.abs(together[:, 1]).mean())
    centred = 4.0 * (features[:, 3] - features[:, 3].mean())
    assert by_name["nothing"].shap == pytest.approx(np.abs(together[:, 3] + centred).mean(), rel=1e-5)
    score = 0.5 * booster.predict(features) + 2.0 * other.predict(features) + 4.0 * features[:, 3]
    assert found.base == pytest.approx(score.mean(), rel=1e-4)
    # Trees of "noise" alone give it all of their gain.
    gains = 0.5 * booster.feature_importance("gain") + 2.0 * other.feature_importance("gain")
    assert by_name["noise"].gain == pytest.approx(gains[1] / gains.sum())


def test_the_hybrid_is_explained_while_it_is_fitted() -> None:
    recommender, found = fit_and_explain(Hybrid(**SMALL), training_data())
    assert isinstance(recommender, TwoStageRecommender) and found is not None
    assert {one.name for one in found.features} == set(recommender.stage.reads)
    assert sum(one.share for one in found.features) == pytest.approx(1)
    np.testing.assert_equal(
        Hybrid(**SMALL).fit(training_data()).stage.ranker.arrays(""), recommender.stage.ranker.arrays("")
    )
    assert fit_and_explain(Popularity(), training_data())[1] is None


def test_a_log_too_short_to_learn_a_ranking_from_is_explained_by_its_one_feature() -> None:
    data = training_data()
    newest = data.where(data.timestamp >= data.as_of - 12 * 86_400)
    found = fit_and_explain(Hybrid(**{**SMALL, "windows": 1, "window_days": 5.0}), newest)[1]
    assert found is not None and found.features[0].name == "fusion"
    assert (found.features[0].share, found.features[0].gain) == (pytest.approx(1), 0)
