"""When work starts by itself: every day for new events, every week for new models.

Put schedules here. Keep what they start in ``jobs.py``, and reactions to something that happened in sensors.
See https://docs.dagster.io/guides/automate/schedules
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from typing import Final

import dagster as dg

from recsys_assets.data_gate import closed_gates
from recsys_assets.ingest.source import Source
from recsys_assets.jobs import ingest_interactions_job, publish_serving_data_job, retrain_models_job
from recsys_assets.lake import Lake
from recsys_assets.partitions import DAYS
from recsys_assets.tags import TRIGGER_TAG

MAX_DAYS_PER_TICK: Final = 31
"""Days one tick of the daily schedule asks for at most; a longer gap is a backfill, which a person should launch."""


def missed_days(delivered: Sequence[date], partitions: Collection[str], stored: Collection[date]) -> list[date]:
    """Days the source has, the calendar knows and the lake lacks; oldest first.

    Args:
        delivered: days the source can deliver.
        partitions: ISO days of the partition calendar.
        stored: days the lake holds in a usable state.
    """
    return [day for day in sorted(delivered) if day.isoformat() in partitions and day not in stored]


@dg.schedule(
    job=ingest_interactions_job,
    cron_schedule="30 0 * * *",
    execution_timezone="UTC",
    description="Every night, brings in every day the source has and the lake lacks or may not use.",
)
def daily_ingest_schedule(
    context: dg.ScheduleEvaluationContext, source: dg.ResourceParam[Source], lake: dg.ResourceParam[Lake]
) -> dg.SkipReason | list[dg.RunRequest]:
    now = context.scheduled_execution_time.astimezone(UTC)
    # The lake is asked, not Dagster: a run over a range marks closed days as materialised, and their drop may be late.
    unusable = {gate.subject for gate in closed_gates(lake)}
    usable = [day for day in lake.days("interactions") if day.isoformat() not in unusable]
    days = missed_days(source.days(), DAYS.get_partition_keys(current_time=now), usable)
    if not days:
        return dg.SkipReason("the lake holds every day the source has")
    yesterday = max(days)
    return [
        dg.RunRequest(
            # The tick is part of the key: a day that failed tonight is asked for again tomorrow.
            run_key=f"{day.isoformat()}@{now:%Y-%m-%dT%H:%M}",
            partition_key=day.isoformat(),
            tags={TRIGGER_TAG: "schedule" if day == yesterday else "missed_day"},
        )
        for day in days[:MAX_DAYS_PER_TICK]
    ]


@dg.schedule(
    job=publish_serving_data_job,
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
    description="Every night, an hour after the new days came in, brings what serving reads up to date.",
)
def nightly_publish_schedule(
    context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[Lake]
) -> dg.SkipReason | dg.RunRequest:
    if not lake.days("interactions"):
        return dg.SkipReason("the lake holds no interactions yet")
    now = context.scheduled_execution_time.astimezone(UTC)
    return dg.RunRequest(run_key=f"publish-{now:%Y-%m-%d}", tags={TRIGGER_TAG: "schedule"})


@dg.schedule(
    job=retrain_models_job,
    cron_schedule="0 2 * * 0",
    execution_timezone="UTC",
    description="Sunday 02:00 UTC: retrain every model on what the week brought, and promote only what is better.",
)
def weekly_retrain_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    now = context.scheduled_execution_time.astimezone(UTC)
    return dg.RunRequest(run_key=_week_key(now), tags={TRIGGER_TAG: "schedule"})


def _week_key(now: datetime) -> str:
    year, week, _ = now.isocalendar()
    return f"retrain-{year}-W{week:02d}"


SCHEDULES = (daily_ingest_schedule, nightly_publish_schedule, weekly_retrain_schedule)
