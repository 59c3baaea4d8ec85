"""The release check as an asset, with its job.

Put only the adapting to Dagster here; the check itself is in ``check.py``.
"""

import dagster as dg
from pydantic import Field

from lambda_api.settings import Settings
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy.release.check import check_release


class ReleaseConfig(dg.Config):
    """Which version to check."""

    version: str | None = Field(default=None, description="A registered version; by default the champion.")


@dg.asset(
    group_name="release",
    owners=["team:recsys"],
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


check_release_job = dg.define_asset_job(
    "check_release_job",
    selection=[release_candidate],
    description="Fetch a registered bundle, verify every checksum, and have it answer.",
)
