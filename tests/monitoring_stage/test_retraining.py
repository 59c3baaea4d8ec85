"""The decision to train: tables of days, and a year of daily looks."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_assets.monitoring.retraining import (
    Evidence,
    Family,
    Rules,
    TrainingHistory,
    cooldown_days,
    decide_training,
    is_alarm,
)

TODAY = date(2024, 6, 1)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def alarm(family: Family, days: int = 0) -> Evidence:
    return Evidence(family, ago(days), ago(days + 2), f"{family} changed")


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ([], False),
        ([alarm("concept")], True),
        ([alarm("twin", 6)], True),
        ([alarm("twin", 7)], False),
        ([alarm("feature")], False),
        ([alarm("feature"), alarm("feature", 3)], False),
        ([alarm("feature"), alarm("prediction", 6)], True),
        ([alarm("feature"), alarm("bias", 7)], False),
        ([Evidence("concept", TODAY + timedelta(days=1), TODAY, "from tomorrow")], False),
    ],
)
def test_what_counts_as_an_alarm(evidence: list[Evidence], expected: bool) -> None:
    assert is_alarm(TODAY, evidence, Rules()) is expected


@pytest.mark.parametrize(
    ("evidence", "history", "start", "cause", "words"),
    [
        ([], TrainingHistory(), False, "none", "no model yet"),
        ([alarm("concept")], TrainingHistory(last=ago(10), running=True), False, "none", "queued or running"),
        ([alarm("concept")], TrainingHistory(last=ago(10)), True, "drift", "Training 1 of 4"),
        ([alarm("concept")], TrainingHistory(last=ago(6)), False, "none", "may start after 7 days"),
        ([alarm("concept")], TrainingHistory(last=ago(7)), True, "drift", "concept changed"),
        # What was seen before the last training is about another champion.
        ([alarm("twin", 6)], TrainingHistory(last=ago(5)), False, "none", "No alarm"),
        ([alarm("twin", 5)], TrainingHistory(last=ago(5)), False, "none", "after 7 days"),
        # Refusals: the first keeps the cooldown, the second doubles it, the third again.
        ([alarm("concept")], TrainingHistory(last=ago(13), refusals=2), False, "none", "after 14 days"),
        ([alarm("concept")], TrainingHistory(last=ago(14), refusals=2), True, "drift", "Training 1"),
        ([alarm("concept")], TrainingHistory(last=ago(27), refusals=3), False, "none", "after 28 days"),
        # Bursts on days 0, 7, 14 and 21, whether or not there is a new alarm.
        ([], TrainingHistory(last=ago(6), episode=ago(6), started=1), False, "none", "due on 2024-06-02"),
        ([], TrainingHistory(last=ago(7), episode=ago(7), started=1), True, "drift", "Training 2 of 4"),
        ([], TrainingHistory(last=ago(7), episode=ago(21), started=3), True, "drift", "Training 4 of 4"),
        ([alarm("concept")], TrainingHistory(last=ago(2), episode=ago(23), started=4), False, "none", "No alarm"),
        # The episode is over a week after its last day: a new alarm opens a new one.
        ([alarm("concept")], TrainingHistory(last=ago(7), episode=ago(28), started=4), True, "drift", "Training 1"),
        ([alarm("feature")], TrainingHistory(last=ago(27)), False, "none", "No alarm"),
        ([], TrainingHistory(last=ago(28)), True, "floor", "at least 28"),
        ([], TrainingHistory(last=ago(28), refusals=4), False, "none", "No alarm"),
        ([], TrainingHistory(last=ago(56), refusals=9), True, "floor", "56 days old"),
    ],
)
def test_days(evidence: list[Evidence], history: TrainingHistory, start: bool, cause: str, words: str) -> None:
    found = decide_training(TODAY, evidence, history)
    assert (found.start, found.cause) == (start, cause), found.reason
    assert words in found.reason


def test_cooldown_doubles_after_the_first_refusal_up_to_a_limit() -> None:
    assert [cooldown_days(refusals, Rules()) for refusals in range(7)] == [7, 7, 14, 28, 56, 56, 56]


def _year(alarms: set[int], days: int = 365) -> list[int]:
    """Days of trainings when every day is looked at twice and trainings finish on their day."""
    history, trained = TrainingHistory(last=TODAY), []
    keys = set()
    for number in range(1, days):
        today = TODAY + timedelta(days=number)
        evidence = [Evidence("concept", TODAY + timedelta(days=one), TODAY, "x") for one in alarms if one <= number]
        looks = [decide_training(today, evidence, history) for _ in range(2)]
        assert looks[0].run_key == looks[1].run_key
        found = looks[0]
        history = replace(history, episode=found.episode, started=found.started)
        if found.start:
            assert found.run_key not in keys
            keys.add(found.run_key)
            trained.append(number)
            history = replace(history, last=today)
    return trained


def test_a_year_without_alarms_trains_every_four_weeks() -> None:
    assert _year(set()) == list(range(28, 365, 28))


def test_an_alarm_is_followed_by_a_burst_and_then_the_floor() -> None:
    assert _year({40}, 120) == [28, 40, 47, 54, 61, 89, 117]


@given(st.sets(st.integers(1, 200), max_size=40))
def test_never_more_often_than_the_cooldown_nor_less_than_the_floor(alarms: set[int]) -> None:
    trained = [0, *_year(alarms, 220)]
    gaps = [later - earlier for earlier, later in pairwise(trained)]
    assert all(7 <= gap <= 28 for gap in gaps)
