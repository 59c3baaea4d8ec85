"""Intervals and paired comparisons: exact small cases, scipy, and simulated coverage."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from recsys_assets.measurement.bootstrap import (
    Interval,
    bootstrap_intervals,
    bootstrap_means,
    mean_interval,
    paired_comparison,
)


def test_two_users_give_the_known_distribution_of_means() -> None:
    # Of the four equally likely samples of {0, 1}, means are 0, 1/2, 1/2 and 1.
    means = bootstrap_means(np.array([[0.0], [1.0]]), resamples=40_000, seed=5)[:, 0]
    shares = [(means == value).mean() for value in (0.0, 0.5, 1.0)]
    # Four standard errors of a share estimated from 40,000 draws.
    np.testing.assert_allclose(shares, [1 / 4, 1 / 2, 1 / 4], atol=4 * np.sqrt(0.25 / 40_000))


def test_three_users_quantiles_are_those_of_all_27_samples() -> None:
    values = np.array([0.0, 1.0, 5.0])
    exact = [np.mean(sample) for sample in product(values, repeat=3)]
    drawn = bootstrap_means(values[:, None], resamples=50_000, seed=1)[:, 0]
    # The distribution is discrete, so the quantile of 50,000 draws hits the exact atom.
    for level in (0.1, 0.9):
        assert np.quantile(drawn, level) == pytest.approx(np.quantile(exact, level, method="inverted_cdf"), abs=1e-12)


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).exponential(size=120)
    peer = stats.bootstrap(
        (values,), np.mean, n_resamples=60_000, batch=5_000, method="BCa", rng=np.random.default_rng(9)
    )
    ours = mean_interval(values, resamples=60_000, seed=4)
    assert ours is not None
    # Both are Monte-Carlo: a 2.5 % quantile of 60,000 draws has a standard error near 0.7 % of the spread of the mean.
    tolerance = 5 * 0.01 * values.std() / np.sqrt(len(values))
    assert ours.low == pytest.approx(peer.confidence_interval.low, abs=tolerance)
    assert ours.high == pytest.approx(peer.confidence_interval.high, abs=tolerance)


def test_bca_follows_the_skew() -> None:
    values = np.random.default_rng(3).exponential(size=40) ** 2
    low, high = np.quantile(bootstrap_means(values[:, None], resamples=20_000), [0.025, 0.975])
    corrected = mean_interval(values, resamples=20_000)
    assert corrected is not None
    assert corrected.low > low
    assert corrected.high > high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    # Per-user NDCG looks like this: mostly zero, the rest spread out.
    rng = np.random.default_rng(11)
    trials, users, hit_share = 400, 200, 0.3
    covered = 0
    for trial in range(trials):
        values = (rng.random(users) < hit_share) * rng.random(users)
        interval = mean_interval(values, resamples=400, seed=trial)
        assert interval is not None
        covered += interval.low <= hit_share / 2 <= interval.high
    # Were coverage 0.93 (nominal .95 less what 200 skewed users and 400 resamples cost), a count below this bound or
    # above the other would come up once in ten thousand runs.
    assert stats.binom.ppf(1e-4, trials, 0.93) <= covered <= stats.binom.ppf(1 - 1e-4, trials, 0.96)


def test_same_seed_same_bits_and_other_seed_other_draws() -> None:
    values = np.random.default_rng(0).random((5_000, 3))
    first, again = (bootstrap_means(values, resamples=900, seed=7) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert (first != bootstrap_means(values, resamples=900, seed=8)).any()


def test_columns_share_their_resamples() -> None:
    values = np.random.default_rng(0).random((50, 1))
    means = bootstrap_means(np.hstack([values, values + 1]), resamples=100, seed=0)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 1, atol=1e-12)


def test_users_without_a_quantity_are_left_out_of_it() -> None:
    values = np.random.default_rng(0).random(60)
    gappy = np.where(np.arange(60) < 40, values, np.nan)
    both = bootstrap_intervals({"whole": values, "gappy": gappy, "nobody": np.full(60, np.nan)}, seed=2)
    gap = both["gappy"]
    assert gap is not None
    assert (gap.mean, gap.n) == (pytest.approx(values[:40].mean(), abs=1e-12), 40)
    assert gap.low < gap.mean < gap.high
    assert both["nobody"] is None


def test_constant_values_have_no_width() -> None:
    assert mean_interval(np.full(9, 0.25)) == Interval(0.25, 0.25, 0.25, 9)
    assert mean_interval(np.array([])) is None


def test_paired_comparison_counts_and_sign() -> None:
    a, b = np.array([0.5, 0.5, 0.0, 1.0]), np.array([0.5, 0.0, 0.25, 0.0])
    result = paired_comparison(a, b)
    assert (result.difference, result.n, result.wins, result.ties, result.losses) == (0.3125, 4, 2, 1, 1)
    mirrored = paired_comparison(b, a)
    assert mirrored.difference == -result.difference
    assert (mirrored.wins, mirrored.losses, mirrored.p_value) == (1, 2, result.p_value)


def test_sign_flip_p_value_approaches_the_exact_one() -> None:
    difference = np.array([0.9, 0.4, 0.3, 0.2, -0.1, 0.5, 0.6, -0.2, 0.7, 0.1])
    flips = np.array(list(product([-1, 1], repeat=10))) @ difference
    exact = (np.abs(flips) >= abs(difference.sum()) - 1e-12).mean()
    estimate = paired_comparison(difference, np.zeros(10), resamples=50_000).p_value
    assert estimate == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 50_000))


def test_pairing_sees_what_separate_intervals_miss() -> None:
    rng = np.random.default_rng(2)
    difficulty = rng.random(300)
    a, b = difficulty + 0.02 + 0.01 * rng.standard_normal(300), difficulty
    separate_a, separate_b = mean_interval(a), mean_interval(b)
    assert separate_a is not None and separate_b is not None
    assert separate_a.low < separate_b.high
    assert paired_comparison(a, b).low > 0


def test_equal_models_do_not_differ() -> None:
    values = np.random.default_rng(1).random(30)
    result = paired_comparison(values, values)
    assert (result.difference, result.low, result.high, result.p_value, result.ties) == (0, 0, 0, 1, 30)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones(3), np.ones(2)),
        (np.ones(0), np.ones(0)),
        (np.array([np.nan]), np.ones(1)),
        (np.ones((2, 2)), np.ones((2, 2))),
    ],
)
def test_refuses_what_is_not_paired(a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(ValueError, match="paired"):
        paired_comparison(a, b)


def test_refuses_nonsense_options() -> None:
    with pytest.raises(ValueError, match="confidence"):
        mean_interval(np.ones(3), confidence=95)
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_means(np.ones((3, 1)), resamples=0)
    with pytest.raises(ValueError, match="same users"):
        bootstrap_intervals({"a": np.ones(3), "b": np.ones(4)})
