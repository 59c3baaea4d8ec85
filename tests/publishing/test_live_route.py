"""The live route: it follows the champion, both ways, and keeps its hands off whatever somebody is trying."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from lambda_api.state.routing_record import (
    RouteTarget,
    RoutingConflict,
    RoutingRecord,
    Variant,
    read_routing,
    write_routing,
)
from lambda_api.state.table import Table
from recsys_assets.registry.records import ModelVersion
from recsys_deploy.definitions import build_defs
from recsys_deploy.release import route
from recsys_deploy.release.route import Move, RouteRefused, plan_route, route_champion, target_of
from tests.publishing.shops import Home
from tests.state.tables import ADAPTERS, fake_dynamodb, open_adapter

NOW = 1_700_000_000
PRODUCTS = [f"p{number}" for number in range(30)]


@pytest.fixture(params=ADAPTERS)
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    with fake_dynamodb() as client, open_adapter(request.param, tmp_path / "table", client) as table:
        yield table


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


def route_to(home: Home, serving: Table, version: ModelVersion, now: int = NOW) -> route.Routing:
    return route_champion(home.registry, serving, str(version.version), now)


def test_the_first_champion_gets_everybody(home: Home, serving: Table) -> None:
    version = home.promote(*PRODUCTS)
    done = route_to(home, serving, version)
    assert done.move is Move.ROUTED
    record = read_routing(serving)
    assert record == done.record
    assert record is not None
    assert record.variants == (Variant("champion", target_of(version), 10_000),)
    assert (record.shadow, record.updated_at) == (None, NOW)
    target = record.champion.target
    assert (target.version, target.checksum) == (str(version.version), version.bundle_checksum)
    assert target.bundle_uri == home.bundles.uri(version.bundle_checksum)


def test_again_changes_nothing(home: Home, serving: Table) -> None:
    version = home.promote(*PRODUCTS)
    first = route_to(home, serving, version).record
    again = route_to(home, serving, version, NOW + 100)
    assert again.move is Move.ALREADY_ROUTED
    assert read_routing(serving) == first


def test_the_next_champion_keeps_experiment_and_salt(home: Home, serving: Table) -> None:
    home_version = home.promote(*PRODUCTS)
    target = target_of(home_version)
    before = RoutingRecord("summer", "salt-7", (Variant("champion", target, 10_000),), None, revision=41, updated_at=1)
    write_routing(serving, before, None)
    newer = home.promote(*PRODUCTS, seed=1)
    done = route_to(home, serving, newer)
    assert done.record == replace(
        before, variants=(Variant("champion", target_of(newer), 10_000),), revision=42, updated_at=NOW
    )
    assert read_routing(serving) == done.record


def test_a_rollback_in_the_registry_takes_the_route_back(home: Home, serving: Table) -> None:
    old, new = home.promote(*PRODUCTS), home.promote(*PRODUCTS, seed=1)
    route_to(home, serving, new)
    home.registry.rollback(new.version)
    assert route_to(home, serving, new).move is Move.SUPERSEDED
    assert route_to(home, serving, old).move is Move.ROUTED
    record = read_routing(serving)
    assert record is not None and record.champion.target == target_of(old)


@pytest.mark.parametrize("beside", ["challenger", "shadow"])
def test_a_rollout_in_progress_is_left_alone(home: Home, serving: Table, beside: str) -> None:
    old = home.promote(*PRODUCTS)
    other = RouteTarget("v9.0.0", "models/x", "c" * 64)
    variants = (Variant("champion", target_of(old), 9_000), Variant("challenger", other, 1_000))
    if beside == "shadow":
        variants = (Variant("champion", target_of(old), 10_000),)
    trying = RoutingRecord("canary", "s", variants, other if beside == "shadow" else None, revision=3, updated_at=1)
    write_routing(serving, trying, None)
    assert route_to(home, serving, old).move is Move.ALREADY_ROUTED
    new = home.promote(*PRODUCTS, seed=1)
    with pytest.raises(RouteRefused, match=rf"{beside} v9\.0\.0 beside champion .* end or roll back the rollout first"):
        route_to(home, serving, new)
    assert read_routing(serving) == trying


def test_the_endpoint_of_the_same_version_is_not_taken_away(home: Home) -> None:
    target = target_of(home.promote(*PRODUCTS))
    served = replace(target, endpoint="recsys-v1")
    record = RoutingRecord("e", "s", (Variant("champion", served, 10_000),), None, revision=1, updated_at=1)
    assert plan_route(record, target, NOW) is None
    moved = plan_route(record, replace(target, bundle_uri="s3://elsewhere"), NOW)
    assert moved is not None
    assert moved.champion.target == replace(served, bundle_uri="s3://elsewhere")


def test_who_writes_in_between_is_seen(home: Home, serving: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    version = home.promote(*PRODUCTS)
    write = route.write_routing
    other = RouteTarget("v9.0.0", "models/x", "c" * 64)
    shadowed = RoutingRecord("e", "s", (Variant("champion", other, 10_000),), other, revision=1, updated_at=1)

    def overtaken(table: Table, record: RoutingRecord, expected: int | None) -> None:
        monkeypatch.setattr(route, "write_routing", write)
        write(table, shadowed, None)
        write(table, record, expected)

    monkeypatch.setattr(route, "write_routing", overtaken)
    with pytest.raises(RouteRefused, match="rollout is in progress"):
        route_to(home, serving, version)
    assert read_routing(serving) == shadowed


def test_endless_rewriting_is_an_error_and_not_a_loop(
    home: Home, serving: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = home.promote(*PRODUCTS)

    def conflict(*_: object) -> None:
        raise RoutingConflict("taken")

    monkeypatch.setattr(route, "write_routing", conflict)
    with pytest.raises(RouteRefused, match="rewritten"):
        route_to(home, serving, version)


def run_job(home: Home, instance: dg.DagsterInstance, version: str | None = None) -> dg.ExecuteInProcessResult:
    config = {"ops": {"release_candidate": {"config": {"version": version}}}} if version else {}
    return (
        build_defs(home.settings)
        .resolve_job_def("set_live_route_job")
        .execute_in_process(run_config=config, instance=instance, raise_on_error=False)
    )


def test_the_job_checks_then_routes_and_a_rollback_followed_by_the_job_routes_back(home: Home) -> None:
    old = home.promote(*PRODUCTS)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_job(home, instance).success
        new = home.promote(*PRODUCTS, seed=1)
        assert run_job(home, instance, str(new.version)).success
        record = read_routing(home.serving)
        assert record is not None and record.champion.target == target_of(new)
        home.registry.rollback(new.version)
        assert run_job(home, instance).success
        record = read_routing(home.serving)
        assert record is not None and record.champion.target == target_of(old)
        # A late run for the version that is not champion any more moves nothing.
        late = run_job(home, instance, str(new.version))
        assert late.success and read_routing(home.serving) == record
        (said,) = [
            e.materialization
            for e in late.get_asset_materialization_events()
            if e.asset_key == dg.AssetKey("live_route")
        ]
        assert said.metadata["move"].value == "superseded"


def test_a_damaged_bundle_never_gets_traffic(home: Home) -> None:
    old = home.promote(*PRODUCTS)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_job(home, instance).success
        new = home.promote(*PRODUCTS, seed=1)
        (Path(new.bundle_uri) / "popularity.npy").write_bytes(b"garbage")
        assert not run_job(home, instance).success
    record = read_routing(home.serving)
    assert record is not None and record.champion.target == target_of(old)


def test_without_a_champion_the_job_says_so(home: Home) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_job(home, instance)
    assert not result.success
    assert read_routing(home.serving) is None
