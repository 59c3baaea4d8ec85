"""Tuned parameters found again: which tuning counts, which trial of it, and what a training makes of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lambda_api.recommender.bundle import DataWindow
from lambda_api.settings import make_settings
from lambda_api.state.sqlite_table import SqliteTable
from recsys_assets.models.popularity import Popularity
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.training.parameter_choice import THREADS, choose_parameters, settled_parameters
from recsys_assets.training.stored_parameters import tuned_parameters, tuning_id
from recsys_assets.tuning.experiment_runs import as_experiment_run
from recsys_assets.tuning.search import Trial, TrialState

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(SqliteTable(tmp_path / "state.sqlite3", "registry"))


def trial(number: int, score: float, half_life_days: float = 9.0, **changes: Any) -> Trial:
    values: dict[str, Any] = {
        "model": "popularity",
        "number": number,
        "parameters": {**Popularity().parameters(), "half_life_days": half_life_days},
        "fold_scores": {2: score},
        "state": TrialState.FINISHED,
        "started_at": START + timedelta(seconds=number),
        "seconds": 1.0,
    }
    return Trial(**{**values, **changes})


def record(
    registry: ModelRegistry,
    *trials: Trial,
    end: datetime = END,
    repeats: bool = False,
    code: str = "abc",
    id: str | None = None,
) -> None:
    run_id = id or tuning_id(end, allow_repeats=repeats, k=10, seed=0)
    for one in trials:
        registry.log_run(as_experiment_run(one, run_id, DataWindow(start=START, end=end), code))


def found(registry: ModelRegistry, before: datetime = END, repeats: bool = False) -> float | None:
    """The half-life of the tuned parameters."""
    tuned = tuned_parameters(registry, "popularity", before, allow_repeats=repeats)
    return None if tuned is None else tuned.parameters["half_life_days"]


def test_the_best_finished_trial_counts_and_of_equals_the_earliest(registry: ModelRegistry) -> None:
    assert found(registry) is None
    record(registry, trial(0, 0.1, 1.0), trial(1, 0.3, 2.0), trial(2, 0.3, 3.0))
    record(registry, trial(3, 0.9, 4.0, state=TrialState.PRUNED), trial(4, 0.8, 5.0, state=TrialState.FAILED))
    record(registry, trial(5, 0.7, 6.0, model="ease"))
    assert found(registry) == 2.0


def test_a_newer_tuning_counts_whatever_its_score(registry: ModelRegistry) -> None:
    # Their folds differ, so their scores do not compare.
    record(registry, trial(0, 0.9, 1.0))
    record(registry, trial(0, 0.2, 2.0), end=END + WEEK)
    assert found(registry, before=END + WEEK) == 2.0


def test_a_tuning_that_saw_the_window_of_choice_does_not_count(registry: ModelRegistry) -> None:
    record(registry, trial(0, 0.9, 1.0), end=END + timedelta(seconds=1))
    assert found(registry) is None
    record(registry, trial(0, 0.1, 2.0))
    assert found(registry) == 2.0


def test_other_questions_benchmarks_and_trainings_do_not_count(registry: ModelRegistry) -> None:
    record(registry, trial(0, 0.9, 1.0), repeats=True)
    record(registry, trial(0, 0.9, 1.0), id="benchmark-20240301T000000")
    record(registry, trial(0, 0.9, 1.0), id="7a4e7fb0-6d0a-4b0e-8f0a-1d2c3b4a5e6f")
    assert found(registry) is None
    assert found(registry, repeats=True) == 1.0


def test_a_tuning_repeated_with_other_code_does_not_mix_with_the_old_one(registry: ModelRegistry) -> None:
    record(registry, trial(0, 0.1, 1.0), trial(1, 0.9, 2.0))
    later = timedelta(hours=1)
    record(registry, trial(0, 0.2, 3.0, started_at=START + later), code="def")
    assert found(registry) == 3.0


def test_what_is_given_counts_most_then_what_the_shop_settles_then_what_was_tuned(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    shop = make_settings({"home": tmp_path, "seed": 7, "allow_repeats": True})
    parameters = {"leaves": 20, "truncation": 33, "seed": 1, "threads": 9, "allow_repeats": False}
    record(registry, trial(0, 0.4, model="hybrid", parameters=parameters), repeats=True)
    choice = choose_parameters("hybrid", {"truncation": 11}, shop, registry, END, tuned=True)
    chosen = choice.trainer.parameters()
    assert (chosen["leaves"], chosen["truncation"]) == (20, 11)
    assert (chosen["seed"], chosen["threads"], chosen["allow_repeats"]) == (7, THREADS, True)
    assert "tuning-repeats-20240301T000000-k10-seed0:hybrid:trial-0" in choice.origin
    # Somebody who has the machine alone may say so.
    assert (
        choose_parameters("hybrid", {"threads": 4}, shop, registry, END, tuned=True).trainer.parameters()["threads"]
        == 4
    )


def test_without_a_tuning_or_the_wish_for_it_defaults_count(registry: ModelRegistry, tmp_path: Path) -> None:
    shop = make_settings({"home": tmp_path})
    none = choose_parameters("popularity", {}, shop, registry, END, tuned=True)
    assert none.trainer == Popularity() and "recsys tune" in none.origin
    record(registry, trial(0, 0.4, 3.0))
    assert choose_parameters("popularity", {}, shop, registry, END, tuned=True).trainer == Popularity(
        half_life_days=3.0
    )
    unwanted = choose_parameters("popularity", {}, shop, registry, END, tuned=False)
    assert (unwanted.trainer, unwanted.origin) == (Popularity(), "defaults")


def test_tuned_values_that_the_code_has_outgrown_are_left_aside_and_named(
    registry: ModelRegistry, tmp_path: Path
) -> None:
    shop = make_settings({"home": tmp_path})
    record(registry, trial(0, 0.4, -3.0))
    choice = choose_parameters("popularity", {}, shop, registry, END, tuned=True)
    assert choice.trainer == Popularity()
    assert "half_life_days must be greater than 0" in choice.origin and "tune again" in choice.origin
    # A parameter that is varied no longer keeps its default.
    record(registry, trial(0, 0.4, parameters={"half_life_days": 3.0, "of_yore": 1}))
    assert choose_parameters("popularity", {}, shop, registry, END, tuned=True).trainer == Popularity(
        half_life_days=3.0
    )


def test_a_given_mistake_is_an_error_even_beside_tuned_values(registry: ModelRegistry, tmp_path: Path) -> None:
    shop = make_settings({"home": tmp_path})
    record(registry, trial(0, 0.4))
    with pytest.raises(ValueError, match="popularity has no parameter leafs"):
        choose_parameters("popularity", {"leafs": 3}, shop, registry, END, tuned=True)


def test_only_what_a_model_has_is_settled(tmp_path: Path) -> None:
    shop = make_settings({"home": tmp_path, "seed": 3})
    assert settled_parameters("popularity", shop) == {}
    assert settled_parameters("hybrid", shop) == {"seed": 3, "allow_repeats": False, "threads": THREADS}
