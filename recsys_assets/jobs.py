"""The jobs of this code location.

Put a job here when a person or a schedule starts it by name. Keep the decision when to start it in ``schedules.py``.
See https://docs.dagster.io/guides/build/jobs/asset-jobs
"""

import dagster as dg

INGESTION: dg.AssetSelection = dg.AssetSelection.groups("ingest", "quality")
"""From the source to validated interactions; partitioned by day."""

MODELLING: dg.AssetSelection = dg.AssetSelection.groups("features", "splits", "training", "evaluation", "registry")
"""From validated interactions to a registered model; whole."""

PUBLISHING: dg.AssetSelection = dg.AssetSelection.groups("publishing")
"""From validated interactions to what serving reads; whole, and cheap enough for every night."""

ingest_interactions_job = dg.define_asset_job(
    "ingest_interactions_job",
    selection=INGESTION,
    description="Bring in days of events, check them, and keep what passes. Launch it for one day or a range of days.",
)

retrain_models_job = dg.define_asset_job(
    "retrain_models_job",
    selection=MODELLING,
    description="Features, splits, every model, the comparison, and the gate in front of the champion.",
)

publish_serving_data_job = dg.define_asset_job(
    "publish_serving_data_job",
    selection=PUBLISHING,
    description="Bring what serving reads up to date: catalogue, popular products, histories, the shop page's data.",
)

build_recommender_job = dg.define_asset_job(
    "build_recommender_job",
    selection=INGESTION | MODELLING | PUBLISHING,
    description="The whole graph in one run, from the source to a registered model and all that serving reads, over a "
    "range of days.",
)

JOBS = (ingest_interactions_job, retrain_models_job, publish_serving_data_job, build_recommender_job)
