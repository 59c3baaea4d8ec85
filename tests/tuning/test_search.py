"""The search: it finds what was planted, never ends below the defaults, stops the hopeless, and can be repeated."""

from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from recsys_assets.training.search_spaces import OneOf, Real
from recsys_assets.tuning.search import (
    TRIALS_BEFORE_PRUNING,
    Budget,
    Stop,
    Trial,
    TrialState,
    TuningResult,
    common_scores,
    tune,
)
from tests.tuning.toy import BEST, SPACE, Toy, ToyFold, make_toy


def search(
    trials: int = 60, seed: int = 0, folds: int = 3, seconds: float | None = None, **options: Any
) -> TuningResult:
    tasks = [ToyFold(number, ease=0.1 * number) for number in range(1, folds + 1)]
    options = {"space": SPACE, "make": make_toy, **options}
    return tune("toy", tasks, Budget(trials, seconds), seed, **options)


def test_it_finds_the_planted_optimum() -> None:
    best = search(trials=80).best.parameters
    assert best["kind"] == BEST["kind"]
    assert abs(best["n"] - BEST["n"]) <= 2
    assert 0.3 < best["x"] / BEST["x"] < 3.0
    assert best["untouched"] == Toy().untouched


def test_trial_0_is_the_defaults_and_the_best_is_never_below_them() -> None:
    for seed in range(5):
        result = search(trials=4, seed=seed)
        assert result.trials[0].parameters == Toy().parameters()
        finished = [trial for trial in result.trials if trial.state is TrialState.FINISHED]
        assert result.best.score == max(trial.score for trial in finished) >= result.trials[0].score


def test_defaults_that_are_the_optimum_stay() -> None:
    assert search(make=lambda name, parameters: Toy(**{**BEST, **parameters})).best.number == 0


def test_two_searches_are_equal_and_another_seed_is_not() -> None:
    first, second, other = search(seed=3), search(seed=3), search(seed=4)
    assert first == second
    assert [trial.parameters for trial in first.trials] != [trial.parameters for trial in other.trials]


def test_hopeless_trials_are_stopped_by_the_median_rule_and_no_others() -> None:
    result = search()
    states = [trial.state for trial in result.trials]
    assert TrialState.PRUNED in states and TrialState.FINISHED in states[TRIALS_BEFORE_PRUNING + 1 :]
    for index, trial in enumerate(result.trials):
        expected = folds_before_the_median_rule_stops(trial, result.trials[:index], of=3)
        assert len(trial.fold_scores) == expected
        assert (trial.state is TrialState.PRUNED) == (expected < 3)


def folds_before_the_median_rule_stops(trial: Trial, earlier: tuple[Trial, ...], of: int) -> int:
    """The rule once more, from the toy's formula: newest fold first, each 0.1 easier than the one before it."""

    def running(parameters: Any, step: int) -> float:
        return Toy(**parameters).quality + sum(0.1 * number for number in range(of, of - step, -1)) / step

    finished = [other for other in earlier if other.state is TrialState.FINISHED]
    for step in range(1, of):
        so_far = max(running(trial.parameters, earlier_step) for earlier_step in range(1, step + 1))
        there = [running(other.parameters, step) for other in finished]
        if len(finished) >= TRIALS_BEFORE_PRUNING and so_far < median(there):
            return step
    return of


def test_the_newest_fold_is_asked_first() -> None:
    result = search(trials=1)
    assert list(result.best.fold_scores) == [3, 2, 1]
    assert result.best.score == pytest.approx(Toy().quality + 0.2)


def test_refused_parameters_are_failed_trials() -> None:
    result = search(make=lambda name, parameters: Toy(**parameters, refuses="b"))
    failed = [trial for trial in result.trials if trial.state is TrialState.FAILED]
    assert failed and all(trial.parameters["kind"] == "b" and "refused" in trial.problem for trial in failed)
    assert len(result.trials) == 60
    assert result.best.parameters["kind"] != "b"


def test_refused_defaults_end_the_search() -> None:
    with pytest.raises(ValueError, match="kind 'a' is refused"):
        search(make=lambda name, parameters: Toy(**{**parameters, "refuses": "a"}))


def test_a_default_outside_its_space_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"default x=1\.0 .* widen the space"):
        search(space={"x": Real(2.0, 3.0)})
    with pytest.raises(ValueError, match=r"default kind='a' .* widen the space"):
        search(space={"kind": OneOf(("b", None))})


def test_without_a_space_only_the_defaults_are_tried() -> None:
    result = search(space={})
    assert [trial.parameters for trial in result.trials] == [Toy().parameters()]
    assert result.stopped_by is Stop.NO_SPACE


def test_without_folds_nothing_can_be_judged() -> None:
    with pytest.raises(ValueError, match="at least one fold"):
        search(folds=0)


def test_time_that_is_up_leaves_the_defaults_on_the_newest_fold() -> None:
    result = search(seconds=1e-9)
    assert len(result.trials) == 1 and result.stopped_by is Stop.TIME
    assert list(result.best.fold_scores) == [3] and result.best.state is TrialState.FINISHED
    assert search(trials=7).stopped_by is Stop.TRIALS


def test_models_judged_on_different_folds_are_compared_on_the_common_ones() -> None:
    thorough, hasty = search(trials=1), replace(search(trials=1, seconds=1e-9), model="hasty")
    assert thorough.best.score == pytest.approx(Toy().quality + 0.2)
    newest = pytest.approx(Toy().quality + 0.3)
    assert common_scores([thorough, hasty]) == {"toy": newest, "hasty": newest}
    assert common_scores([thorough]) == {"toy": thorough.best.score}
    assert common_scores([]) == {}


@pytest.mark.parametrize(
    ("trials", "seconds", "done", "elapsed", "allowed"),
    [
        (3, None, 2, 1e9, True),
        (3, None, 3, 0.0, False),
        (9, 10.0, 0, 99.0, True),  # the defaults always run
        (9, 10.0, 4, 8.0, True),  # 2 s each: the fifth ends at 10
        (9, 10.0, 4, 8.4, False),  # 2.1 s each: the fifth would end at 10.5
    ],
)
def test_no_trial_is_begun_that_would_end_late(
    trials: int, seconds: float | None, done: int, elapsed: float, allowed: bool
) -> None:
    assert Budget(trials, seconds).allows(done, elapsed) is allowed


@pytest.mark.parametrize(("trials", "seconds"), [(0, None), (3, 0.0), (3, float("nan"))])
def test_a_budget_must_allow_something(trials: int, seconds: float | None) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget(trials, seconds)


def test_every_trial_is_reported_as_it_ends() -> None:
    told: list[tuple[Trial, int]] = []
    result = search(trials=6, on_trial=lambda trial, most: told.append((trial, most)))
    assert [trial for trial, _ in told] == list(result.trials)
    assert {most for _, most in told} == {6}
