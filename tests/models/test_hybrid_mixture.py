"""What the hybrid ranks by: the mixture is chosen forward in time, and its one ranker scores as its parts do."""

import numpy as np
import pytest

from recsys_assets.models.hybrid import Hybrid
from recsys_assets.models.hybrid_mixture import (
    FEATURES_READ,
    FEW_GROUPS,
    MIN_STANDARD_ERRORS,
    SETS,
    HeldOut,
    Mixture,
    best_mixture,
    fitted_trees,
    held_out,
    judged_ndcg,
)
from recsys_assets.models.hybrid_ranker import RankingRows, exported, smooth_peak
from tests.models.hybrid_shop import SMALL

NAMES = ["a", "b", "c"]
GAINS = np.zeros(3)


def rows(groups: int, seed: int, informative: float = 1.0) -> RankingRows:
    """Twenty rows per shopper; the first column tells ``informative`` much about what was taken, the others nothing."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(groups * 20, 3)).astype(np.float32)
    taken = informative * features[:, 0] + rng.normal(size=len(features)) > 1.8
    taken[::20] = True
    return RankingRows(features, np.where(taken, 3, 0).astype(np.int32), np.full(groups, 20))


def test_ndcg_by_hand() -> None:
    few = RankingRows(np.zeros((7, 1), np.float32), np.array([0, 3, 1, 3, 0, 0, 0], np.int32), np.array([4, 3]))
    # The first shopper has two relevant rows, found second and third; the second shopper has none and does not count.
    expected = (1 / np.log2(3) + 1 / np.log2(4)) / (1 / np.log2(2) + 1 / np.log2(3))
    assert judged_ndcg(np.array([4.0, 3.0, 1.0, 2.0, 0.0, 0.0, 0.0]), few) == pytest.approx([expected])
    assert judged_ndcg(np.array([0.0, 3.0, 1.0, 3.0, 0.0, 0.0, 0.0]), few) == pytest.approx([1.0])


def test_trees_that_learned_nothing_leave_the_word_to_a_source() -> None:
    judged = rows(400, 0)
    noise = np.random.default_rng(1).normal(size=len(judged.grades))
    mixture = best_mixture(HeldOut(noise, judged, 5, GAINS), [1, 0, 2])
    assert mixture.trees == 0.0 and list(mixture.columns) == [0]
    oracle = (judged.grades > 0).astype(float)
    assert not best_mixture(HeldOut(oracle, judged, 5, GAINS), [0, 1, 2]).columns


def test_a_source_has_a_say_only_where_trees_are_surely_worse_without_it() -> None:
    judged = rows(300, 2)
    rng = np.random.default_rng(3)
    for width in (0.0, 2.0, 4.0, 8.0):
        # Trees that know what the first column knows, through ever more noise.
        scores = judged.features[:, 0] + rng.normal(size=len(judged.grades)) * width
        mixture = best_mixture(HeldOut(scores, judged, 5, GAINS), [0, 1])
        alone = judged_ndcg(scores, judged)
        gain = judged_ndcg(mixture.score(scores, judged.features), judged) - alone
        doubt = MIN_STANDARD_ERRORS * gain.std(ddof=1) / np.sqrt(len(gain))
        if width == 0.0:
            assert not mixture.columns and mixture.trees == pytest.approx(1 / scores.std())
        else:
            assert list(mixture.columns) == [0] and gain.mean() > doubt, width


def test_few_shoppers_choose_nothing() -> None:
    judged = rows(FEW_GROUPS - 1, 4)
    noise = np.random.default_rng(5).normal(size=len(judged.grades))
    mixture = best_mixture(HeldOut(noise, judged, 5, GAINS), [2, 0])
    assert list(mixture.columns) == [2] and mixture.trees > 0


def test_windows_are_held_out_from_the_newest_on_until_there_are_enough() -> None:
    parameters = {**Hybrid(**SMALL)._lightgbm(), "min_data_in_leaf": 5}
    parts = [rows(150, seed) for seed in range(5)]
    judged = held_out(parts, NAMES, parameters, 12)
    assert len(judged.rows.groups) == 450, "two windows would be too few"
    assert (judged.rows.features == np.concatenate([part.features for part in parts[2:]])).all()
    assert 1 <= judged.trees <= 12
    assert np.argmax(judged.gains) == 0 and (judged.gains > 0).any()
    reached = judged_ndcg(judged.scores, judged.rows)
    assert reached.mean() > judged_ndcg(judged.rows.features[:, 1], judged.rows).mean()
    with pytest.raises(ValueError, match="older one to learn from"):
        held_out(parts[:1], NAMES, parameters, 12)


def test_features_with_the_largest_gain_are_read_and_those_of_the_mixture() -> None:
    gains = np.zeros(60)
    gains[10:55] = np.arange(1, 46)
    judged = HeldOut(np.zeros(0), rows(1, 0), 5, gains)
    assert judged.read([3]).tolist() == [3, *range(55 - FEATURES_READ, 55)]
    assert HeldOut(np.zeros(0), rows(1, 0), 5, gains[:14]).read([12, 2]).tolist() == [2, 10, 11, 12, 13]


def test_the_exported_ranker_scores_as_the_sum_of_its_parts() -> None:
    everything = rows(120, 6)
    parameters = {**Hybrid(**SMALL)._lightgbm(), "min_data_in_leaf": 5}
    trees = fitted_trees(Mixture(2.0, {}), everything, NAMES, parameters, 8)
    assert [weight for weight, _ in trees] == [1.0] * SETS
    assert trees[0][1].model_to_string() != trees[1][1].model_to_string(), "each has a seed of its own"
    assert fitted_trees(Mixture(0.0, {1: 1.0}), everything, NAMES, parameters, 8) == []
    features = everything.features
    parts = [exported([part], {}, features).score(features) for part in trees]
    together = exported(trees, {1: 0.25}, features).score(features)
    np.testing.assert_allclose(together, parts[0] + parts[1] + 0.25 * features[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(exported([], {2: 3.0}, features).score(features), 3.0 * features[:, 2], rtol=1e-6)


def test_the_peak_is_that_of_the_smoothed_curve() -> None:
    curve = np.concatenate([np.linspace(0, 1, 60), np.linspace(1, 0.5, 60)])
    curve[3] = 2.0
    assert 55 < smooth_peak(curve) < 90
    assert smooth_peak(np.array([0.1, 0.3])) == 2
