"""What starts by itself: the daily schedule finds missed days, the weekly one retrains, the sensor sees promotions."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import ClassVar

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.settings import make_settings
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import WHOLE, RouteTarget, RoutingRecord, Variant, write_routing
from lambda_api.state.table import Table
from recsys_assets.data_gate import mark_waiting
from recsys_assets.definitions import build_defs
from recsys_assets.ingest.source import DayOfEvents
from recsys_assets.lake import Lake
from recsys_assets.schedules import (
    MAX_DAYS_PER_TICK,
    daily_ingest_schedule,
    missed_days,
    nightly_publish_schedule,
    weekly_retrain_schedule,
)
from recsys_deploy.definitions import build_defs as build_deploy_defs
from recsys_deploy.sensors import registered_model_sensor

DAY_LISTS = st.lists(st.dates(date(2011, 1, 1), date(2011, 3, 1)), unique=True)


class CalendarSource:
    """A source that only knows which days it has."""

    name: ClassVar[str] = "calendar"

    def __init__(self, days: Sequence[date]) -> None:
        self._days = sorted(days)

    def days(self) -> list[date]:
        return self._days

    def read_day(self, day: date) -> DayOfEvents:
        raise AssertionError("a schedule must not read events")

    def products(self) -> pa.Table:
        raise AssertionError("a schedule must not read the catalogue")

    def users(self) -> pa.Table:
        raise AssertionError("a schedule must not read users")


@given(delivered=DAY_LISTS, calendar=DAY_LISTS, stored=DAY_LISTS)
def test_missed_days_are_those_delivered_on_the_calendar_and_not_stored(
    delivered: list[date], calendar: list[date], stored: list[date]
) -> None:
    found = missed_days(delivered, {day.isoformat() for day in calendar}, set(stored))
    assert found == sorted(found)
    assert set(found) == (set(delivered) & set(calendar)) - set(stored)


def daily_requests(delivered: Sequence[date], lake: Lake, tick: datetime) -> list[dg.RunRequest]:
    context = dg.build_schedule_context(
        scheduled_execution_time=tick, resources={"source": CalendarSource(delivered), "lake": lake}
    )
    answer = daily_ingest_schedule(context)
    return answer if isinstance(answer, list) else []


def test_a_new_day_brings_in_that_day_only_and_missed_days_come_first(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    days = [date(2011, 1, 3), date(2011, 1, 4), date(2011, 1, 6), date(2011, 1, 7)]
    for day in (days[0], days[2]):
        lake.write_day("interactions", day, pa.table({"user_id": ["a"]}))
    requests = daily_requests(days, lake, datetime(2011, 1, 8, 0, 30, tzinfo=UTC))
    assert [request.partition_key for request in requests] == ["2011-01-04", "2011-01-07"]
    assert [request.tags["recsys/trigger"] for request in requests] == ["missed_day", "schedule"]


def test_the_daily_schedule_rests_when_nothing_is_missing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.write_day("interactions", date(2011, 1, 3), pa.table({"user_id": ["a"]}))
    assert daily_requests([date(2011, 1, 3)], lake, datetime(2011, 1, 4, 0, 30, tzinfo=UTC)) == []


def test_a_stored_day_that_may_not_be_used_is_asked_for_again(tmp_path: Path) -> None:
    lake, day = Lake(str(tmp_path)), date(2011, 1, 3)
    lake.write_day("interactions", day, pa.table({"user_id": ["a"]}))
    tick = datetime(2011, 1, 4, 0, 30, tzinfo=UTC)
    assert daily_requests([day], lake, tick) == []
    mark_waiting(lake, day)
    assert [request.partition_key for request in daily_requests([day], lake, tick)] == ["2011-01-03"]


def test_today_is_not_asked_for_before_it_is_over(tmp_path: Path) -> None:
    today = date(2011, 1, 8)
    assert daily_requests([today], Lake(str(tmp_path)), datetime(2011, 1, 8, 0, 30, tzinfo=UTC)) == []


def test_a_failed_day_is_asked_for_again_the_next_night(tmp_path: Path) -> None:
    lake, days = Lake(str(tmp_path)), [date(2011, 1, 3)]
    first = daily_requests(days, lake, datetime(2011, 1, 4, 0, 30, tzinfo=UTC))[0]
    second = daily_requests(days, lake, datetime(2011, 1, 5, 0, 30, tzinfo=UTC))[0]
    assert first.partition_key == second.partition_key
    assert first.run_key != second.run_key


def test_a_long_gap_is_taken_in_bounded_steps(tmp_path: Path) -> None:
    days = [date.fromordinal(date(2011, 1, 1).toordinal() + offset) for offset in range(60)]
    requests = daily_requests(days, Lake(str(tmp_path)), datetime(2011, 6, 1, 0, 30, tzinfo=UTC))
    assert [request.partition_key for request in requests] == [day.isoformat() for day in days[:MAX_DAYS_PER_TICK]]


def test_the_weekly_schedule_is_sunday_two_o_clock_utc_once_a_week() -> None:
    assert weekly_retrain_schedule.cron_schedule == "0 2 * * 0"
    assert weekly_retrain_schedule.execution_timezone == "UTC"
    keys = []
    for day in (4, 4, 11):
        tick = datetime(2026, 1, day, 2, tzinfo=UTC)
        assert tick.weekday() == 6
        context = dg.build_schedule_context(scheduled_execution_time=tick)
        request = weekly_retrain_schedule(context)
        assert isinstance(request, dg.RunRequest)
        keys.append(request.run_key)
    assert keys[0] == keys[1] != keys[2]


def test_serving_data_is_published_every_night_once_there_is_something(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    tick = datetime(2011, 1, 4, 1, 30, tzinfo=UTC)
    context = dg.build_schedule_context(scheduled_execution_time=tick, resources={"lake": lake})
    assert isinstance(nightly_publish_schedule(context), dg.SkipReason)
    lake.write_day("interactions", date(2011, 1, 3), pa.table({"user_id": ["a"]}))
    request = nightly_publish_schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "publish-2011-01-04"


def register(instance: dg.DagsterInstance, version: str, promoted: bool) -> None:
    @dg.asset(name="registered_model")
    def registration() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"version": version, "promoted": promoted})

    assert dg.materialize([registration], instance=instance).success


def looked(instance: dg.DagsterInstance, serving: Table, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"serving": serving})
    result = registered_model_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


@pytest.fixture
def serving(tmp_path: Path) -> Table:
    return open_table(make_settings({"home": tmp_path}), "serving")


def test_a_version_that_shoppers_are_routed_to_is_not_released_again(serving: Table) -> None:
    """`recsys run` releases what it promotes; the first look of the sensor afterwards asks for nothing."""
    target = RouteTarget("v1.0.0", "somewhere", "a" * 64)
    variants = (Variant("champion", target, WHOLE),)
    write_routing(serving, RoutingRecord("none", "none", variants, None, 1, 0), None)
    with dg.instance_for_test() as instance:
        register(instance, "v1.0.0", promoted=True)
        first = looked(instance, serving)
        assert not first.run_requests
        register(instance, "v1.1.0", promoted=True)
        second = looked(instance, serving, first.cursor)
        assert [request.tags["recsys/version"] for request in second.run_requests or []] == ["v1.1.0"]


def test_the_lists_of_all_shoppers_follow_another_live_version() -> None:
    definitions = build_deploy_defs()
    with dg.instance_for_test() as instance:
        for key in ("batch_questions", "batch_recommendations", "live_route"):
            instance.report_runless_asset_event(dg.AssetMaterialization(key))
        before = dg.evaluate_automation_conditions(definitions, instance)
        quiet = dg.evaluate_automation_conditions(definitions, instance, cursor=before.cursor)
        instance.report_runless_asset_event(dg.AssetMaterialization("live_route"))
        after = dg.evaluate_automation_conditions(definitions, instance, cursor=quiet.cursor)
        key = dg.AssetKey("batch_recommendations")
        assert (quiet.get_num_requested(key), after.get_num_requested(key)) == (0, 1)
        assert after.total_requested == 1


def test_the_sensor_asks_once_for_each_promotion_and_never_for_a_refusal(serving: Table) -> None:
    with dg.instance_for_test() as instance:
        quiet = looked(instance, serving)
        assert not quiet.run_requests

        register(instance, "v1.0.0", promoted=True)
        register(instance, "v1.1.0", promoted=False)
        register(instance, "v1.2.0", promoted=True)
        result = looked(instance, serving)
        assert [request.tags["recsys/version"] for request in result.run_requests or []] == ["v1.0.0", "v1.2.0"]

        again = looked(instance, serving, result.cursor)
        assert not again.run_requests

        register(instance, "v1.3.0", promoted=False)
        refused = looked(instance, serving, result.cursor)
        assert not refused.run_requests
        assert refused.cursor != result.cursor


def test_schedules_and_jobs_are_registered() -> None:
    repository = build_defs().get_repository_def()
    schedules = {schedule.name for schedule in repository.schedule_defs}
    assert schedules == {
        "daily_ingest_schedule",
        "daily_served_lists_schedule",
        "nightly_publish_schedule",
        "nightly_monitor_schedule",
        "weekly_retrain_schedule",
    }
    assert {sensor.name for sensor in repository.sensor_defs} == {"drift_sensor"}
    jobs = {"ingest_interactions_job", "retrain_models_job", "publish_serving_data_job", "build_recommender_job"}
    jobs |= {"monitor_shop_job"}
    assert jobs <= set(repository.job_names)
