"""Bad input and faults: a clear sentence, "too few" in place of a verdict, and no training that starts by it."""

import re
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lambda_api.state.event_sink import JsonLinesSink
from recsys_assets.data_gate import mark_unreadable
from recsys_assets.ingest.assets import store_day
from recsys_assets.ingest.live_events import COUNTED_ONCE, LiveSource, StreamStage
from recsys_assets.lake import Lake
from recsys_assets.measurement.bootstrap import ratio_interval
from recsys_assets.monitoring.arrivals import Arrivals, arrival_findings, arrivals_of, clock_shift, late_finding
from recsys_assets.monitoring.business import MAX_UNITS, in_groups
from recsys_assets.monitoring.calendar import missing_days
from recsys_assets.monitoring.concept import DailyRate
from recsys_assets.monitoring.drift import (
    EVIDENCE_SCHEMA,
    EVIDENCE_TABLE,
    HISTORY_SCHEMA,
    HISTORY_TABLE,
    DriftReport,
    drift_report_of,
    evidence_of,
    findings_of,
    store,
    stored_evidence,
)
from recsys_assets.monitoring.findings import Finding
from recsys_assets.monitoring.quality_trend import (
    DailyQuality,
    closed_subjects,
    daily_quality,
    quality_findings,
    reason_rows,
)
from recsys_assets.monitoring.retraining import TrainingHistory, decide_training
from recsys_assets.monitoring.samples import compare_samples, weekly_samples
from recsys_assets.monitoring.served_hits import SCHEMA, TABLE, daily_rates
from recsys_assets.schema import INTERACTIONS, PRODUCTS, SET_ASIDE_SCHEMA
from recsys_assets.shop_mark import mark_of, write_marked
from recsys_assets.verdict import FAILURE_SCHEMA
from tests.rollout.streams import Stream

FIRST, DAYS = date(2024, 1, 1), 70
LAST = FIRST + timedelta(days=DAYS - 1)
HOURS = np.array([1, 1, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 9, 9, 9, 9, 9, 8, 6, 4, 3, 2, 1, 1], dtype=float)


def events(day: date, seed: int = 0, users: int = 700, hours: int = 0) -> pa.Table:
    """One event of each of ``users`` shoppers on a day; clocks are wrong by ``hours``."""
    rng = np.random.default_rng([seed, day.toordinal()])
    clock = (rng.choice(24, users, p=HOURS / HOURS.sum()) + hours) % 24
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return INTERACTIONS.conform(
        pa.table(
            {
                "interaction_id": [f"{day}-{number}" for number in range(users)],
                "user_id": [f"u{number}" for number in range(users)],
                "product_id": [f"p{number}" for number in rng.integers(50, size=users)],
                "interaction_type": rng.choice(["view", "purchase"], users, p=[0.9, 0.1]),
                "timestamp": [start + timedelta(hours=int(hour), minutes=7) for hour in clock],
                "price": rng.lognormal(2, 0.5, users),
            }
        )
    )


def catalogue(prefix: str = "p") -> pa.Table:
    number = range(50)
    columns = {"product_id": [f"{prefix}{one}" for one in number], "category": [f"c{one % 5}" for one in number]}
    return PRODUCTS.conform(pa.table(columns))


