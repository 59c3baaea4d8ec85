"""`recsys tune` on a small shop: what it looks at, what it records, what it prints, and that it repeats itself."""

import io
import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from rich.console import Console

from lambda_api.settings import Settings, make_settings
from lambda_api.state.open_table import open_table
from recsys_assets import data_gate
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.lake import Lake, LakeError
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.schema import INTERACTIONS
from recsys_assets.splits.assets import load_split, temporal_splits
from recsys_assets.training.assets import MODEL_NAMES, popularity_model
from recsys_assets.training.stored_parameters import tuned_parameters
from recsys_deploy.model_choice import UnknownModel, models_to_try, parse_models
from recsys_deploy.tune.command import TuneOutcome, run_in_terminal
from recsys_deploy.tune.options import TuneError, TuneOptions

FIRST, DAYS = date(2024, 3, 1), 60
QUICK = ("popularity", "item_knn")


@dataclass(frozen=True)
class Shop:
    """A lake with a split, and its registry."""

    settings: Settings

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_uri)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(open_table(self.settings, "registry"))

    def tune(self, trials: int = 5, seed: int = 0, models: tuple[str, ...] | None = QUICK) -> tuple[TuneOutcome, str]:
        said = io.StringIO()
        options = TuneOptions(models=models, trials=trials, minutes=10, seed=seed)
        console = Console(file=said, width=200)
        outcome = run_in_terminal(options, MODEL_NAMES, self.settings, self.lake, self.registry, console)
        return outcome, said.getvalue()

    def materialise(self, asset: dg.AssetsDefinition) -> dict[str, object]:
        resources = {"lake": self.lake, "settings": self.settings, "registry": self.registry}
        with dg.instance_for_test() as instance:
            result = dg.materialize([asset], instance=instance, resources=resources)
            [event] = result.get_asset_materialization_events()
        return {name: value.value for name, value in event.materialization.metadata.items()}


def deliver(lake: Lake, days: range) -> None:
    made = SyntheticShop(
        SyntheticShopConfig(
            seed=11, start=FIRST, days=DAYS, n_users=120, n_products=60, n_categories=5, n_brands=6,
            sessions_per_user_per_day=0.5,
        )
    )  # fmt: skip
    lake.write_table("products", made.products())
    for day in days:
        lake.write_day(
            "interactions",
            FIRST + timedelta(days=day),
            INTERACTIONS.conform(made.day_events(FIRST + timedelta(days=day))),
        )


def shop_in(home: Path) -> Shop:
    return Shop(make_settings({"home": home, "first_day": "2010-12-01"}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with a split, made once; every test gets a copy."""
    home = tmp_path_factory.mktemp("made") / "home"
    deliver(shop_in(home).lake, range(DAYS))
    shop_in(home).materialise(temporal_splits)
    return home


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Shop:
    return shop_in(shutil.copytree(made, tmp_path / "home"))


def tried(outcome: TuneOutcome) -> dict[str, list[object]]:
    return {
        name: [(trial.parameters, trial.fold_scores, trial.state) for trial in result.trials]
        for name, result in outcome.tuning.found.items()
    }


def test_again_it_tries_the_same_and_another_seed_does_not(shop: Shop) -> None:
    first, again = shop.tune()[0], shop.tune()[0]
    assert tried(first) == tried(again)
    runs = shop.registry.list_runs()
    # Ten trials, recorded once.
    assert len(runs) == sum(len(result.trials) for result in first.tuning.found.values()) == 10
    assert all(run.id.startswith(f"{first.id}:") for run in runs)
    other = shop.tune(seed=1)[0]
    assert other.id != first.id and tried(other) != tried(first)


def test_nothing_from_the_validation_window_on_is_looked_at(shop: Shop) -> None:
    start = load_split(shop.lake).validation_start
    before = tried(shop.tune()[0])
    for day in shop.lake.days("interactions"):
        if day >= start.date():
            events = shop.lake.read_day("interactions", day)
            others = pa.array([f"unheard-of-{row}" for row in range(events.num_rows)])
            shop.lake.write_day("interactions", day, events.set_column(2, "product_id", others))
    assert tried(shop.tune()[0]) == before


def test_trainings_use_what_it_found_when_they_are_told_to(shop: Shop) -> None:
    outcome, said = shop.tune(trials=8)
    best = outcome.tuning.found["popularity"].best
    split = load_split(shop.lake)
    found = tuned_parameters(shop.registry, "popularity", split.validation_start, allow_repeats=False)
    assert found is not None and found.score == best.score and found.data_end == split.validation_start
    untold = shop.materialise(popularity_model)
    assert untold["parameters_from"] == "defaults"
    shop = Shop(make_settings({**shop.settings.model_dump(), "parameters": "tuned"}))
    told = shop.materialise(popularity_model)
    assert told["hyper_parameters"] == best.parameters
    assert str(told["parameters_from"]).startswith(found.run_id)
    assert "RECSYS_PARAMETERS=tuned" in said and f"{best.score:.4f}" in said and outcome.id in said


def test_one_run_may_ask_for_other_parameters_than_the_shop(shop: Shop) -> None:
    shop.tune()
    resources = {"lake": shop.lake, "settings": shop.settings, "registry": shop.registry}
    given = {"parameters": "tuned", "hyper_parameters": {"half_life_days": 77.0}}
    with dg.instance_for_test() as instance:
        result = dg.materialize(
            [popularity_model],
            instance=instance,
            resources=resources,
            run_config={"ops": {"popularity_model": {"config": given}}},
        )
        [event] = result.get_asset_materialization_events()
    assert str(event.materialization.metadata["parameters_from"].value).startswith("tuning-new-")
    parameters = event.materialization.metadata["hyper_parameters"].value
    assert isinstance(parameters, dict) and parameters["half_life_days"] == 77.0


def test_slow_models_are_left_out_of_large_logs_unless_they_are_named() -> None:
    assert models_to_try(None, MODEL_NAMES, 20_000) == (MODEL_NAMES, ())
    large, skipped = models_to_try(None, MODEL_NAMES, 20_001)
    assert skipped == ("ncf",) and set(large) | {"ncf"} == set(MODEL_NAMES)
    assert models_to_try(("ncf",), MODEL_NAMES, 10**9) == (("ncf",), ())


def test_a_poisoned_day_stops_it(shop: Shop) -> None:
    data_gate.mark_unreadable(shop.lake, FIRST, "the file is truncated")
    with pytest.raises(TuneError, match=r"(?s)cannot be tuned on: .*the file is truncated"):
        shop.tune()
    assert shop.registry.list_runs() == []


def test_what_cannot_be_tuned_is_refused_in_a_sentence(tmp_path: Path) -> None:
    empty = Shop(make_settings({"home": tmp_path / "empty"}))
    with pytest.raises(LakeError, match="materialise the asset 'temporal_splits' first"):
        empty.tune()
    with pytest.raises(UnknownModel, match="cannot try temporal_linear; choose from popularity"):
        parse_models("ease,temporal_linear", MODEL_NAMES)
    with pytest.raises(UnknownModel, match="no model is named"):
        parse_models(" , ", MODEL_NAMES)
    assert parse_models("hybrid, popularity", MODEL_NAMES) == ("popularity", "hybrid")
