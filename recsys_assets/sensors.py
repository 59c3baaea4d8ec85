"""Sensors of this code location: ``drift_sensor`` starts trainings when the reports ask for them.

A sensor cannot launch jobs of another location, so it is defined beside the job that it starts.
"""

import json
from datetime import UTC, date, datetime
from itertools import takewhile
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.jobs import retrain_models_job
from recsys_assets.lake import Lake
from recsys_assets.monitoring.drift import stored_evidence
from recsys_assets.monitoring.retraining import Decision, TrainingHistory, decide_training
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import Status
from recsys_assets.tags import TRIGGER_TAG

DECISIONS_TABLE = "retraining_decisions"
"""Lake table, by day: the last decision of the day."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dg.sensor(
    job=retrain_models_job,
    minimum_interval_seconds=3_600,
    description="Starts a training after an alarm of drift_report (concept, twin, or two families in 7 days), again "
    "7, 14 and 21 days later, at the latest 28 days after the last one, and less often after refusals.",
)
def drift_sensor(
    context: dg.SensorEvaluationContext, lake: dg.ResourceParam[Lake], registry: dg.ResourceParam[ModelRegistry]
) -> dg.SensorResult:
    """One decision per look; equal decisions have equal run keys, so two looks start one training."""
    today = datetime.now(UTC).date()
    running = context.instance.get_runs_count(dg.RunsFilter(job_name=retrain_models_job.name, statuses=UNFINISHED)) > 0
    decision = decide_training(today, stored_evidence(lake, today), history_of(registry, context.cursor, running))
    record(lake, decision)
    cursor = _cursor(decision.episode.isoformat() if decision.episode else None, decision.started)
    if not decision.start:
        return dg.SensorResult(skip_reason=decision.reason, cursor=cursor)
    tags = {TRIGGER_TAG: decision.cause, "recsys/reason": decision.reason[:200]}
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=decision.run_key, tags=tags)], cursor=cursor)


def history_of(registry: ModelRegistry, cursor: str | None, running: bool) -> TrainingHistory:
    """The history of trainings: versions from the registry, the open episode from the sensor's cursor."""
    versions = sorted(registry.list_versions(), key=lambda version: version.created_at, reverse=True)
    refusals = sum(1 for _ in takewhile(lambda version: version.status is Status.REFUSED, versions))
    stored: dict[str, Any] = json.loads(cursor) if cursor else {}
    episode = stored.get("episode")
    return TrainingHistory(
        last=versions[0].created_at.astimezone(UTC).date() if versions else None,
        refusals=refusals,
        running=running,
        episode=date.fromisoformat(episode) if episode else None,
        started=int(stored.get("started", 0)),
    )


def recorded_cursor(lake: Lake) -> str | None:
    """The open episode as `record` kept it: in place of a sensor's cursor where there is no daemon."""
    day = max(lake.days(DECISIONS_TABLE), default=None)
    if day is None:
        return None
    (row,) = lake.read_day(DECISIONS_TABLE, day).to_pylist()
    return _cursor(row["episode"], row["started"])


def _cursor(episode: str | None, started: int) -> str:
    return json.dumps({"episode": episode, "started": started})


def record(lake: Lake, decision: Decision) -> None:
    """Keep the decision of the day in the lake."""
    columns = {
        "start": pa.array([decision.start], pa.bool_()),
        "cause": pa.array([decision.cause], pa.string()),
        "reason": pa.array([decision.reason], pa.string()),
        "episode": pa.array([decision.episode and decision.episode.isoformat()], pa.string()),
        "started": pa.array([decision.started], pa.int64()),
    }
    lake.write_day(DECISIONS_TABLE, decision.day, pa.table(columns))


SENSORS = (drift_sensor,)
