"""Off-policy estimators against a bandit small enough to enumerate every log it can write, and against known truth."""

from itertools import permutations, product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.evaluation.off_policy import (
    ESTIMATORS,
    Estimator,
    LoggedFeedback,
    SupportError,
    effective_sample_size,
    estimate,
    lost_mass,
)
from recsys_assets.measurement.bootstrap import bootstrap_intervals, ratio_interval

CONTEXTS = np.array([0.25, 0.75])
LOGGING = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
TARGET = np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]])
CLICK = np.array([[0.2, 0.5, 0.9], [0.4, 0.1, 0.6]])
TRUE_VALUE = float((CONTEXTS[:, None] * TARGET * CLICK).sum())
ATOMS = [(x, a, r) for x in range(2) for a in range(3) for r in range(2)]
"""Context, product, click: everything one row can be."""


def chance(atom: tuple[int, int, int]) -> float:
    x, a, r = atom
    return float(CONTEXTS[x] * LOGGING[x, a] * (CLICK[x, a] if r else 1 - CLICK[x, a]))


def log_of(atoms: list[tuple[int, int, int]]) -> LoggedFeedback:
    x, a, r = (np.array(column) for column in zip(*atoms, strict=True))
    return LoggedFeedback(np.arange(len(atoms)), r.astype(float), LOGGING[x, a], TARGET[x, a])


def value(log: LoggedFeedback, estimator: Estimator) -> float:
    return estimate(log, estimator, tolerated_loss=1.0, resamples=1).mean


def expectation(estimator: Estimator, rows: int) -> float:
    """Of the estimate over every log of ``rows`` rows, weighted by its probability: no simulation."""
    logs = list(product(ATOMS, repeat=rows))
    weights = [prod(chance(atom) for atom in atoms) for atoms in logs]
    assert sum(weights) == pytest.approx(1)
    return float(np.dot(weights, [value(log_of(list(atoms)), estimator) for atoms in logs]))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_expectation_around_the_mean_by_exhaustive_enumeration(rows: int) -> None:
    """With the baseline estimated from the same rows the bias is exactly ``-Cov(w, r) / n``."""
    density = CONTEXTS[:, None] * LOGGING
    logging_value = float((density * CLICK).sum())
    covariance = TRUE_VALUE - logging_value  # E[w r] - E[w] E[r], and E[w] = 1
    assert expectation("ips_around_mean", rows) == pytest.approx(TRUE_VALUE - covariance / rows, rel=1e-12)


def test_bias_of_self_normalisation_shrinks_like_one_over_n() -> None:
    bias = [abs(expectation("snips", rows) - TRUE_VALUE) for rows in (1, 2, 3)]
    # One row is its own mean: the estimate is the reward itself, so its expectation is logging's value.
    assert expectation("snips", 1) == pytest.approx(float((CONTEXTS[:, None] * LOGGING * CLICK).sum()))
    assert bias[0] > bias[1] > bias[2] > 0
    # Beyond enumeration: the delta method gives E - V = -Cov(w, w (r - V)) / n + O(1/n^2).
    weight = TARGET / LOGGING
    first_order = -(CONTEXTS[:, None] * LOGGING * weight**2 * (CLICK - TRUE_VALUE)).sum()
    rng = np.random.default_rng(0)
    for rows in (20, 80):
        mean, error = _mean_snips(rng, rows, 200_000 // rows)
        assert abs(mean - TRUE_VALUE - first_order / rows) < 4 * error + 8 / rows**2


def _mean_snips(rng: np.random.Generator, rows: int, logs: int) -> tuple[float, float]:
    drawn = rng.choice(len(ATOMS), size=(logs, rows), p=[chance(atom) for atom in ATOMS])
    x, a, r = (np.array(column)[drawn] for column in zip(*ATOMS, strict=True))
    weight = TARGET[x, a] / LOGGING[x, a]
    found = (weight * r).sum(axis=1) / weight.sum(axis=1)
    return float(found.mean()), float(found.std() / np.sqrt(logs))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**31))
