"""Sequential inference against published values, brute force and many simulated experiments without an effect."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_deploy.experiments.inference import (
    Lift,
    adjusted,
    adjusted_mean_lift,
    holm,
    mean_lift,
    one_sided_factor,
    ratio_lift,
    sequential_interval,
    two_sided_factor,
    upper_bound,
    winsorised,
)
from recsys_deploy.experiments.planning import (
    SEQUENTIAL_MAXIMUM,
    SEQUENTIAL_MEAN,
    interleaved_needed,
    needs,
    shoppers_needed,
)
from recsys_deploy.experiments.sample_ratio import is_mismatch, log_bayes_factor


@pytest.mark.parametrize(("part", "expected"), [(1.0, 3.04), (0.1, 3.86)])
def test_half_widths_are_those_published(part: float, expected: float) -> None:
    assert two_sided_factor(round(20_000 * part), 20_000, 0.05) == pytest.approx(expected, abs=0.005)


def test_the_one_sided_bound_is_that_published() -> None:
    assert one_sided_factor(20_000, 20_000, 0.05) == pytest.approx(2.78, abs=0.005)


def test_the_p_value_reaches_alpha_where_the_interval_touches_zero() -> None:
    factor = two_sided_factor(7_000, 20_000, 0.05)
    found = sequential_interval(Lift(factor * 0.01, 0.01, 7_000), 20_000, 0.05)
    assert found.low == pytest.approx(0.0, abs=1e-12)
    assert found.p_value == pytest.approx(0.05)


def test_a_ratio_of_equal_denominators_is_a_mean() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.poisson(2.0, 400).astype(float), rng.poisson(2.4, 500).astype(float)
    as_ratio = ratio_lift((a, np.full(400, 4.0)), (b, np.full(500, 4.0)))
    as_mean = mean_lift(a, b)
    assert as_ratio is not None and as_mean is not None
    assert as_ratio.log_ratio == pytest.approx(as_mean.log_ratio)
    assert as_ratio.se == pytest.approx(as_mean.se)


def test_the_standard_error_of_a_ratio_is_that_of_resampled_shoppers() -> None:
    rng = np.random.default_rng(2)
    shown = rng.integers(1, 20, 600).astype(float)
    clicked = rng.binomial(shown.astype(int), rng.beta(2, 8, 600)).astype(float)
    found = ratio_lift((clicked, shown), (clicked, shown))
    assert found is not None
    draws = rng.integers(0, 600, (4_000, 600))
    spread = np.log(clicked[draws].sum(axis=1) / shown[draws].sum(axis=1)).std()
    assert found.se == pytest.approx(math.sqrt(2) * spread, rel=0.05)


def test_adjustment_by_history_keeps_the_mean_and_takes_out_what_it_explains() -> None:
    rng = np.random.default_rng(3)
    before = rng.poisson(3.0, 20_000).astype(float)
    after = rng.poisson(0.5 + 0.5 * before).astype(float)
    treated = rng.random(20_000) < 0.5
    less_noisy = adjusted(after, before, treated)
    assert less_noisy.mean() == pytest.approx(after.mean())
    correlation = float(np.corrcoef(after, before)[0, 1])
    assert less_noisy.var() / after.var() == pytest.approx(1 - correlation**2, abs=0.01)
    raw, found = mean_lift(after[~treated], after[treated]), adjusted_mean_lift(after, before, treated)
    assert raw is not None and found is not None and found.se < 0.9 * raw.se


def test_too_few_buyers_give_no_figure() -> None:
    nearly = np.concatenate([np.ones(24), np.zeros(1_000)])
    assert mean_lift(nearly, nearly) is None and mean_lift(np.append(nearly, 1.0), np.append(nearly, 1.0)) is not None


def experiment(rng: np.random.Generator, lift: float, days: int = 28, a_day: int = 700) -> tuple[bool, bool]:
    """Whether a look on any of ``days`` found the treatment better, or worse; purchases per shopper overdispersed."""
    mean = 0.6
    values = [np.empty(0), np.empty(0)]
    better = worse = False
    for _ in range(days):
        for group, factor in enumerate((1.0, 1.0 + lift)):
            rates = rng.gamma(0.9, mean * factor / 0.9, a_day // 2)
            values[group] = np.append(values[group], rng.poisson(rates))
        found = mean_lift(values[0], values[1])
        if found is not None:
            interval = sequential_interval(found, days * a_day)
            better, worse = better or interval.low > 0, worse or interval.high < 0
    return better, worse


@pytest.mark.slow
def test_daily_looks_at_equal_groups_promote_at_most_one_in_forty() -> None:
    rng = np.random.default_rng(4)
    found = np.array([experiment(rng, 0.0) for _ in range(500)])
    assert found[:, 0].mean() <= 0.025 and found[:, 1].mean() <= 0.025


@pytest.mark.slow
def test_a_large_loss_is_found_and_a_gain_is_not_taken_back() -> None:
    rng = np.random.default_rng(5)
    losses = np.array([experiment(rng, -0.3, days=7) for _ in range(200)])
    assert losses[:, 1].mean() >= 0.99 and losses[:, 0].mean() == 0
    gains = np.array([experiment(rng, 0.1) for _ in range(200)])
    assert gains[:, 1].mean() <= 0.025 and gains[:, 0].mean() >= 0.8


def test_sample_ratio_alarms_without_cause_stay_rare_and_lost_shoppers_are_found() -> None:
    rng = np.random.default_rng(6)
    false_alarms, found_at = 0, []
    for _ in range(300):
        counts = rng.multinomial(500, (0.9, 0.1), size=56).cumsum(axis=0)
        false_alarms += any(is_mismatch(look.tolist(), (0.9, 0.1)) for look in counts)
        lossy = counts.copy()
        lossy[:, 1] = rng.binomial(np.diff(counts[:, 1], prepend=0), 0.9).cumsum()
        looks = [int(look.sum()) for look in lossy if is_mismatch(look.tolist(), (0.9, 0.1))]
        found_at.append(looks[0] if looks else 10**9)
    assert false_alarms / 300 <= 0.01
    assert np.median(found_at) <= 20_000


def test_the_bayes_factor_is_the_ratio_of_the_two_marginal_likelihoods() -> None:
    # Dirichlet prior by brute force: the mean likelihood of drawn shares over the likelihood of the expected ones.
    rng = np.random.default_rng(7)
    drawn = rng.beta(500, 500, 400_000)
    likelihood = np.mean(np.exp(30 * np.log(drawn) + 50 * np.log1p(-drawn) - 80 * math.log(0.5)))
    assert log_bayes_factor((30, 50), (0.5, 0.5)) == pytest.approx(math.log(likelihood), abs=0.01)


def test_planned_sizes_are_those_published_for_three_per_cent() -> None:
    sd = math.sqrt(0.03 * 0.97)
    for lift, per_arm in ((0.05, 207_900), (0.10, 53_200), (0.20, 13_900)):
        assert shoppers_needed(0.03, sd, lift) / 2 == pytest.approx(per_arm, rel=0.03)
    five = needs(0.03, sd, 20_000)[0]
    assert five.sequential == pytest.approx(SEQUENTIAL_MAXIMUM * five.fixed, rel=1e-6)
    assert five.days == pytest.approx(five.sequential / 20_000)


def test_interleaving_needs_what_its_formula_says_by_hand() -> None:
    # One purchase per shopper, half of them from lists: a lift of 10 % sells 20 % more there. z = 1.96 + .8416.
    assert interleaved_needed(1.0, 0.5, 0.1) == math.ceil(4 * 2.8016**2 / (0.5 * math.log(1.2) ** 2))
    needed = [interleaved_needed(0.8, 0.3, lift) for lift in (0.05, 0.1, 0.2)]
    assert needed == sorted(needed, reverse=True)
    assert needed[1] < shoppers_needed(0.8, 1.04, 0.1) / 3, "fewer than half and half, where lists sell a third"


def test_daily_looks_need_as_many_shoppers_as_the_plan_says() -> None:
    # A standardised effect is a Brownian motion with drift: 28 looks until SEQUENTIAL_MAXIMUM times the fixed size.
    rng = np.random.default_rng(8)
    looks = np.arange(1, 29) / 28 * SEQUENTIAL_MAXIMUM
    drift = (1.959964 + 0.841621) * looks
    steps = rng.standard_normal((20_000, 28)) * np.sqrt(np.diff(looks, prepend=0.0))
    z = (drift + steps.cumsum(axis=1)) / np.sqrt(looks)
    limits = np.array([two_sided_factor(look, 28, 0.05) for look in range(1, 29)])
    crossed = z > limits
    assert crossed.any(axis=1).mean() == pytest.approx(0.8, abs=0.015)
    stop = np.where(crossed.any(axis=1), looks[crossed.argmax(axis=1)], SEQUENTIAL_MAXIMUM)
    assert stop.mean() == pytest.approx(SEQUENTIAL_MEAN, abs=0.05)


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=6))
@settings(max_examples=60)
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: dict[str, float]) -> None:
    found = holm(p_values)
    assert all(found[name] >= p_values[name] and found[name] <= 1 for name in p_values)
    names = sorted(p_values, key=lambda name: p_values[name])
    assert [found[name] for name in names] == sorted(found.values())
    assert found[names[0]] == min(1.0, len(names) * p_values[names[0]])


def test_one_bulk_order_is_cut_to_the_others() -> None:
    values = np.array([0.0] * 500 + [10.0] * 400 + [1e6])
    assert winsorised(values).max() < 1e6 and winsorised(np.zeros(3)).tolist() == [0, 0, 0]


def test_an_upper_bound_lies_above_the_lift() -> None:
    lift = Lift(-0.1, 0.02, 5_000)
    assert lift.relative < upper_bound(lift, 20_000, 0.01) < 0
