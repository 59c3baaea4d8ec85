"""Statistics of drift against scipy, closed forms and simulations: false alarms, and changes that must be found."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from recsys_assets.measurement.bootstrap import paired_comparison
from recsys_assets.monitoring.concept import SUDDEN_H, DailyRate, H, follow, standardised_loss
from recsys_assets.monitoring.drift_statistics import (
    MIN_HISTORY,
    compare_categorical,
    compare_numeric,
    judge,
    own_limit,
    population_stability_index,
)
from recsys_assets.monitoring.served_hits import BACKFILL_DAYS
from recsys_assets.monitoring.twin import judge_twin

RNG = np.random.default_rng(0)


def test_numeric_against_scipy_and_a_closed_form() -> None:
    reference, current = RNG.normal(size=900), RNG.normal(0.3, 1.0, size=700)
    found = compare_numeric("price", np.append(reference, np.nan), current)
    peer = stats.ks_2samp(reference, current, method="asymp")
    assert (found.reference, found.current) == (900, 700)
    assert (found.statistic, found.p_value) == (pytest.approx(peer.statistic), pytest.approx(peer.pvalue))
    # A shift by s moves every quantile by s: Wasserstein distance s.
    shifted = compare_numeric("price", reference, reference + 0.25 * reference.std())
    assert shifted.second_effect == pytest.approx(0.25)
    assert compare_numeric("price", np.ones(5), np.ones(5)).p_value == 1.0
    assert compare_numeric("price", np.ones(1), np.ones(5)).reference == 1


def test_categorical_by_hand() -> None:
    reference, current = ["a"] * 60 + ["b"] * 40, ["a"] * 45 + ["b"] * 50 + [None] * 5
    found = compare_categorical("category", reference, current)
    table = np.array([[60, 40, 0], [45, 50, 5]])
    peer = stats.chi2_contingency(table, correction=False)
    assert (found.statistic, found.p_value) == (pytest.approx(peer.statistic), pytest.approx(peer.pvalue))
    assert found.effect == pytest.approx(0.15)
    # Shares (.6, .4, 0) and (.45, .5, .05); the empty one is floored at 1e-4.
    expected = -0.15 * np.log(0.45 / 0.6) + 0.1 * np.log(0.5 / 0.4) + (0.05 - 1e-4) * np.log(0.05 / 1e-4)
    assert found.second_effect == pytest.approx(expected)
    assert compare_categorical("c", ["a"], ["a"]).p_value == 1.0


def test_psi_merges_rare_categories() -> None:
    reference = np.array([0.98, 0.009, 0.006, 0.005])
    current = np.array([0.98, 0.001, 0.009, 0.01])
    kept = population_stability_index(reference, np.array([0.98, 0.001, 0.009, 0.01]))
    merged = population_stability_index(np.array([0.98, 0.015, 0.005]), np.array([0.98, 0.01, 0.01]))
    assert kept == pytest.approx(merged)
    assert population_stability_index(current, current) == 0


def test_three_conditions_and_too_few() -> None:
    base = RNG.normal(size=10_000)
    small = compare_numeric("a", base, RNG.normal(0.08, 1, 10_000))  # significant, not large
    large = compare_numeric("b", base, RNG.normal(0.5, 1, 10_000))
    few = compare_numeric("c", base, RNG.normal(3.0, 1, 400))
    found = {one.column: one for one in judge([small, large, few], {})}
    assert [found[name].state for name in "abc"] == ["stable", "drifted", "too few"]
    assert small.p_value < 0.01
    # A column that is always that far from its past is no news.
    usual = judge([large], {"b": [large.effect + noise for noise in np.linspace(-0.02, 0.02, MIN_HISTORY)]})
    assert usual[0].state == "stable" and usual[0].limit is not None
    assert judge([large], {"b": [0.03] * MIN_HISTORY})[0].state == "drifted"
    assert own_limit([0.1] * (MIN_HISTORY - 1)) is None


def test_family_wise_false_alarms_of_independent_shoppers() -> None:
    """200 comparisons of eight equal columns: the three conditions together alarm in at most 1 of 200."""
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        columns = [compare_numeric(str(number), rng.normal(size=1_500), rng.normal(size=700)) for number in range(8)]
        alarms += any(one.state == "drifted" for one in judge(columns, {}))
    assert alarms <= 1


def _rates(days: int, rate: float, shoppers: int, seed: int, drop_from: int | None = None, drop: float = 0.0):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    found = []
    for number in range(days):
        day = date(2024, 1, 1) + timedelta(days=number)
        weekend = 0.02 if day.weekday() >= 5 else 0.0
        loss = drop if drop_from is not None and number >= drop_from else 0.0
        p = (rate + weekend) * (1 - loss)
        found.append(DailyRate(day, float(rng.binomial(shoppers, p) / shoppers), shoppers))
    return found


def test_cusum_false_alarms_in_26_weeks() -> None:
    """No change, weekends that differ: at most one alarm in 26 weeks, on average over 40 shops."""
    alarms = 0
    for seed in range(40):
        rates = _rates(63 + 182, 0.2, 300, seed)
        path = follow(rates).path
        alarms += sum(later > SUDDEN_H >= earlier for earlier, later in zip((0.0, *path), path, strict=False))
    assert alarms / 40 <= 1


@pytest.mark.parametrize(("drop", "days"), [(0.4, 3), (0.2, 14)])
def test_cusum_finds_a_loss_and_says_since_when(drop: float, days: int) -> None:
    delays = []
    for seed in range(20):
        rates = _rates(120, 0.2, 400, seed, drop_from=100, drop=drop)
        start = rates[90].day
        first = next((n for n in range(100, 120) if follow(rates[: n + 1], start=start).alarm), 120)
        found = follow(rates[: first + 1], start=start)
        assert found.since is not None and found.since <= rates[min(first, 119)].day
        delays.append(first - 100 + 1)
    assert np.median(delays) <= days


def _ageing(days: int, seed: int, loss: float = 0.0, season: float = 0.0) -> list[DailyRate]:
    """A model trained every four weeks that loses 1 % of its hits with every day of age; ``loss`` from day 100 on.

    ``season``: standard deviation of whole weeks, as a share of the rate.
    """
    rng = np.random.default_rng(seed)
    weeks = 1 + season * rng.normal(size=days // 7 + 1)
    found = []
    for number in range(days):
        age = number % 28
        p = 0.3 * 0.99**age * weeks[number // 7] * (1 - loss * (number >= 100))
        rate = float(rng.binomial(2_000, p) / 2_000)
        found.append(DailyRate(date(2024, 1, 1) + timedelta(days=number), rate, 2_000, age))
    return found


def _alarms(rates: list[DailyRate]) -> int:
    """Days on which the sum, begun anew with every training, passes the lower threshold."""
    count = 0
    for first in range(56, len(rates), 28):
        path = follow(rates[: first + 28], start=rates[first].day).path
        count += sum(later > SUDDEN_H >= earlier for earlier, later in zip((0.0, *path), path, strict=False))
    return count


def test_ageing_of_a_model_is_no_loss() -> None:
    """Forty shops, 26 weeks: a quarter of the hits lost between two trainings, and hardly an alarm."""
    assert np.mean([_alarms(_ageing(56 + 182, seed)) for seed in range(40)]) <= 0.5


@pytest.mark.parametrize(("age_known", "least", "most"), [(True, 1, 4), (False, 10, 99)])
def test_a_loss_beyond_ageing_is_found(age_known: bool, least: int, most: int) -> None:
    """A tenth of the hits in a shop of 2,000 buyers a day: days in the median; the age makes the difference."""
    delays = []
    for seed in range(20):
        rates = [one if age_known else replace(one, age_days=0) for one in _ageing(112, seed, loss=0.1)]
        path = follow(rates, start=rates[84].day)
        late = [day for day, value in zip(path.days, path.path, strict=True) if value > H]
        delays.append((late[0] - rates[100].day).days + 1 if late else 99)
    assert least <= np.median(delays) <= most


def test_weeks_that_lie_high_or_low_as_usual_are_no_loss() -> None:
    """Seasons of 8 % a week: the sum is standardised by weeks as well as by days."""
    alarms = [_alarms(_ageing(56 + 182, seed, season=0.08)) for seed in range(40)]
    assert np.mean(alarms) <= 1


def test_days_of_a_sum_stay_as_they_were() -> None:
    """What was found about a day does not change while its champion serves: the days looked at hold its reference."""
    rates, first = _ageing(140, 1), 105
    found = [follow(rates[: last + 1][-BACKFILL_DAYS:], start=rates[first].day).path for last in range(first, 140)]
    assert [len(path) for path in found] == list(range(1, 36))
    assert all(later[:-1] == earlier for earlier, later in pairwise(found))


def test_expected_rate_by_hand() -> None:
    """Eight weeks without noise, 1 % of .3 lost per day of age: a day on that line has no loss, one below it has."""
    days = [date(2024, 1, 1) + timedelta(days=number) for number in range(70)]
    rates = [DailyRate(day, 0.3 - 0.003 * (number % 28), 1_000, number % 28) for number, day in enumerate(days)]
    today = replace(rates[-1], rate=0.3 - 0.003 * rates[-1].age_days)
    assert standardised_loss(today, rates) == pytest.approx(0.0, abs=1e-9)
    # Beyond the oldest data of the reference nothing is assumed.
    old, older = (standardised_loss(replace(today, age_days=age), rates) for age in (27, 60))
    assert old == older
    mean = float(np.mean([one.rate for one in rates[:63] if one.day >= days[6]]))
    below = standardised_loss(replace(today, rate=today.rate - 0.01), rates)
    ages = np.array([one.age_days for one in rates[6:62]], dtype=float)
    same = np.array([one.day.weekday() for one in rates[6:62]])
    older_than_usual = ages - np.array([ages[same == day].mean() for day in same])
    beyond = today.age_days - ages[same == today.day.weekday()].mean()
    uncertain = 1 + 1 / 8 + beyond**2 / (older_than_usual**2).sum()
    assert below == pytest.approx(0.01 / np.sqrt(mean * (1 - mean) / 1_000 * uncertain), rel=1e-3)


def test_cusum_by_hand() -> None:
    """Losses add up beyond the allowance and never below zero."""
    rates = _rates(70, 0.2, 300, 1)
    found = follow(rates)
    path = 0.0
    for loss, value in zip(found.z, found.path, strict=True):
        path = max(0.0, path + loss - 0.5)
        assert value == pytest.approx(path)
    assert follow(rates[:20]).path == () and not follow([]).alarm
    assert follow([DailyRate(one.day, one.rate, 29) for one in rates]).path == ()


@pytest.mark.parametrize(("losses", "alarm", "threshold"), [((3.2, 3.2), True, SUDDEN_H), ((1.6,) * 5, False, H)])
def test_a_sudden_loss_needs_less_than_one_that_adds_up(
    losses: tuple[float, ...], alarm: bool, threshold: float
) -> None:
    """Losses in standard deviations after 65 equal days: a sum of 5.4 in two days is an alarm, 5.5 in five is none."""
    deviation = np.sqrt(0.2 * 0.8 / 20_000 * (1 + 1 / 8))
    fallen = [0.2] * 65 + [0.2 - loss * deviation for loss in losses]
    rates = [DailyRate(date(2024, 1, 1) + timedelta(days=day), rate, 20_000) for day, rate in enumerate(fallen)]
    found = follow(rates)
    assert found.path[-1] == pytest.approx(sum(losses) - 0.5 * len(losses), abs=0.01)
    assert (found.alarm, found.threshold, found.since) == (alarm, threshold, rates[65].day)


@pytest.mark.parametrize(("gained", "alarm"), [(0, False), (30, False), (75, False), (100, True)])
def test_the_twin_alarms_beyond_ordinary_ageing(gained: int, alarm: bool) -> None:
    """300 of 1,000 shoppers were hit by the old fit; the fresh one hits ``gained`` more and nobody less."""
    old = np.repeat([1.0, 0.0], [300, 700])
    fresh = old.copy()
    fresh[300 : 300 + gained] = 1.0
    found = judge_twin(paired_comparison(fresh, old, confidence=0.99), float(old.mean()))
    assert found.alarm is alarm and found.lift == pytest.approx(gained / 300)
    assert (found.comparison.low > 0) is (gained > 0)
