"""What a ranker looks at: on trees whose answer is known, and SHAP's own law."""

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from scipy import stats

from recsys_assets.evaluation.importance import (
    RankerImportance,
    importance_path,
    ranker_importance,
    read_importance,
    write_importance,
)
from recsys_assets.evaluation.plots import importance_plot


@pytest.fixture(scope="module")
def trained() -> tuple[lightgbm.Booster, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1_500, 4)).astype(np.float32)
    label = 3 * features[:, 2] - features[:, 0] + 0.05 * rng.normal(size=len(features))
    parameters = {"objective": "regression", "verbose": -1, "num_threads": 1, "deterministic": True}
    return lightgbm.train(parameters, lightgbm.Dataset(features, label), 30), features


NAMES = ["price", "noise", "affinity", "nothing"]


def test_order_direction_and_additivity(trained: tuple[lightgbm.Booster, np.ndarray]) -> None:
    booster, features = trained
    found = ranker_importance(booster, features, NAMES)
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
    found = {one.name: one for one in ranker_importance(booster, flat, NAMES, rows=100).features}
    assert found["affinity"].direction == 0
    assert {standing for _, standing in found["affinity"].points} == {0.5}


def test_round_trip_beside_the_candidate(trained: tuple[lightgbm.Booster, np.ndarray], tmp_path: Path) -> None:
    candidate = tmp_path / "hybrid"
    candidate.mkdir()
    assert read_importance(candidate) is None
    found = ranker_importance(*trained, NAMES, rows=50)
    write_importance(found, candidate)
    assert read_importance(candidate) == found == RankerImportance.from_json(found.to_json())
    assert list(candidate.iterdir()) == [] and importance_path(candidate).parent == tmp_path
    plot = importance_plot("hybrid", found)
    assert "affinity" in plot.alt and plot.light.startswith("data:image/svg+xml")


def test_what_does_not_fit_the_ranker_is_refused(trained: tuple[lightgbm.Booster, np.ndarray]) -> None:
    booster, features = trained
    for rows, names in ((features[:0], NAMES), (features[:, :3], NAMES[:3]), (features, NAMES[:3])):
        with pytest.raises(ValueError, match="the ranker has 4 features"):
            ranker_importance(booster, rows, names)
