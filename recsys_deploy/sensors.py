"""Sensors of the deployment location, which react to events of ``recsys_assets``.

A sensor cannot launch jobs of another location, so it is defined beside the job that it starts.
"""

import dagster as dg

from recsys_deploy.release.assets import set_live_route_job

REGISTERED_MODEL = dg.AssetKey("registered_model")
"""By key: the sensor observes the other location through the shared event log."""


@dg.sensor(
    job=set_live_route_job,
    minimum_interval_seconds=60,
    description="When a version is promoted, checks its bundle in the store and routes shoppers to it.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def registered_model_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Request one release per materialisation of ``registered_model`` that promoted a version.

    The cursor is the storage id of the newest event seen; the run key contains the version, so nothing is repeated.
    """
    after = int(context.cursor) if context.cursor else None
    fetched = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=REGISTERED_MODEL, after_storage_id=after), limit=25, ascending=True
    )
    if not fetched.records:
        return dg.SensorResult(skip_reason="no model was registered since the last look")
    requests = []
    for record in fetched.records:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        if metadata.get("promoted") is None or not metadata["promoted"].value:
            continue
        version = str(metadata["version"].value)
        requests.append(
            dg.RunRequest(
                run_key=f"registered:{version}:{record.storage_id}",
                run_config=dg.RunConfig(ops={"release_candidate": {"config": {"version": version}}}),
                tags={"recsys/version": version},
            )
        )
    cursor = str(fetched.records[-1].storage_id)
    if not requests:
        return dg.SensorResult(skip_reason="the newest registration was refused; the champion stays", cursor=cursor)
    return dg.SensorResult(run_requests=requests, cursor=cursor)
