"""The jobs of this code location, started by name by people and schedules."""

import dagster as dg

INGESTION: dg.AssetSelection = dg.AssetSelection.groups("ingest", "quality")
"""From the source to validated interactions; partitioned by day."""

MODELLING: dg.AssetSelection = dg.AssetSelection.groups("features", "splits", "training", "evaluation", "registry")
"""From validated interactions to a registered model; not partitioned."""

MONITORING: dg.AssetSelection = dg.AssetSelection.groups("monitoring")
"""Reports on data, models and business; partitioned by day."""

PUBLISHING: dg.AssetSelection = dg.AssetSelection.groups("publishing")
"""From validated interactions to the data that serving reads; not partitioned, cheap enough for every night."""

SERVED: dg.AssetSelection = dg.AssetSelection.groups("served")
"""From the event stream to the tables of lists shown and their outcomes; partitioned by day."""

ingest_interactions_job = dg.define_asset_job(
    "ingest_interactions_job",
    selection=INGESTION,
    description="Ingest days of events, check them and store the valid rows. Launch it for one day or a range of days.",
)

retrain_models_job = dg.define_asset_job(
    "retrain_models_job",
    selection=MODELLING,
    description="Features, splits, all models, their evaluation, and the promotion of a better one.",
)

publish_serving_data_job = dg.define_asset_job(
    "publish_serving_data_job",
    selection=PUBLISHING,
    description="Update what serving reads: catalogue, popular products, histories, the shop page's data.",
)

monitor_shop_job = dg.define_asset_job(
    "monitor_shop_job", selection=MONITORING, description="Reports of one day: data quality, drift, business figures."
)

build_recommender_job = dg.define_asset_job(
    "build_recommender_job",
    selection=INGESTION | MODELLING | PUBLISHING,
    description="The whole graph in one run over a range of days: from the source to a registered model and the data "
    "that serving reads.",
)

collect_served_lists_job = dg.define_asset_job(
    "collect_served_lists_job",
    selection=SERVED,
    description="The lists that shoppers were shown and what followed from them, for one day or a range of days.",
)

JOBS = (
    ingest_interactions_job,
    retrain_models_job,
    publish_serving_data_job,
    monitor_shop_job,
    build_recommender_job,
    collect_served_lists_job,
)
