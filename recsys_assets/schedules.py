"""Schedules: every night new events, serving data and reports, every week new models."""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import dagster as dg

from lambda_api.settings import Settings
from recsys_assets.data_gate import closed_gates
from recsys_assets.event_stream import events_root
from recsys_assets.ingest.live_events import stale_days
from recsys_assets.ingest.served import days_to_make
from recsys_assets.ingest.source import Source
from recsys_assets.jobs import (
    collect_served_lists_job,
    ingest_interactions_job,
    monitor_shop_job,
    publish_serving_data_job,
    retrain_models_job,
)
from recsys_assets.lake import Lake
from recsys_assets.partitions import DAYS
from recsys_assets.tags import TRIGGER_TAG

MAX_DAYS_PER_TICK: Final = 31
"""Most days that one tick of the daily schedule requests; a longer gap is a backfill for a person to launch."""


def missed_days(delivered: Sequence[date], partitions: Collection[str], stored: Collection[date]) -> list[date]:
    """Days that the source has and the calendar contains but the lake lacks; oldest first.

    Args:
        delivered: days of the source.
        partitions: ISO days of the partition calendar.
        stored: days in the lake whose data may be used.
    """
    return [day for day in sorted(delivered) if day.isoformat() in partitions and day not in stored]


@dg.schedule(
    job=ingest_interactions_job,
    cron_schedule="30 0 * * *",
    execution_timezone="UTC",
    description="Every night: ingests the days that the source has and the lake lacks or may not use, and days with "
    "events that arrived since.",
)
def daily_ingest_schedule(
    context: dg.ScheduleEvaluationContext, source: dg.ResourceParam[Source], lake: dg.ResourceParam[Lake]
) -> dg.SkipReason | list[dg.RunRequest]:
    now = context.scheduled_execution_time.astimezone(UTC)
    # The lake is asked, not Dagster: a run over a range marks refused days as materialised, and their file may be late.
    unusable = {gate.subject for gate in closed_gates(lake)}
    usable = [day for day in lake.days("interactions") if day.isoformat() not in unusable]
    partitions = DAYS.get_partition_keys(current_time=now)
    days = missed_days(source.days(), partitions, usable)
    late = [day for day in stale_days(source, lake) if day.isoformat() in partitions]
    days = sorted({*days, *late})
    if not days:
        return dg.SkipReason("the lake has every day of the source")
    yesterday = max(days)
    return [
        dg.RunRequest(
            # The tick is part of the key: a day that failed tonight is requested again tomorrow.
            run_key=f"{day.isoformat()}@{now:%Y-%m-%dT%H:%M}",
            partition_key=day.isoformat(),
            tags={TRIGGER_TAG: "schedule" if day == yesterday else "missed_day"},
        )
        for day in days[:MAX_DAYS_PER_TICK]
    ]


@dg.schedule(
    job=collect_served_lists_job,
    cron_schedule="45 0 * * *",
    execution_timezone="UTC",
    description="Every night: makes the daily tables of lists shown and their outcomes, again after late feedback.",
)
def daily_served_lists_schedule(
    context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.SkipReason | list[dg.RunRequest]:
    now = context.scheduled_execution_time.astimezone(UTC)
    partitions = set(DAYS.get_partition_keys(current_time=now))
    days = [day for day in days_to_make(events_root(settings), lake) if day.isoformat() in partitions]
    if not days:
        return dg.SkipReason("every list shown and every answer to it is in the tables")
    return [
        dg.RunRequest(run_key=f"served-{day}@{now:%Y-%m-%dT%H:%M}", partition_key=day.isoformat())
        for day in days[:MAX_DAYS_PER_TICK]
    ]


@dg.schedule(
    job=publish_serving_data_job,
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
    description="Every night, an hour after the ingestion: updates the data that serving reads.",
)
def nightly_publish_schedule(
    context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[Lake]
) -> dg.SkipReason | dg.RunRequest:
    if not lake.days("interactions"):
        return dg.SkipReason("the lake holds no interactions yet")
    now = context.scheduled_execution_time.astimezone(UTC)
    return dg.RunRequest(run_key=f"publish-{now:%Y-%m-%d}", tags={TRIGGER_TAG: "schedule"})


@dg.schedule(
    job=monitor_shop_job,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    description="Every night, the reports on yesterday: data quality, drift, business figures.",
)
def nightly_monitor_schedule(
    context: dg.ScheduleEvaluationContext, lake: dg.ResourceParam[Lake]
) -> dg.SkipReason | dg.RunRequest:
    now = context.scheduled_execution_time.astimezone(UTC)
    yesterday = (now - timedelta(days=1)).date()
    if not lake.days("interactions"):
        return dg.SkipReason("the lake holds no interactions yet")
    return dg.RunRequest(
        run_key=f"monitor-{yesterday}", partition_key=yesterday.isoformat(), tags={TRIGGER_TAG: "schedule"}
    )


@dg.schedule(
    job=retrain_models_job,
    cron_schedule="0 2 * * 0",
    execution_timezone="UTC",
    description="Sunday 02:00 UTC: retrains every model with the new week and promotes only a better one.",
)
def weekly_retrain_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    now = context.scheduled_execution_time.astimezone(UTC)
    return dg.RunRequest(run_key=_week_key(now), tags={TRIGGER_TAG: "schedule"})


def _week_key(now: datetime) -> str:
    year, week, _ = now.isocalendar()
    return f"retrain-{year}-W{week:02d}"


SCHEDULES = (
    daily_ingest_schedule,
    daily_served_lists_schedule,
    nightly_publish_schedule,
    nightly_monitor_schedule,
    weekly_retrain_schedule,
)
