"""Several models in one budget: the same folds for all, time handed on, and who refuses is named."""

from collections.abc import Mapping
from typing import Any

import pytest

from recsys_assets.tuning import zoo_tuning
from recsys_assets.tuning.search import Budget, OnTrial, Trial, TuningResult, tune
from recsys_assets.tuning.zoo_tuning import LEAST_SECONDS, Search, local_search, tune_models
from tests.tuning.toy import Toy, ToyFold


class Listener:
    """Hears of every trial."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self.trials: list[Trial] = []

    def __call__(self, name: str, most: int) -> OnTrial:
        self.most[name] = most
        return lambda trial, _: self.trials.append(trial)


def make(name: str, parameters: Mapping[str, Any]) -> Any:
    if name == "refusing":
        raise ValueError("nothing to learn from")
    return Toy()


def local(*folds: ToyFold) -> Search:
    return local_search(folds, make, seed=0, k=10)


def test_every_model_is_judged_on_the_same_folds_and_who_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo_tuning, "search_space", lambda name, kinds: {})
    heard = Listener()
    done = tune_models(("a", "refusing", "b"), local(ToyFold(1), ToyFold(2)), heard, trials=9, seconds=60)
    assert {name: list(result.best.fold_scores) for name, result in done.found.items()} == {"a": [2, 1], "b": [2, 1]}
    assert done.left_out == {"refusing": "nothing to learn from"}
    # Without anything to vary there is one trial.
    assert heard.most == {"a": 1, "refusing": 1, "b": 1}
    assert [trial.model for trial in heard.trials] == ["a", "b"]


def test_time_that_one_leaves_over_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    now, shares = [0.0], []

    def takes(model: str, folds: Any, budget: Budget, *rest: Any, **options: Any) -> TuningResult:
        shares.append(budget.seconds)
        now[0] += {"quick": 10.0, "slow": 500.0}.get(model, 0.0)
        return tune("toy", folds, Budget(1), space={}, make=make)

    monkeypatch.setattr(zoo_tuning, "tune", takes)
    monkeypatch.setattr(zoo_tuning.time, "perf_counter", lambda: now[0])
    tune_models(("quick", "slow", "late"), local(ToyFold(1)), Listener(), trials=3, seconds=90)
    # A third of 90; half of the 80 that are left; nothing is left, yet the defaults are judged.
    assert shares == [30.0, 40.0, LEAST_SECONDS]


def test_without_folds_nothing_can_be_judged() -> None:
    with pytest.raises(ValueError, match="at least one fold"):
        local()
