"""Releases end to end on registry, bundles and route, in both stores; the champion pointer moves last or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lambda_api.recommender.bundle import BundleError
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import RoutingRecord, read_routing
from lambda_api.state.table import Table, TableUnavailable
from recsys_assets.registry.model_registry import ModelRegistry, NothingToRollBackTo
from recsys_assets.registry.records import ModelVersion
from recsys_deploy import cli
from recsys_deploy.release.check import ReleaseRefused
from recsys_deploy.release.moves import Releases
from recsys_deploy.release.route import RouteRefused, route_champion
from recsys_deploy.release.strategies import Strategy
from tests.publishing.shops import BreakingTable, Home
from tests.state.tables import ADAPTERS, fake_dynamodb, open_adapter

PRODUCTS = [f"p{number}" for number in range(30)]
BESIDE = [Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.SHADOW]


@pytest.fixture(params=ADAPTERS)
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    with fake_dynamodb() as client, open_adapter(request.param, tmp_path / "table", client) as table:
        yield table


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


def releases(home: Home, serving: Table, registry: ModelRegistry | None = None) -> Releases:
    return Releases(registry or home.registry, home.bundles, serving, home.settings.home / "cache", clock=lambda: 1e9)


def live(serving: Table) -> RoutingRecord:
    record = read_routing(serving)
    assert record is not None
    return record


def two_versions(home: Home, serving: Table) -> tuple[ModelVersion, ModelVersion]:
    """The first is live; the second became champion of the registry and met nobody yet."""
    first = home.promote(*PRODUCTS)
    route_champion(home.registry, serving, str(first.version), now=1)
    return first, home.promote(*PRODUCTS, seed=1)


def champion(home: Home) -> str:
    found = home.registry.champion()
    assert found is not None
    return str(found.version)


@pytest.mark.parametrize("strategy", BESIDE)
def test_started_then_promoted_then_rolled_back(home: Home, serving: Table, strategy: Strategy) -> None:
    first, second = two_versions(home, serving)
    at = releases(home, serving)
    at.start(second.version, strategy)
    assert live(serving).champion.target.version == str(first.version)
    at.promote()
    assert [variant.target.version for variant in live(serving).variants] == [str(second.version)]
    assert champion(home) == str(second.version)
    at.rollback()
    assert [variant.target.version for variant in live(serving).variants] == [str(first.version)]
    assert champion(home) == str(first.version)


@pytest.mark.parametrize("strategy", BESIDE)
def test_taken_back_it_is_not_champion_either(home: Home, serving: Table, strategy: Strategy) -> None:
    first, second = two_versions(home, serving)
    at = releases(home, serving)
    at.start(None, strategy)
    at.rollback("conversion fell")
    record = live(serving)
    assert ([variant.target.version for variant in record.variants], record.shadow) == ([str(first.version)], None)
    assert champion(home) == str(first.version)
    assert home.registry.history()[-1].reason == "conversion fell"
    # Whoever brings the route in line with the champion now changes nothing.
    route_champion(home.registry, serving, str(first.version), now=2)
    assert live(serving) == record
    assert second.version != first.version


def test_a_champion_that_met_nobody_is_taken_back_in_the_registry_alone(home: Home, serving: Table) -> None:
    first, _ = two_versions(home, serving)
    before = live(serving)
    releases(home, serving).rollback()
    assert (champion(home), live(serving)) == (str(first.version), before)


def test_the_first_champion_cannot_be_rolled_back(home: Home, serving: Table) -> None:
    first = home.promote(*PRODUCTS)
    at = releases(home, serving)
    with pytest.raises(RouteRefused, match="nothing is live"):
        at.rollback()
    at.start(None, Strategy.IMMEDIATE)
    with pytest.raises(NothingToRollBackTo):
        at.rollback()
    assert live(serving).champion.target.version == str(first.version)


def test_a_deleted_bundle_is_found_before_anything_moves(home: Home, serving: Table) -> None:
    _, second = two_versions(home, serving)
    before = live(serving)
    for file in Path(second.bundle_uri).rglob("*.npy"):
        file.unlink()
    with pytest.raises(BundleError):
        releases(home, serving).start(second.version, Strategy.IMMEDIATE)
    assert live(serving) == before


def test_a_former_champion_whose_bundle_is_gone_is_not_returned_to(home: Home, serving: Table) -> None:
    first, second = two_versions(home, serving)
    at = releases(home, serving)
    at.start(second.version, Strategy.IMMEDIATE)
    for file in Path(first.bundle_uri).rglob("*.npy"):
        file.unlink()
    with pytest.raises(BundleError):
        at.rollback()
    assert (champion(home), live(serving).champion.target.version) == (str(second.version), str(second.version))


def test_a_promotion_cut_short_before_the_pointer_is_finished_by_the_same_command(home: Home, serving: Table) -> None:
    first = home.promote(*PRODUCTS)
    route_champion(home.registry, serving, str(first.version), now=1)
    candidate = home.register(*PRODUCTS, seed=2)
    at = releases(home, serving)
    at.start(candidate.version, Strategy.CANARY)
    broken = ModelRegistry(BreakingTable(open_table(home.settings, "registry")))
    with pytest.raises(TableUnavailable):
        releases(home, serving, broken).promote()
    assert champion(home) == str(first.version), "the pointer moves last"
    assert live(serving).champion.target.version == str(candidate.version)
    at.promote()
    assert champion(home) == str(candidate.version)


def test_a_route_that_cannot_be_written_moves_nothing(home: Home, serving: Table) -> None:
    first, second = two_versions(home, serving)
    home.registry.rollback(second.version)
    with pytest.raises(TableUnavailable):
        releases(home, BreakingTable(serving)).start(second.version, Strategy.IMMEDIATE)
    assert (champion(home), live(serving).champion.target.version) == (str(first.version), str(first.version))


def test_a_refused_version_goes_live_only_when_somebody_insists(home: Home, serving: Table) -> None:
    two_versions(home, serving)
    refused = home.register(*PRODUCTS, seed=3)
    home.registry.refuse(refused.version, ("NDCG fell.",))
    at = releases(home, serving)
    before = live(serving)
    for strategy in Strategy:
        with pytest.raises(ReleaseRefused, match=r"refused by the promotion rules: NDCG fell\..*--even-if-refused"):
            at.start(refused.version, strategy)
    assert live(serving) == before
    at.start(refused.version, Strategy.CANARY, even_if_refused=True)
    assert live(serving).variants[1].target.version == str(refused.version)


def test_the_command_does_the_same(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two_versions(home, home.serving)
    monkeypatch.setenv("RECSYS_HOME", str(home.settings.home))

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(cli.app, ["release", *arguments])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    assert f"{second.version} answers 20 % of shoppers beside champion {first.version}" in said(
        "start", "--share", "20"
    )
    assert "answers 50 % of shoppers" in said("share", "50")
    assert "challenger" in said("status") and "50 %" in said("status")
    assert f"before it {first.version} did" in said("promote")
    assert f"{first.version} answers everybody again" in said("rollback")
