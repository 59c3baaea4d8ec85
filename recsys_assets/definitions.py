"""The Dagster code location ``recsys_assets``: from raw events to a registered model."""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg

from lambda_api.settings import Settings, current_settings
from recsys_assets.evaluation import assets as evaluation_assets
from recsys_assets.features import assets as features_assets
from recsys_assets.ingest import assets as ingest_assets
from recsys_assets.jobs import JOBS
from recsys_assets.promotion import assets as promotion_assets
from recsys_assets.publishing import assets as publishing_assets
from recsys_assets.quality import assets as quality_assets
from recsys_assets.quality import checks as quality_checks
from recsys_assets.resources import resources_for
from recsys_assets.schedules import SCHEDULES
from recsys_assets.splits import assets as splits_assets
from recsys_assets.training import assets as training_assets

STAGES = (
    ingest_assets,
    quality_assets,
    features_assets,
    splits_assets,
    training_assets,
    evaluation_assets,
    promotion_assets,
    publishing_assets,
)
"""Asset modules in the order of the graph."""

FRESHNESS: Mapping[str, dg.FreshnessPolicy] = {
    "ingest": dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)),
    "quality": dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)),
    "publishing": dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)),
}
"""By group: events arrive daily, so they are late after 26 hours and have failed after 50; the data that serving reads
follow them. All other groups are weekly."""

WEEKLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8))
"""For the assets of the weekly retraining."""


def build_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, object] | None = None
) -> dg.Definitions:
    """Assemble a fresh `Definitions`.

    Args:
        settings: by default this process's own (`current_settings`).
        resource_overrides: resources by role that replace the usual ones.
    """
    resources = {**resources_for(settings or current_settings()), **(resource_overrides or {})}
    definitions = dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules([quality_checks, promotion_assets]),
        jobs=list(JOBS),
        schedules=list(SCHEDULES),
        resources=resources,
        # Two at a time: each step may hold the interaction log and a model in memory.
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
    )
    return definitions.map_asset_specs(func=_with_freshness)


def _with_freshness(spec: dg.AssetSpec) -> dg.AssetSpec:
    policy = FRESHNESS.get(spec.group_name or "", WEEKLY)
    return dg.apply_freshness_policy(spec, policy)


defs = build_defs()
