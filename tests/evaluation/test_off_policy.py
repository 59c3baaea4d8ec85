"""Off-policy estimators against a bandit small enough to enumerate every log it can write, and against known truth."""

from itertools import permutations, product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.recommender.rules import explored
from recsys_assets.evaluation.off_policy import (
    ESTIMATORS,
    Estimator,
    LoggedFeedback,
    SupportError,
    effective_sample_size,
    estimate,
    list_propensity,
    lost_mass,
    point_estimate,
)
from recsys_assets.measurement.bootstrap import bootstrap_intervals, ratio_interval

CONTEXTS = np.array([0.25, 0.75])
LOGGING = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
TARGET = np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]])
CLICK = np.array([[0.2, 0.5, 0.9], [0.4, 0.1, 0.6]])
TRUE_VALUE = float((CONTEXTS[:, None] * TARGET * CLICK).sum())
WRONG_MODEL = np.array([[0.9, 0.1, 0.3], [0.2, 0.7, 0.5]])
ATOMS = [(x, a, r) for x in range(2) for a in range(3) for r in range(2)]
"""Context, product, click: everything one row can be."""


def chance(atom: tuple[int, int, int]) -> float:
    x, a, r = atom
    return float(CONTEXTS[x] * LOGGING[x, a] * (CLICK[x, a] if r else 1 - CLICK[x, a]))


def log_of(
    atoms: list[tuple[int, int, int]], model: np.ndarray = WRONG_MODEL, propensity: np.ndarray = LOGGING
) -> LoggedFeedback:
    x, a, r = (np.array(column) for column in zip(*atoms, strict=True))
    return LoggedFeedback(
        request=np.arange(len(atoms)),
        reward=r.astype(float),
        propensity=propensity[x, a],
        target=TARGET[x, a],
        expected_shown=model[x, a],
        expected_target=(TARGET * model).sum(axis=1)[x],
    )


def expectation(estimator: Estimator, rows: int, model: np.ndarray = WRONG_MODEL, clip: float = 1e9) -> float:
    """Of the estimate over every log of ``rows`` rows, weighted by its probability: no simulation."""
    logs = list(product(ATOMS, repeat=rows))
    weights = [prod(chance(atom) for atom in atoms) for atoms in logs]
    assert sum(weights) == pytest.approx(1)
    found = [point_estimate(log_of(list(atoms), model), estimator, clip) for atoms in logs]
    return float(np.dot(weights, found))


