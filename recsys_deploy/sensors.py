"""Sensors of the deployment location, which react to events of ``recsys_assets``.

A sensor cannot launch jobs of another location, so it is defined beside the job that it starts.
"""

import dagster as dg

from lambda_api.settings import Settings
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Table
from recsys_deploy.batch.assets import batch_recommendations
from recsys_deploy.release.assets import set_live_route_job
from recsys_deploy.rollout.assets import materialisation, start_rollout_job
from recsys_deploy.rollout.commands import detached
from recsys_deploy.rollout.record import current_rollout, running_rollout
from recsys_deploy.rollout.runner import is_run_by_somebody

TO_BE_ROLLED_OUT = "to be rolled out"
"""Decision in the metadata of ``registered_model`` that starts a rollout."""

REGISTERED_MODEL = dg.AssetKey("registered_model")
"""By key: the sensor observes the other location through the shared event log."""


@dg.sensor(
    job=set_live_route_job,
    minimum_interval_seconds=60,
    description="When a version is promoted, checks its bundle in the store and routes shoppers to it.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def registered_model_sensor(context: dg.SensorEvaluationContext, serving: dg.ResourceParam[Table]) -> dg.SensorResult:
    """Request one release per materialisation of ``registered_model`` that promoted a version.

    A version that shoppers are routed to already is left alone: `recsys run` releases what it promotes. The cursor is
    the storage id of the newest event seen; the run key contains the version, so nothing is repeated.
    """
    after = int(context.cursor) if context.cursor else None
    fetched = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=REGISTERED_MODEL, after_storage_id=after), limit=25, ascending=True
    )
    if not fetched.records:
        return dg.SensorResult(skip_reason="no model was registered since the last look")
    route = read_routing(serving)
    live = {variant.target.version for variant in route.variants} if route else set()
    requests = []
    for record in fetched.records:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        promoted = metadata.get("promoted")
        if promoted is None or not promoted.value or str(metadata["version"].value) in live:
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
        return dg.SensorResult(skip_reason="the newest registration was refused, or is live already", cursor=cursor)
    return dg.SensorResult(run_requests=requests, cursor=cursor)


@dg.sensor(
    job=start_rollout_job,
    minimum_interval_seconds=60,
    description="With the setting rollout on: starts the rollout of a registered challenger; shows how it goes on.",
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def rollout_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], serving: dg.ResourceParam[Table]
) -> dg.SensorResult:
    """Starts one rollout for the newest challenger, reports every change of it, and revives one whose process ended.

    A challenger waits while a rollout runs that has met shoppers; it replaces one that has met nobody. The cursor holds
    the storage id of the newest registration that was dealt with, and the revision of the rollout last reported.
    """
    if settings.rollout == "off":
        return dg.SensorResult(skip_reason="the setting rollout is off: a new champion is routed to at once")
    handled, reported = (int(part) for part in (context.cursor or "0:0").split(":"))
    events = []
    record = current_rollout(serving)
    if record is not None and record.revision != reported:
        events.append(materialisation(record))
        reported = record.revision
    running = running_rollout(serving)
    if running is not None and not settings.rollout_machine_arn and not is_run_by_somebody(settings.home):
        context.log.info("the process of %s has ended; it goes on in process %d", running.id, detached(settings))
    newest = context.instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=REGISTERED_MODEL), limit=1).records
    waiting = [one for one in newest if one.storage_id > handled]
    if not waiting:
        return _looked("no challenger was registered since", handled, reported, events)
    (registration,) = waiting
    metadata = registration.asset_materialization.metadata if registration.asset_materialization else {}
    decision = metadata.get("decision")
    if decision is None or decision.value != TO_BE_ROLLED_OUT:
        return _looked("the newest registration needs no rollout", registration.storage_id, reported, events)
    if running is not None and running.has_met_shoppers:
        reason = f"{running.version} is being rolled out; the newer challenger waits"
        return _looked(reason, handled, reported, events)
    version = str(metadata["version"].value)
    request = dg.RunRequest(
        run_key=f"rollout:{version}:{registration.storage_id}",
        run_config=dg.RunConfig(ops={"canary_rollout": {"config": {"version": version}}}),
        tags={"recsys/version": version},
    )
    cursor = f"{registration.storage_id}:{reported}"
    return dg.SensorResult(run_requests=[request], cursor=cursor, asset_events=events)


def _looked(reason: str, handled: int, reported: int, events: list[dg.AssetMaterialization]) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=f"{handled}:{reported}", asset_events=events)


batch_recommendations_sensor = dg.AutomationConditionSensorDefinition(
    "batch_recommendations_sensor",
    target=[batch_recommendations],
    minimum_interval_seconds=60,
    description="When another version goes live or new questions are written, renews the list of every shopper.",
)
