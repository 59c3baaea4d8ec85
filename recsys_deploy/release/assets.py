"""The release check and the live route as Dagster assets, with their job."""

import time

import dagster as dg
from pydantic import Field

from lambda_api.settings import Settings
from lambda_api.state.routing_record import RoutingRecord
from lambda_api.state.table import Table
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.tags import OWNERS
from recsys_deploy.release.check import check_release
from recsys_deploy.release.route import RouteRefused, Routing, route_champion

GROUP = "release"


class ReleaseConfig(dg.Config):
    """Which version to check."""

    version: str | None = Field(default=None, description="A registered version; by default the champion.")


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=[dg.AssetKey("registered_model")],
    kinds={"python"},
)
def release_candidate(
    config: ReleaseConfig,
    registry: dg.ResourceParam[ModelRegistry],
    bundles: dg.ResourceParam[BundleStore],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[None]:
    """The registered bundle, fetched from the store, verified against its checksums and answering."""
    release = check_release(registry, bundles, settings.home / "bundles", config.version)
    return dg.MaterializeResult(
        metadata={
            "version": str(release.version),
            "model": release.model,
            "bundle": dg.MetadataValue.path(str(release.folder)),
            "checksum": release.checksum,
            "products": release.products,
            "answer_to_a_new_visitor": dg.MetadataValue.md("\n".join(f"1. {name}" for name in release.cold_list)),
        },
        data_version=dg.DataVersion(release.checksum),
    )


@dg.asset(group_name=GROUP, owners=OWNERS, deps=[release_candidate], kinds={"python"})
def live_route(
    context: dg.AssetExecutionContext,
    registry: dg.ResourceParam[ModelRegistry],
    serving: dg.ResourceParam[Table],
) -> dg.MaterializeResult[None]:
    """Which version answers shoppers: the champion, once its bundle was checked; untouched while a rollout is on."""
    try:
        routing = route_champion(registry, serving, _checked_version(context), int(time.time()))
    except RouteRefused as refusal:
        raise dg.Failure(str(refusal), allow_retries=False) from refusal
    context.log.info("%s: %s", routing.move, routing.reason)
    return dg.MaterializeResult(metadata=_route_metadata(routing))


set_live_route_job = dg.define_asset_job(
    "set_live_route_job",
    selection=[release_candidate, live_route],
    description="Fetch a registered bundle, verify every checksum, have it answer, and route shoppers to the champion.",
)


def _checked_version(context: dg.AssetExecutionContext) -> str:
    """What the newest ``release_candidate`` checked: that of this run, where it took part."""
    event = context.instance.get_latest_materialization_event(release_candidate.key)
    checked = event.asset_materialization if event else None
    if checked is None:
        raise RouteRefused("no release was checked yet; materialise release_candidate, or run set_live_route_job")
    return str(checked.metadata["version"].value)


def _route_metadata(routing: Routing) -> dict[str, dg.MetadataValue]:
    metadata: dict[str, dg.MetadataValue] = {
        "move": dg.MetadataValue.text(str(routing.move)),
        "reason": dg.MetadataValue.text(routing.reason),
    }
    if routing.record is not None:
        metadata |= {
            "champion": dg.MetadataValue.text(routing.record.champion.target.version),
            "experiment": dg.MetadataValue.text(routing.record.experiment),
            "revision": dg.MetadataValue.int(routing.record.revision),
            "variants": dg.MetadataValue.md(_variants_table(routing.record)),
        }
    return metadata


def _variants_table(record: RoutingRecord) -> str:
    rows = [f"| {one.name} | {one.target.version} | {one.weight / 100:g} % |" for one in record.variants]
    rows += [f"| shadow | {record.shadow.version} | asked after the reply |"] if record.shadow else []
    return "\n".join(["| variant | version | shoppers |", "|---|---|--:|", *rows])