def test_judging_the_logging_policy_itself_is_the_mean_reward(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reward, propensity = rng.normal(size=rows), rng.uniform(0.01, 1, rows)
    log = LoggedFeedback(rng.integers(0, 9, rows), reward, propensity, propensity)
    for estimator in ESTIMATORS:
        assert estimate(log, estimator, resamples=20).mean == pytest.approx(reward.mean(), rel=1e-9, abs=1e-12)
    assert effective_sample_size(log.weight) == pytest.approx(rows)
    assert lost_mass(log, resamples=20).mean == pytest.approx(0, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(-5, 5), st.floats(0.1, 9))
def test_shifts_and_scales(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    propensity = rng.uniform(0.1, 1, 30)
    target = propensity * rng.uniform(0, 1, 30)
    reward = rng.normal(size=30)

    def found(reward: np.ndarray, estimator: Estimator) -> float:
        return value(LoggedFeedback(np.arange(30), reward, propensity, target), estimator)

    for estimator in ESTIMATORS:
        assert found(reward + shift, estimator) == pytest.approx(found(reward, estimator) + shift, abs=1e-9)
        assert found(scale * reward, estimator) == pytest.approx(scale * found(reward, estimator), abs=1e-9)


def test_effective_sample_size_by_hand() -> None:
    assert effective_sample_size(np.array([1.0, 1.0, 1.0])) == pytest.approx(3)
    assert effective_sample_size(np.array([3.0, 1.0, 0.0])) == pytest.approx(16 / 10)
    assert effective_sample_size(np.zeros(4)) == 0


def test_places_identify_a_policy_whatever_else_the_list_holds() -> None:
    """Every list that exploration can write, with its exact chance; reward depends on product and place."""
    pool, k, epsilon = 5, 2, 0.4
    worth = np.random.default_rng(3).uniform(size=(pool, k))
    target = [3, 0]
    lists = _all_lists(pool, k, epsilon)
    assert sum(joint for _, _, joint in lists) == pytest.approx(1)
    expected = lost = 0.0
    for places, marginals, joint in lists:
        shown = np.array(places)
        weight = (shown == target) / marginals
        expected += joint * float((weight * worth[shown, np.arange(k)]).sum())
        lost += joint * float(weight.mean())
    # Product 0 leads the log's list, and exploration never puts it second: half of the target is not supported.
    assert expected == pytest.approx(worth[3, 0])
    assert lost == pytest.approx(0.5)


def _all_lists(pool: int, k: int, epsilon: float) -> list[tuple[tuple[int, ...], np.ndarray, float]]:
    """``explored`` by its definition: coins per place, distinct products from below the list."""
    found = []
    for coins in product((False, True), repeat=k):
        places = [place for place in range(k) if coins[place]]
        draws = list(permutations(range(k, pool), len(places)))
        for draw in draws:
            shown = list(range(k))
            for place, drawn in zip(places, draw, strict=True):
                shown[place] = drawn
            marginals = np.where(coins, epsilon / (pool - k), 1 - epsilon)
            joint = epsilon ** len(places) * (1 - epsilon) ** (k - len(places)) / len(draws)
            found.append((tuple(shown), marginals, joint))
    return found


def test_a_target_outside_the_log_is_refused_with_its_share() -> None:
    rng = np.random.default_rng(1)
    rows = 4_000
    # Logging draws evenly from four of five products, the target from all five.
    log = LoggedFeedback(np.arange(rows), rng.random(rows), np.full(rows, 0.25), np.full(rows, 0.2))
    with pytest.raises(SupportError, match=r"20\.0 %.*explore among more products") as refused:
        estimate(log, "snips", resamples=200)
    assert refused.value.lost == pytest.approx(0.2)
    assert estimate(log, "snips", tolerated_loss=0.25, resamples=200).mean == pytest.approx(log.reward.mean())
    told = LoggedFeedback(log.unit, log.reward, log.propensity, log.target, supported=np.full(rows, 0.8))
    assert lost_mass(told).low == lost_mass(told).high == pytest.approx(0.2)
    nothing = LoggedFeedback(np.arange(3), np.ones(3), np.ones(3), np.zeros(3))
    with pytest.raises(SupportError, match="none of 3 logged rows"):
        estimate(nothing, "snips", tolerated_loss=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensity": np.array([0.5, 0.0])}, "propensity"),
        ({"target": np.array([0.5, 1.5])}, "target"),
        ({"reward": np.array([np.nan, 1.0])}, "reward"),
        ({"reward": np.ones(3)}, "reward"),
        ({"unit": np.empty(0, np.int64)}, "no logged feedback"),
    ],
)
def test_logs_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    good = {"unit": np.arange(2), "reward": np.ones(2), "propensity": np.ones(2), "target": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        LoggedFeedback(**{**good, **changes})


def test_an_unknown_estimator_is_refused() -> None:
    log = LoggedFeedback(np.arange(2), np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="unknown estimator"):
        estimate(log, "magic")  # type: ignore[arg-type]


def test_a_ratio_of_equal_denominators_has_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(2).gamma(0.4, size=300)
    ratio = ratio_interval(values, np.ones(300), resamples=500)
    mean = bootstrap_intervals({"m": values}, resamples=500)["m"]
    assert ratio is not None and mean is not None
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((mean.mean, mean.low, mean.high), rel=1e-9)
    assert ratio_interval(values, np.zeros(300), resamples=5) is None


def test_rows_of_one_shopper_are_resampled_together() -> None:
    """Ten equal rows per shopper hold no more information than one: the interval must not narrow."""
    reward = np.random.default_rng(4).random(80)
    once = LoggedFeedback(np.arange(80), reward, np.ones(80), np.ones(80))
    tenfold = LoggedFeedback(np.repeat(np.arange(80), 10), np.repeat(reward, 10), np.ones(800), np.ones(800))
    a, b = (estimate(log, "ips_around_mean", resamples=300) for log in (once, tenfold))
    assert (a.low, a.high, a.n) == pytest.approx((b.low, b.high, b.n))
