"""The Dagster code location ``recsys_assets``: from raw events to a registered model."""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg

from lambda_api.settings import Settings, current_settings
from recsys_assets.asset_metadata import services_of, with_metadata
from recsys_assets.evaluation import assets as evaluation_assets
from recsys_assets.features import assets as features_assets
from recsys_assets.features.columns import FEATURE_COLUMNS
from recsys_assets.ingest import assets as ingest_assets
from recsys_assets.ingest import served_assets
from recsys_assets.ingest.served import LIST_OUTCOMES, SERVED_LISTS
from recsys_assets.jobs import JOBS
from recsys_assets.monitoring import assets as monitoring_assets
from recsys_assets.promotion import assets as promotion_assets
from recsys_assets.publishing import assets as publishing_assets
from recsys_assets.quality import assets as quality_assets
from recsys_assets.quality import checks as quality_checks
from recsys_assets.resources import resources_for
from recsys_assets.schedules import SCHEDULES
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS
from recsys_assets.sensors import SENSORS
from recsys_assets.splits import assets as splits_assets
from recsys_assets.training import assets as training_assets

STAGES = (
    ingest_assets,
    served_assets,
    quality_assets,
    features_assets,
    splits_assets,
    training_assets,
    evaluation_assets,
    promotion_assets,
    monitoring_assets,
    publishing_assets,
)
"""Asset modules in the order of the graph."""

DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26))
"""Events arrive daily, so they are late after 26 hours; the data that serving reads follow them."""

WEEKLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8))
"""For the assets of the weekly retraining."""

FRESHNESS: Mapping[str, dg.FreshnessPolicy] = {
    **dict.fromkeys(("ingest", "served", "quality", "monitoring", "publishing"), DAILY),
    **dict.fromkeys(("features", "splits", "training", "evaluation", "registry"), WEEKLY),
}

COLUMNS: Mapping[str, dg.TableSchema] = {
    **{
        name: ingest_assets.column_schema(schema)
        for name, schema in {
            "products": PRODUCTS.schema,
            "users": USERS.schema,
            "raw_interactions": INTERACTIONS.schema,
            "interactions": INTERACTIONS.schema,
            "served_lists": SERVED_LISTS,
            "list_outcomes": LIST_OUTCOMES,
            "temporal_splits": splits_assets.SPLITS_SCHEMA,
        }.items()
    },
    **{name: features_assets.column_schema(columns) for name, columns in FEATURE_COLUMNS.items()},
}
"""Columns of the tables, by asset."""

JOBS_ON_SAGEMAKER = ("ncf_model", "hybrid_model", "refitted_model")


def build_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, object] | None = None
) -> dg.Definitions:
    """Assemble a fresh `Definitions`.

    Args:
        settings: by default this process's own (`current_settings`).
        resource_overrides: resources by role that replace the usual ones.
    """
    settings = settings or current_settings()
    resources = {**resources_for(settings), **(resource_overrides or {})}
    left_out = {f"{name}_model" for name in set(training_assets.MODEL_NAMES) - set(training_assets.models_of(settings))}
    loaded = dg.load_assets_from_modules(STAGES, include_specs=True)
    assets = with_metadata(
        [one for one in loaded if not (isinstance(one, dg.AssetsDefinition) and one.key.to_user_string() in left_out)],
        freshness=FRESHNESS,
        columns=COLUMNS,
        services=services_of(settings, jobs=JOBS_ON_SAGEMAKER, features=list(FEATURE_COLUMNS)),
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=dg.load_asset_checks_from_modules([quality_checks, promotion_assets]),
        jobs=list(JOBS),
        schedules=list(SCHEDULES),
        sensors=list(SENSORS),
        resources=resources,
        # Two at a time: each step may hold the interaction log and a model in memory.
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
    )


defs = build_defs()
