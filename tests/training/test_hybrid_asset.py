"""The hybrid through the graph: from its asset to a champion, a checked release, a route, and an answered question."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from lambda_api.recommender.bundle import read_bundle, read_manifest
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.serving.question import Question
from lambda_api.settings import Settings, make_settings
from lambda_api.state.open_table import open_table
from recsys_assets.definitions import build_defs as assets_defs
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.lake import Lake
from recsys_assets.measurement.importance import EXPLAINED_ROWS, read_importance
from recsys_assets.models.candidate_recall import CUTOFFS
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import VALIDATION_NDCG
from recsys_assets.schema import INTERACTIONS
from recsys_assets.splits.assets import load_split, temporal_splits
from recsys_assets.training.assets import hybrid_model
from recsys_assets.training.candidate import candidate_folder
from recsys_deploy.definitions import build_defs as deploy_defs
from tests.patience import patient

FIRST, DAYS = date(2024, 3, 1), 60
SMALL: dict[str, Any] = {
    "windows": 2,
    "window_days": 10.0,
    "trees": 12,
    "leaves": 4,
    "leaf_rows": 10,
    "limit": 40,
    "neighbours": 15,
}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Shop:
    """A home folder with a small shop's validated days in its lake."""

    settings: Settings

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_uri)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(open_table(self.settings, "registry"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = SyntheticShop(
        SyntheticShopConfig(
            seed=11, start=FIRST, days=DAYS, n_users=90, n_products=80, n_categories=5, n_brands=6,
            sessions_per_user_per_day=0.5,
        )
    )  # fmt: skip
    home = tmp_path_factory.mktemp("shop") / "home"
    shop = Shop(make_settings({"home": home, "first_day": "2010-12-01", "seed": 3}))
    shop.lake.write_table("products", made.products())
    shop.lake.write_table("users", made.users())
    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        shop.lake.write_day("interactions", day, INTERACTIONS.conform(made.day_events(day)))
    return shop


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture(scope="module")
def trained(shop: Shop, instance: dg.DagsterInstance) -> dict[str, Any]:
    """Metadata of the materialised asset."""
    result = (
        assets_defs(shop.settings)
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            asset_selection=[temporal_splits.key, hybrid_model.key],
            run_config={"ops": {"hybrid_model": {"config": {"hyper_parameters": SMALL}}}},
            instance=instance,
        )
    )
    [event] = result.asset_materializations_for_node("hybrid_model")
    return {name: value.value for name, value in event.metadata.items()}


def test_its_bundle_is_trained_as_shop_and_run_ask(shop: Shop, trained: dict[str, Any]) -> None:
    bundle = read_bundle(candidate_folder(shop.settings, "hybrid"))
    assert isinstance(bundle.recommender, TwoStageRecommender)
    used = bundle.manifest.info.hyper_parameters
    assert trained["hyper_parameters"] == used
    assert {name: used[name] for name in SMALL} == SMALL
    # LightGBM's waiting threads spin, and other steps run on the same cores.
    assert (used["seed"], used["threads"], used["allow_repeats"]) == (3, 1, False)
    assert bundle.recommender.generator.facts.as_of == int(load_split(shop.lake).test_start.timestamp())


def test_its_ranker_is_explained_beside_the_bundle(shop: Shop, trained: dict[str, Any]) -> None:
    """From the training program's process to where the report looks for it."""
    found = read_importance(candidate_folder(shop.settings, "hybrid"))
    assert found is not None and 0 < found.rows <= EXPLAINED_ROWS
    assert {one.name for one in found.features} == set(_recommender(shop).stage.reads)
    assert sum(one.share for one in found.features) == pytest.approx(1)


def test_its_first_stage_is_measured_on_the_validation_window(shop: Shop, trained: dict[str, Any]) -> None:
    lines = [line for line in str(trained["candidate_recall"]).splitlines()[2:]]
    table = {cells[1].strip(): [float(cell) for cell in cells[2:-1]] for cells in (line.split("|") for line in lines)}
    union = [trained[f"candidate_recall_at_{cutoff}"] for cutoff in CUTOFFS]
    assert table["all sources together"] == pytest.approx(union, abs=5e-4)
    # A list of ten cannot hold more than the ranker was given (products nobody had touched count for neither here).
    assert 0 < trained["validation_recall"] <= table["what the ranker is given"][-1] <= union[-1] <= 1
    sources = {source.name for source in _recommender(shop).generator.sources if source.take > 0}
    assert set(table) == sources | {"all sources together", "lists of all sources, uncut", "what the ranker is given"}
    [run] = shop.registry.list_runs("hybrid")
    bundle = read_manifest(candidate_folder(shop.settings, "hybrid"))
    assert trained[VALIDATION_NDCG] == run.metrics[VALIDATION_NDCG] == bundle.info.metrics[VALIDATION_NDCG]
    assert run.metrics["candidate_recall_at_300"] == union[-1] and run.metrics[VALIDATION_NDCG] > 0


def test_it_is_released_and_answers(shop: Shop, trained: dict[str, Any], instance: dg.DagsterInstance) -> None:
    folder = candidate_folder(shop.settings, "hybrid")
    version = register_bundle(shop.registry, BundleStore(shop.settings.models_uri), folder, run_id="run")
    shop.registry.promote(version.version, None)
    for defs, job in ((assets_defs, "publish_serving_data_job"), (deploy_defs, "set_live_route_job")):
        assert defs(shop.settings).resolve_job_def(job).execute_in_process(instance=instance).success
    serving = patient(shop.settings)
    serving.warm()
    known = shop.lake.read("interactions", ("user_id",))["user_id"][0].as_py()
    answer = serving.service.recommend(_question(known), (), "r-known")
    stranger = serving.service.recommend(_question("nobody"), (), "r-stranger")
    serving.close()
    assert (answer.model_version, answer.cause) == (str(version.version), None)
    assert (answer.ranking.stage, answer.ranking.personal, len(answer.ranking.items)) == ("ranked", True, 8)
    assert all(item.reason.text for item in answer.ranking.items)
    assert stranger.model_version == str(version.version) and not stranger.ranking.personal


def _recommender(shop: Shop) -> TwoStageRecommender:
    recommender = read_bundle(candidate_folder(shop.settings, "hybrid")).recommender
    assert isinstance(recommender, TwoStageRecommender)
    return recommender


def _question(user_id: str) -> Question:
    return Question(user_id=user_id, events=(), now=0, k=8, include_products=True)
