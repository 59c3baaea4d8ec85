"""The Dagster code location ``recsys_deploy``: from a registered model to live traffic."""

from collections.abc import Mapping

import dagster as dg

from lambda_api.settings import Settings, current_settings
from recsys_assets.asset_metadata import services_of, with_metadata
from recsys_assets.ingest.assets import column_schema
from recsys_assets.resources import resources_for
from recsys_deploy.batch.assets import batch_questions, batch_recommendations, batch_recommendations_job
from recsys_deploy.batch.results import SCHEMA
from recsys_deploy.release.assets import live_route, release_candidate, set_live_route_job
from recsys_deploy.rollout.assets import canary_rollout, start_rollout_job
from recsys_deploy.sensors import batch_recommendations_sensor, registered_model_sensor, rollout_sensor


def build_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, object] | None = None
) -> dg.Definitions:
    """Assemble a fresh `Definitions`; arguments as in ``recsys_assets.definitions.build_defs``."""
    settings = settings or current_settings()
    every = {**resources_for(settings), **(resource_overrides or {})}
    services = services_of(settings, jobs=["batch_questions"])
    if settings.inference_image:
        services["batch_recommendations"] = "sagemaker"
    return dg.Definitions(
        assets=with_metadata(
            [release_candidate, live_route, canary_rollout, batch_questions, batch_recommendations],
            columns={"batch_recommendations": column_schema(SCHEMA)},
            services=services,
        ),
        jobs=[set_live_route_job, start_rollout_job, batch_recommendations_job],
        sensors=[registered_model_sensor, rollout_sensor, batch_recommendations_sensor],
        resources={role: every[role] for role in ("settings", "lake", "registry", "bundles", "serving")},
        executor=dg.in_process_executor,
    )


defs = build_defs()
