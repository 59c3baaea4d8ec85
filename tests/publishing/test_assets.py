"""The four assets over a small lake: what they leave, what they refuse, and that a refusal leaves what was live."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from lambda_api.recommender.catalogue import read_catalogue
from lambda_api.state.popular import PopularProducts
from recsys_assets.data_gate import mark_waiting
from recsys_assets.publishing import assets
from recsys_assets.publishing.catalogue_store import current_publication
from recsys_assets.resources import resources_for
from tests.publishing.shops import Home, ago, listed, random_log, write_log, write_products
from tests.quality.shop import failure_text

ASSETS = (assets.serving_catalogue, assets.popular_products, assets.shopper_histories, assets.storefront_data)
IDS = [f"p{number}" for number in range(20)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home.at(tmp_path)
    write_products(made.lake, listed(*IDS))
    write_log(made.lake, random_log(5, users=25, products=20, events=400))
    return made


def run(home: Home, which: Sequence[dg.AssetsDefinition] = ASSETS) -> dg.ExecuteInProcessResult:
    every = resources_for(home.settings)
    needed = {role: every[role] for role in ("settings", "lake", "serving", "registry", "bundles", "histories")}
    return dg.materialize(list(which), resources=needed, instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_everything_serving_reads_is_there_and_a_second_run_leaves_it_as_it_is(home: Home) -> None:
    home.promote(*IDS)
    result = run(home)
    assert result.success, failure_text(result)
    assert {name: check.passed for name, check in checks_of(result).items()} == {
        "live_products_known": True,
        "popular_not_empty": True,
        "histories_readable": True,
    }
    live = current_publication(home.serving)
    assert live is not None
    assert len(read_catalogue(Path(live.uri), checksum=live.checksum)) == 20
    popular = PopularProducts(home.serving)
    overall = popular.overall()
    assert overall and set(popular.of_category("Mugs")) == set(overall)
    history = home.histories.recent("u1")
    files = {file.name: file.read_bytes() for file in (home.settings.home / "storefront").iterdir()}
    assert set(files) == {"catalogue.json", "shoppers.json"}

    again = run(home)
    assert again.success
    assert current_publication(home.serving) == live
    assert popular.overall() == overall
    assert home.histories.recent("u1") == history
    assert {file.name: file.read_bytes() for file in (home.settings.home / "storefront").iterdir()} == files
    written = {e.asset_key.path[-1]: e.materialization.metadata for e in again.get_asset_materialization_events()}
    assert written["shopper_histories"]["shoppers_written"].value == 0
    assert written["serving_catalogue"]["changed"].value is False


def test_a_catalogue_of_another_shop_never_goes_live(home: Home) -> None:
    home.promote(*IDS)
    assert run(home).success
    live = current_publication(home.serving)
    home.promote(*IDS, *(f"other{number}" for number in range(5)), seed=1)
    result = run(home)
    assert not result.success
    check = checks_of(result)["live_products_known"]
    assert not check.passed and check.blocking and check.severity is dg.AssetCheckSeverity.ERROR
    assert "5 of the 25 products" in failure_text(result)
    assert current_publication(home.serving) == live
    # What the shop page shows waits for a catalogue it can be shown with.
    assert "storefront_data" not in {e.asset_key.path[-1] for e in result.get_asset_materialization_events()}


def test_a_delisted_product_is_a_warning_and_is_published_as_gone(home: Home) -> None:
    home.promote(*IDS, "never-touched")
    result = run(home)
    assert result.success
    check = checks_of(result)["live_products_known"]
    assert not check.passed and check.severity is dg.AssetCheckSeverity.WARN
    assert "never-touched" in (check.description or "")


def test_a_shop_without_anything_available_keeps_its_popular_lists(home: Home) -> None:
    assert run(home).success
    overall = PopularProducts(home.serving).overall()
    write_products(home.lake, listed(*IDS, available=False))
    result = run(home, [assets.popular_products])
    assert not result.success
    assert not checks_of(result)["popular_not_empty"].passed
    assert "stay as they are" in failure_text(result)
    assert PopularProducts(home.serving).overall() == overall


def test_a_poisoned_day_publishes_nothing(home: Home) -> None:
    mark_waiting(home.lake, ago(1).date())
    result = run(home)
    assert not result.success
    assert "may not be used" in failure_text(result)
    assert current_publication(home.serving) is None
    assert PopularProducts(home.serving).overall() == ()


def test_a_shop_before_its_first_model_is_published_too(home: Home) -> None:
    assert run(home).success
    assert (home.settings.home / "storefront" / "shoppers.json").is_file()