@pytest.mark.parametrize("estimator", ["ips", "doubly_robust", "clipped_ips"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_unbiased_by_exhaustive_enumeration(estimator: Estimator, rows: int) -> None:
    assert expectation(estimator, rows) == pytest.approx(TRUE_VALUE, rel=1e-12)


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


@pytest.mark.parametrize("clip", [0.5, 1.5, 3.0])
def test_clipping_loses_exactly_what_lies_above_the_clip(clip: float) -> None:
    weight = np.minimum(TARGET / LOGGING, clip)
    expected = float((CONTEXTS[:, None] * LOGGING * weight * CLICK).sum())
    assert expectation("clipped_ips", 2, clip=clip) == pytest.approx(expected, rel=1e-12)
    assert expected < TRUE_VALUE


def test_doubly_robust_needs_only_one_side_to_be_right() -> None:
    wrong = np.full_like(LOGGING, 1 / 3)
    exact = sum(chance(atom) * point_estimate(log_of([atom], CLICK, wrong), "doubly_robust") for atom in ATOMS)
    assert exact == pytest.approx(TRUE_VALUE, rel=1e-12)
    ips = sum(chance(atom) * point_estimate(log_of([atom], CLICK, wrong), "ips") for atom in ATOMS)
    assert abs(ips - TRUE_VALUE) > 0.05
    neither = sum(chance(atom) * point_estimate(log_of([atom], WRONG_MODEL, wrong), "doubly_robust") for atom in ATOMS)
    assert abs(neither - TRUE_VALUE) > 0.02


def test_doubly_robust_is_exact_where_rewards_are_certain_and_the_model_knows_them() -> None:
    x, a = np.array([0, 1, 1, 0, 1]), np.array([0, 2, 1, 1, 0])
    log = LoggedFeedback(
        np.arange(5), CLICK[x, a], LOGGING[x, a], TARGET[x, a], CLICK[x, a], (TARGET * CLICK).sum(axis=1)[x]
    )
    assert point_estimate(log, "doubly_robust") == pytest.approx((TARGET * CLICK).sum(axis=1)[x].mean(), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**31))
def test_judging_the_logging_policy_itself_is_the_mean_reward(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reward, propensity, guess = rng.normal(size=rows), rng.uniform(0.01, 1, rows), rng.normal(size=rows)
    log = LoggedFeedback(rng.integers(0, 9, rows), reward, propensity, propensity, guess, guess)
    for estimator in ESTIMATORS:
        found = estimate(log, estimator, resamples=20)
        assert found.value == pytest.approx(reward.mean(), rel=1e-9, abs=1e-12)
        assert found.effective_sample_size == pytest.approx(rows)
        assert found.lost == pytest.approx(0, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(-5, 5), st.floats(0.1, 9))
def test_shifts_and_scales(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    propensity = rng.uniform(0.1, 1, 30)
    target = propensity * rng.uniform(0, 1, 30)

    def value(reward: np.ndarray, estimator: Estimator) -> float:
        return point_estimate(LoggedFeedback(np.arange(30), reward, propensity, target), estimator)

    reward = rng.normal(size=30)
    assert value(reward + shift, "snips") == pytest.approx(value(reward, "snips") + shift, abs=1e-9)
    for estimator in ("ips", "snips", "clipped_ips"):
        assert value(scale * reward, estimator) == pytest.approx(scale * value(reward, estimator), abs=1e-9)


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
    expected = 0.0
    for places, marginals, joint in lists:
        shown = np.array(places)
        log = LoggedFeedback(
            np.zeros(k, dtype=np.int64), worth[shown, np.arange(k)], marginals, (shown == target).astype(float)
        )
        expected += joint * point_estimate(log, "ips") * k
    reachable = worth[3, 0]  # product 0 leads the log's list, and exploration never puts it second
    assert expected == pytest.approx(reachable)
    lost = sum(joint * (((np.array(p) == target) / m).mean()) for p, m, joint in lists)
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


@pytest.mark.parametrize(("pool", "k", "epsilon"), [(5, 2, 0.4), (6, 3, 0.5), (4, 2, 0.1), (3, 2, 0.5)])
def test_chance_of_a_whole_list(pool: int, k: int, epsilon: float) -> None:
    if pool - k < k:  # fewer candidates than places: only the last places explore
        shown = explored(np.arange(pool), k, epsilon, np.random.default_rng(0))
        assert shown.propensity[0] == 1
        assert list_propensity(shown.propensity, epsilon) == pytest.approx(shown.propensity[1])
        return
    for _, marginals, joint in _all_lists(pool, k, epsilon):
        assert list_propensity(marginals, epsilon) == pytest.approx(joint, rel=1e-12)


def test_lists_identify_what_places_cannot() -> None:
    """A reward that needs two products side by side: whole lists are unbiased for it, places are not."""
    pool, k, epsilon = 4, 2, 0.5
    target = (2, 3)
    by_list = by_place = 0.0
    for shown, marginals, joint in _all_lists(pool, k, epsilon):
        reward = float(set(shown) == {2, 3})
        hit = np.array(shown) == target
        whole = LoggedFeedback(
            np.zeros(1, np.int64), np.array([reward]), np.array([joint]), np.array([float(hit.all())])
        )
        places = LoggedFeedback(np.zeros(2, np.int64), np.full(2, reward / 2), marginals, hit.astype(float))
        by_list += joint * point_estimate(whole, "ips")
        by_place += joint * point_estimate(places, "ips") * k
    assert by_list == pytest.approx(1)
    assert abs(by_place - 1) > 0.2


def test_propensities_no_exploration_can_have_given_are_refused() -> None:
    with pytest.raises(ValueError, match="no exploration with chance"):
        list_propensity(np.array([0.7, 0.11]), 0.3)
    with pytest.raises(ValueError, match="distinct products"):
        list_propensity(np.array([0.15, 0.15, 0.15]), 0.3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        list_propensity(np.array([0.5]), 1.0)


def test_a_target_outside_the_log_is_refused_with_its_share() -> None:
    rng = np.random.default_rng(1)
    rows = 4_000
    # Logging draws evenly from four of five products, the target from all five.
    log = LoggedFeedback(np.arange(rows), rng.random(rows), np.full(rows, 0.25), np.full(rows, 0.2))
    with pytest.raises(SupportError, match=r"20\.0 %") as refused:
        estimate(log, "snips", resamples=200)
    assert refused.value.lost == pytest.approx(0.2)
    assert estimate(log, "snips", tolerated_loss=0.25, resamples=200).lost == pytest.approx(0.2)
    told = LoggedFeedback(log.request, log.reward, log.propensity, log.target, supported=np.full(rows, 0.8))
    assert lost_mass(told).low == lost_mass(told).high == pytest.approx(0.2)
    nothing = LoggedFeedback(np.arange(3), np.ones(3), np.ones(3), np.zeros(3))
    with pytest.raises(SupportError, match="nothing in 3 logged rows"):
        estimate(nothing, "ips", tolerated_loss=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensity": np.array([0.5, 0.0])}, "propensity"),
        ({"target": np.array([0.5, 1.5])}, "target"),
        ({"reward": np.array([np.nan, 1.0])}, "reward"),
        ({"reward": np.ones(3)}, "reward"),
        ({"request": np.empty(0, np.int64)}, "no logged feedback"),
        ({"expected_shown": np.ones(2)}, "or for neither"),
    ],
)
def test_logs_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    good = {"request": np.arange(2), "reward": np.ones(2), "propensity": np.ones(2), "target": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        LoggedFeedback(**{**good, **changes})


def test_estimators_ask_for_what_they_need() -> None:
    log = LoggedFeedback(np.arange(2), np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="reward model"):
        estimate(log, "doubly_robust")
    with pytest.raises(ValueError, match="above 0"):
        estimate(log, "clipped_ips", clip=0)
    with pytest.raises(ValueError, match="unknown estimator"):
        estimate(log, "magic")  # type: ignore[arg-type]


def test_a_ratio_of_equal_denominators_has_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(2).gamma(0.4, size=300)
    ratio = ratio_interval(values, np.ones(300), resamples=500)
    mean = bootstrap_intervals({"m": values}, resamples=500)["m"]
    assert ratio is not None and mean is not None
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((mean.mean, mean.low, mean.high), rel=1e-9)
    assert ratio_interval(values, np.zeros(300), resamples=5) is None


def test_rows_of_one_request_are_resampled_together() -> None:
    """Ten equal rows per request say no more than one: the interval must not narrow."""
    rng = np.random.default_rng(4)
    reward = rng.random(80)
    once = LoggedFeedback(np.arange(80), reward, np.ones(80), np.ones(80))
    tenfold = LoggedFeedback(np.repeat(np.arange(80), 10), np.repeat(reward, 10), np.ones(800), np.ones(800))
    a, b = (estimate(log, "ips", resamples=300) for log in (once, tenfold))
    assert (a.low, a.high) == pytest.approx((b.low, b.high))
    assert (b.rows, b.requests) == (800, 80)
