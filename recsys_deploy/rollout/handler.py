"""The Lambda function behind the state machine: one event in, the answer of one step out.

On AWS Lambda calls `handle`; a laptop's interpreter calls `dispatch` with the same events.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from lambda_api.settings import current_settings
from lambda_api.state.open_table import open_table
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy.experiments.stream_tables import open_stream_tables
from recsys_deploy.rollout.evidence import CloudWatchAlarms, LocalAlarms, StreamEvidence, concerns
from recsys_deploy.rollout.plan import usual_plan
from recsys_deploy.rollout.record import Look, RolloutRecord, current_rollout, running_rollout
from recsys_deploy.rollout.steps import Rollouts

ENDED_OUTSIDE: Final = frozenset({"FAILED", "TIMED_OUT", "ABORTED"})


def dispatch(rollouts: Rollouts, event: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out the step that an event names.

    Events are those of ``rollout.asl.json``, and two notices of EventBridge: that an execution has ended (one that was
    stopped or timed out runs no state any more, so what it left is taken back from here), and that a trigger alarm
    sounds, which does not wait for the next look.

    Raises:
        ValueError: an event of another form.
    """
    if event.get("source") == "aws.states":
        detail = event["detail"]
        if detail["status"] not in ENDED_OUTSIDE:
            return {"status": "ignored"}
        return rollouts.take_back(detail["name"], f"the execution ended as {detail['status']}")
    if event.get("source") == "aws.cloudwatch":
        record, alarm = running_rollout(rollouts.serving), event["detail"]["alarmName"]
        if record is None or not concerns(alarm, record):
            return {"status": "ignored"}
        return rollouts.take_back(record.id, f"alarm {alarm}: {event['detail']['state']['reason']}")
    rollout_id = event["rollout_id"]
    match event.get("step"):
        case "begin":
            given = event["input"]
            return rollouts.begin(rollout_id, given["version"], given.get("plan"))
        case "enter":
            return rollouts.enter(rollout_id)
        case "judge":
            return rollouts.look(rollout_id)
        case "ask":
            return rollouts.ask(rollout_id, event["token"])
        case "promote":
            return rollouts.promote(rollout_id)
        case "finish":
            return rollouts.finish(rollout_id)
        case "take_back":
            said = [str(event[name]) for name in ("error", "cause") if event.get(name)]
            return rollouts.take_back(rollout_id, ": ".join(said))
    raise ValueError(f"unknown step {event.get('step')!r}")


def handle(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Entry point of the deployed function; a look writes its figures for the dashboard to the log."""
    rollouts = _deployed()
    answer = dispatch(rollouts, event)
    record = current_rollout(rollouts.serving) if event.get("step") == "judge" else None
    if record is not None and record.looks:
        print(json.dumps(metrics_of(record, record.looks[-1])))
    return answer


def metrics_of(record: RolloutRecord, look: Look) -> dict[str, Any]:
    """A look in CloudWatch's embedded metric format: shoppers of its stage, lift and its interval, all in per cent."""
    share = next((stage.weight / 100 for stage in record.plan.stages if stage.name == look.stage), 0.0)
    values = {"RolloutShare": share}
    if (conversions := look.figures.get("conversions")) is not None:
        values |= {name: 100 * at for name, at in zip(("Lift", "LiftLow", "LiftHigh"), conversions, strict=False)}
    declared = {"Namespace": "Recsys", "Dimensions": [["service"]], "Metrics": [{"Name": name} for name in values]}
    header = {"Timestamp": int(1000 * look.at), "CloudWatchMetrics": [declared]}
    return {"_aws": header, "service": "rollout", "version": record.version, **values}


@lru_cache(maxsize=1)
def _deployed() -> Rollouts:
    import boto3

    settings = current_settings()
    local = settings.target == "local"
    alarms = LocalAlarms() if local else CloudWatchAlarms(boto3.client("cloudwatch"), settings.table_prefix)

    def tell(subject: str, text: str) -> None:
        if settings.topic_arn:
            boto3.client("sns").publish(TopicArn=settings.topic_arn, Subject=subject[:100], Message=text)

    return Rollouts(
        ModelRegistry(open_table(settings, "registry")),
        BundleStore(settings.models_uri),
        open_table(settings, "serving"),
        Path("/tmp/bundles"),
        StreamEvidence(open_stream_tables(settings), alarms),
        usual_plan(settings),
        tell,
    )