def lake_in(folder: Path, users: int = 700) -> Lake:
    lake = Lake(str(folder))
    lake.write_table("products", catalogue())
    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        lake.write_day("interactions", day, events(day, users=users))
    return lake


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake made once; every test gets a copy."""
    return Path(lake_in(tmp_path_factory.mktemp("made") / "lake").root)


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    return Lake(str(shutil.copytree(made, tmp_path / "lake")))


def found(lake: Lake, day: date = LAST) -> dict[str, Finding]:
    return {one.name: one for one in findings_of(drift_report_of(lake, day, None, 10))}


def starts(lake: Lake, day: date = LAST, *reports: DriftReport) -> bool:
    """Whether the sensor would start a training the morning after, by an alarm."""
    for report in reports or (drift_report_of(lake, day, None, 10),):
        store(lake, report)
    today = day + timedelta(days=1)
    decision = decide_training(today, stored_evidence(lake, today), TrainingHistory(last=today - timedelta(days=10)))
    return decision.start


def test_a_whole_calm_week_is_judged(lake: Lake) -> None:
    assert found(lake)["features"].state == "ok" and not starts(lake)


@pytest.mark.parametrize(
    "break_day",
    [
        lambda lake, day: lake.delete_day("interactions", day),
        lambda lake, day: mark_unreadable(lake, day, "cannot be read"),
    ],
)
def test_a_missing_or_refused_day_of_the_week_gives_no_verdict(
    lake: Lake, break_day: Callable[[Lake, date], None]
) -> None:
    gone = LAST - timedelta(days=3)
    break_day(lake, gone)
    findings = found(lake)
    for name in ("features", "predictions", "concept", "twin"):
        assert findings[name].state == "too few" and f"No usable interactions on {gone}" in findings[name].sentence
    assert not starts(lake)
    quality = quality_findings(daily_quality(lake, LAST), closed_subjects(lake), LAST)
    assert any(one.state == "warning" and str(gone) in one.sentence for one in quality)


def test_an_earlier_missing_day_costs_its_week_of_the_reference_only(lake: Lake) -> None:
    whole = weekly_samples(lake, LAST)
    assert (whole.reference.num_rows, whole.current.num_rows) == (8 * 700, 700)
    lake.delete_day("interactions", LAST - timedelta(days=20))
    samples = weekly_samples(lake, LAST)
    assert (samples.reference.num_rows, samples.current.num_rows) == (7 * 700, 700)
    assert found(lake)["features"].state == "ok"


def test_a_log_that_ended_long_ago(lake: Lake) -> None:
    """The week, its reference and the history of its shoppers lie after the last event: there is nothing to read."""
    day = LAST + timedelta(days=400)
    samples = weekly_samples(lake, day)
    assert (samples.reference.num_rows, samples.current.num_rows) == (0, 0)
    champion_end = datetime.combine(day - timedelta(days=30), time(), UTC)
    findings = {one.name: one for one in findings_of(drift_report_of(lake, day, champion_end, 10))}
    assert {findings[name].state for name in ("features", "concept", "twin")} == {"too few"}


def test_a_stream_that_stopped(lake: Lake) -> None:
    for number in range(3):
        lake.delete_day("interactions", LAST - timedelta(days=number))
    findings = {one.name: one for one in quality_findings(daily_quality(lake, LAST), [], LAST)}
    assert findings["volume"].state == "warning"
    assert f"nothing for {LAST}" in findings["volume"].sentence
    assert f"last events are of {LAST - timedelta(days=3)}" in findings["volume"].sentence
    assert found(lake)["features"].state == "too few" and not starts(lake)


def test_an_old_alarm_of_the_hit_rate_is_not_repeated_on_a_day_without_buyers(lake: Lake) -> None:
    days = [LAST - timedelta(days=number) for number in range(69, 0, -1)]
    for day in days:
        rate = 0.0 if day > LAST - timedelta(days=5) else 0.5
        hits = (np.arange(100) < 100 * rate).astype(float)
        columns = [[f"u{one}" for one in range(100)], ["v"] * 100, hits, [None] * 100, [7] * 100]
        lake.write_day(TABLE, day, pa.table(columns, schema=SCHEMA))
    yesterday = drift_report_of(lake, LAST - timedelta(days=1), None, 10)
    assert yesterday.cusum.alarm and starts(lake, LAST - timedelta(days=1), yesterday)
    today = drift_report_of(lake, LAST, None, 10)
    assert not today.cusum.alarm and evidence_of(today) == ()
    concept = {one.name: one for one in findings_of(today)}["concept"]
    assert concept.state == "too few" and "0 buyers" in concept.sentence


def test_too_few_shoppers(tmp_path: Path) -> None:
    lake = lake_in(tmp_path, users=60)
    findings = found(lake)
    assert all(findings[name].state == "too few" for name in ("features", "predictions", "concept", "twin"))
    assert "60 shoppers; a comparison needs 500" in findings["features"].sentence
    assert not starts(lake)


def test_no_served_lists_yet(lake: Lake) -> None:
    findings = found(lake)
    assert findings["served lists"] == Finding("served lists", "too few", f"No list of a model was served on {LAST}.")
    assert findings["feature tables"].state == "too few"


@pytest.mark.parametrize("hours", [-7, -3, 3, 12])
def test_clocks_wrong_by_hours_are_said_and_start_nothing(lake: Lake, hours: int) -> None:
    assert arrival_findings(lake, LAST)[-1].state == "ok"
    for number in range(7):
        day = LAST - timedelta(days=number)
        lake.write_day("interactions", day, events(day, hours=hours))
    clock = arrival_findings(lake, LAST)[-1]
    shift = re.search(r"shifted by about ([+-]\d+) h", clock.sentence)
    assert clock.state == "warning" and shift is not None
    assert (int(shift[1]) - hours + 12) % 24 - 12 in (-1, 0, 1)
    assert "hour" in found(lake)["features"].sentence and not starts(lake)


def test_the_shift_of_clocks_by_hand() -> None:
    rng = np.random.default_rng(0)
    for hours in range(-11, 13):
        today = rng.multinomial(2_000, np.roll(HOURS, hours) / HOURS.sum()).astype(float)
        assert clock_shift(today, HOURS * 100) == (hours if abs(hours) >= 2 else 0)
    assert clock_shift(np.full(24, 10.0), np.full(24, 99.0)) == 0
    # A day with a peak of its own is no shift.
    peak = HOURS.copy()
    peak[12] += 40
    assert clock_shift(peak, HOURS) == 0


def test_a_robot_is_said_and_moves_no_statistic(lake: Lake) -> None:
    calm = compare_samples(weekly_samples(lake, LAST))
    day = events(LAST)
    robot = pa.Table.from_pylist(
        [
            day.slice(0, 1).to_pylist()[0] | {"user_id": "robot", "interaction_id": f"x{number}", "price": 1e6}
            for number in range(50_000)
        ],
        day.schema,
    )
    lake.write_day("interactions", LAST, pa.concat_tables([day, robot]))
    finding = arrival_findings(lake, LAST)[1]
    assert finding.state == "warning"
    assert "1 shopper has 1,000 events or more, 98.6% of the day; the busiest, robot, has 50,000" in finding.sentence
    assert "newest 10,000 events of a shopper" in finding.sentence
    for before, after in zip(calm, compare_samples(weekly_samples(lake, LAST)), strict=True):
        assert after.current == before.current + 1 and abs(after.effect - before.effect) < 0.01
    assert not starts(lake)


def test_the_history_of_another_shop_is_not_used_and_said(lake: Lake) -> None:
    """Its effects would raise the limits of our columns, its hit rates would be our reference."""
    others = Lake(f"{lake.root}-other")
    others.write_table("products", catalogue("q"))
    mark = mark_of(others)
    for week in range(1, 10):
        rows = pa.Table.from_pylist([{"column": "price", "effect": 0.9}], HISTORY_SCHEMA)
        write_marked(lake, mark, HISTORY_TABLE, LAST - timedelta(weeks=week), rows)
    for number in range(69):
        hits = pa.table([["z"] * 100, ["v"] * 100, [0.9] * 100, [None] * 100, [7] * 100], schema=SCHEMA)
        write_marked(lake, mark, TABLE, LAST - timedelta(days=number), hits)
    report = drift_report_of(lake, LAST, None, 10)
    assert all(one.limit is None for one in report.columns) and report.foreign_days == 9
    assert daily_rates(lake, LAST) == []
    findings = {one.name: one for one in findings_of(report)}
    assert "9 days are about another shop's products" in findings["history"].sentence
    assert findings["concept"].state == "too few" and not starts(lake)
    own = mark_of(lake)
    write_marked(lake, own, TABLE, LAST, hits)
    assert daily_rates(lake, LAST) == [DailyRate(LAST, pytest.approx(0.9), 100, 7)]
    # A file of an earlier release does not say how old the data were: its day is made again, not compared.
    write_marked(lake, own, TABLE, LAST, hits.drop(["age_days"]))
    assert daily_rates(lake, LAST) == []
    write_marked(lake, own, TABLE, LAST, hits)
    # A catalogue that has grown and lost a third of its products is the same shop's.
    grown = pa.concat_tables([catalogue().slice(17), catalogue("new")])
    lake.write_table("products", grown)
    assert len(daily_rates(lake, LAST)) == 1


def test_evidence_of_another_shop_starts_nothing(lake: Lake) -> None:
    row = {"family": "concept", "since": LAST, "sentence": "concept: fell"}
    rows, today = pa.Table.from_pylist([row], EVIDENCE_SCHEMA), LAST + timedelta(days=1)
    lake.write_day(EVIDENCE_TABLE, today, rows)
    assert len(stored_evidence(lake, today)) == 1
    others = Lake(f"{lake.root}-other")
    others.write_table("products", catalogue("q"))
    write_marked(lake, mark_of(others), EVIDENCE_TABLE, today, rows)
    assert stored_evidence(lake, today) == []


def test_days_on_which_a_shop_is_closed_are_not_missing() -> None:
    days = {FIRST + timedelta(days=number) for number in range(70)}
    open_days = {day for day in days if day.weekday() != 5}
    assert missing_days(open_days, LAST, 28) == []
    monday = max(day for day in open_days if day.weekday() == 0)
    assert missing_days(open_days - {monday}, LAST, 28) == [monday]
    assert missing_days(days, FIRST, 28) == [] and missing_days(set(), FIRST, 3) == [FIRST]
    assert missing_days(days, LAST + timedelta(days=2), 7) == [LAST + timedelta(days=1), LAST + timedelta(days=2)]


def test_late_events_are_counted_with_their_age_and_the_days_made_again(tmp_path: Path) -> None:
    lake, root = Lake(str(tmp_path / "lake")), str(tmp_path / "events")
    noon = datetime.combine(LAST, datetime.min.time(), UTC).timestamp() + 43_200
    stage = StreamStage(lake, root)
    late = {0: 60, 1: 5, 3: 4, 9: 1}
    for number, (age, count) in enumerate(late.items()):
        shop = Stream(JsonLinesSink(root, clock=lambda: noon), noon - age * 86_400, "e", count=1_000 * number)
        for _ in range(count):
            shop.did("ann", "view", at=5)
        shop.close()
    assert late_finding(arrivals_of(lake, LAST)).state == "too few", "nothing is staged yet"
    stage.refresh()
    arrived = arrivals_of(lake, LAST)
    assert arrived.rows == {LAST - timedelta(days=age): count for age, count in late.items()}
    days = [LAST - timedelta(days=age) for age in (1, 3, 9)]
    assert arrived.waiting == tuple(sorted(days)), "no day holds them yet"
    source = LiveSource(NoExport(), stage, "stream")
    for day in days[:2]:
        store_day(lake, day, source.read_day(day))
    finding = late_finding(arrivals_of(lake, LAST))
    assert finding.state == "warning" and "10 of 70 events that arrived on 2024-03-10 were late" in finding.sentence
    assert f"5 by 1 d ({days[0]}), 4 by 3 d ({days[1]}), 1 by 9 d ({days[2]})" in finding.sentence
    assert f"Made again: {days[1]}, {days[0]}. Not made again yet: {days[2]}." in finding.sentence
    # More arrive for a day that was made: it waits again.
    shop = Stream(JsonLinesSink(root, clock=lambda: noon + 600), noon - 3 * 86_400, "e", count=9_000)
    shop.did("ann", "view", at=9)
    shop.close()
    stage.refresh()
    assert days[1] in arrivals_of(lake, LAST).waiting


@pytest.mark.parametrize(("old", "state"), [(1, "ok"), (2, "warning")])
def test_one_in_a_hundred_may_be_two_days_late(old: int, state: str) -> None:
    rows = {LAST: 100 - old, LAST - timedelta(days=1): 50, LAST - timedelta(days=2): old}
    assert late_finding(Arrivals(LAST, rows)).state == state
    assert late_finding(Arrivals(LAST, {LAST: 9})).sentence == f"None of 9 events that arrived on {LAST} was late."


def test_rules_that_exclude_more_than_usual_are_named() -> None:
    def day(number: int, rows: int, **reasons: int) -> DailyQuality:
        return DailyQuality(LAST - timedelta(days=number), rows, 5, reasons)

    past = [day(number, 995, price_readable=5, cancelled=100) for number in range(30, 0, -1)]
    calm = {one.name: one for one in quality_findings([*past, day(0, 995, price_readable=4, cancelled=130)], [], LAST)}
    assert calm["reasons"].state == "ok" and "cancelled: 130 rows, 13.00%, usual 10.00%" in calm["reasons"].sentence
    odd = [*past, day(0, 995, price_readable=20, cancelled=90, **{COUNTED_ONCE: 900})]
    rising = {one.name: one for one in quality_findings(odd, [], LAST)}["reasons"]
    assert rising == Finding("reasons", "warning", "More than usual: price_readable: 20 rows, 2.00%, usual 0.50%.")
    assert [row[:2] for row in reason_rows(odd)] == [(COUNTED_ONCE, 900), ("cancelled", 90), ("price_readable", 20)]


def test_reasons_are_read_from_verdicts_and_from_what_the_source_left_out(lake: Lake) -> None:
    failures = pa.table([[1, 2, 7], ["a; b", "b", "a; b"]], schema=FAILURE_SCHEMA)
    lake.write_day("quality_verdicts", LAST, failures)
    aside = [{"source_file": "f", "source_row": 1, "reason": "cancelled", "raw": "{}"}] * 4
    lake.write_day("set_aside_interactions", LAST, pa.Table.from_pylist(aside, SET_ASIDE_SCHEMA))
    newest = daily_quality(lake, LAST)[-1]
    assert (newest.rows, newest.set_aside, dict(newest.reasons)) == (700, 3, {"a": 2, "b": 3, "cancelled": 4})


def test_groups_of_shoppers_have_the_sums_and_the_spread_of_shoppers() -> None:
    rng = np.random.default_rng(1)
    values = rng.exponential(size=25_000)
    (few,) = in_groups([values[:100]], 0)
    assert few is not None and (few == values[:100]).all()
    counts, sums = in_groups([np.ones(25_000), values], 0)
    assert len(sums) == MAX_UNITS and sums.sum() == pytest.approx(values.sum())
    grouped = ratio_interval(sums, counts)
    alone = ratio_interval(values, np.ones(25_000), resamples=500)
    assert grouped is not None and alone is not None
    assert grouped.mean == pytest.approx(alone.mean)
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.15)


class NoExport:
    """An export without any day."""

    name = "none"

    def days(self) -> list[date]:
        return []
