"""Events of one day as they arrived: late ones, robots, and hours that look shifted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pyarrow.compute as pc

from recsys_assets.ingest.live_events import StreamStage
from recsys_assets.lake import Lake
from recsys_assets.measurement.metrics import FloatArray
from recsys_assets.models.dataset import EVENTS_PER_SHOPPER
from recsys_assets.monitoring.findings import Finding

OLDEST_DAYS: Final = 60
"""Events that arrive later than this are not looked for."""

LATE_DAYS: Final = 2
LATE_LIMIT: Final = 0.01
"""Share of a day's arrivals that may be `LATE_DAYS` old. One day late is also an event just before midnight."""

ROBOT_EVENTS: Final = 1_000
"""Events a day from which on a shopper is reported: nobody acts every 90 seconds, day and night."""

PROFILE_WEEKS: Final = 8
MIN_PROFILE_DAYS: Final = 4
MIN_EVENTS: Final = 500
MIN_SHIFT_HOURS: Final = 2
MIN_DISTANCE: Final = 0.1
"""Share of events in other hours than usual from which on a shift is looked for."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Events of the stream that arrived on one day.

    Attributes:
        rows: by the day on which they happened.
        waiting: of these days, those that were not made again yet.
    """

    day: date
    rows: Mapping[date, int]
    waiting: tuple[date, ...] = ()

    @property
    def late(self) -> dict[date, int]:
        """The rows that happened on an earlier day."""
        return {happened: rows for happened, rows in sorted(self.rows.items()) if happened < self.day}


def arrivals_of(lake: Lake, day: date) -> Arrivals:
    """What arrived on ``day``, from the staged event stream; without rows where no stream is read."""
    stage = StreamStage(lake, root="")  # only what has been staged is read
    rows = stage.arrived(day, day - timedelta(days=OLDEST_DAYS))
    made = set(lake.days("raw_interactions"))
    waiting = tuple(one for one in sorted(rows) if one < day and (one not in made or stage.is_stale(one)))
    return Arrivals(day, rows, waiting)


def late_finding(arrivals: Arrivals) -> Finding:
    """How many events were late, how late, and which days were made again for them."""
    total, late = sum(arrivals.rows.values()), arrivals.late
    if not total:
        sentence = f"Nothing of the event stream arrived on {arrivals.day}; how late events are is not known."
        return Finding("late events", "too few", sentence)
    if not late:
        return Finding("late events", "ok", f"None of {total:,} events that arrived on {arrivals.day} was late.")
    ages = {happened: (arrivals.day - happened).days for happened in late}
    old = sum(rows for happened, rows in late.items() if ages[happened] >= LATE_DAYS)
    shown = ", ".join(f"{rows:,} by {ages[happened]} d ({happened})" for happened, rows in reversed(late.items()))
    again = [str(one) for one in late if one not in arrivals.waiting]
    sentence = f"{sum(late.values()):,} of {total:,} events that arrived on {arrivals.day} were late: {shown}."
    if again:
        sentence += f" Made again: {', '.join(again)}."
    if arrivals.waiting:
        sentence += f" Not made again yet: {', '.join(map(str, arrivals.waiting))}."
    return Finding("late events", "warning" if old > LATE_LIMIT * total else "ok", sentence)


def robot_finding(lake: Lake, day: date) -> Finding:
    """Shoppers with `ROBOT_EVENTS` or more, and what they can do to models and reports."""
    users = lake.read("interactions", ("user_id",), day, day + timedelta(days=1))
    counts = users.group_by("user_id").aggregate([([], "count_all")]).sort_by([("count_all", "descending")])
    robots = counts.filter(pc.greater_equal(counts["count_all"], ROBOT_EVENTS)).to_pylist()
    if not robots:
        most = counts["count_all"][0].as_py() if counts.num_rows else 0
        return Finding("robots", "ok", f"The busiest shopper has {most:,} events.")
    first, events = robots[0], sum(one["count_all"] for one in robots)
    who = "shopper has" if len(robots) == 1 else "shoppers have"
    sentence = (
        f"{len(robots):,} {who} {ROBOT_EVENTS:,} events or more, {events / users.num_rows:.1%} of the day; the busiest,"
        f" {first['user_id']}, has {first['count_all']:,}. Trainings use the newest {EVENTS_PER_SHOPPER:,} events of a"
        " shopper; reports count a shopper once, or cap their share."
    )
    return Finding("robots", "warning", sentence)


def clock_finding(lake: Lake, day: date) -> Finding:
    """Whether the day's events look shifted by hours against the same weekdays before."""
    held = set(lake.days("interactions"))
    past = [one for one in (day - timedelta(weeks=week) for week in range(1, PROFILE_WEEKS + 1)) if one in held]
    today = _hours(lake, day)
    if len(past) < MIN_PROFILE_DAYS or today.sum() < MIN_EVENTS:
        sentence = (
            f"{today.sum():,.0f} events and {len(past)} earlier weeks; comparing hours needs {MIN_EVENTS} events and"
            f" {MIN_PROFILE_DAYS} weeks."
        )
        return Finding("clock", "too few", sentence)
    shift = clock_shift(today, np.sum([_hours(lake, one) for one in past], axis=0))
    if shift:
        sentence = (
            f"The hours of the day look shifted by about {shift:+d} h; check clock and time zone of what sends events."
        )
        return Finding("clock", "warning", sentence)
    return Finding("clock", "ok", "The events are spread over the hours as usual.")


def clock_shift(today: FloatArray, usual: FloatArray) -> int:
    """Hours, in -11..12, by which ``today`` is a shifted ``usual``; 0 where it is not.

    A shift is reported when it leaves less than half of the distance (share of events in other hours) without it.

    Args:
        today, usual: events by hour of the day, float64 ``[24]``.
    """
    shares = [one / max(one.sum(), 1.0) for one in (today, usual)]
    distances = np.array([np.abs(shares[0] - np.roll(shares[1], hours)).sum() / 2 for hours in range(24)])
    best = int(distances.argmin())
    shift = best if best <= 12 else best - 24
    found = abs(shift) >= MIN_SHIFT_HOURS and distances[0] > MIN_DISTANCE and distances[best] < distances[0] / 2
    return shift if found else 0


def _hours(lake: Lake, day: date) -> FloatArray:
    moments = lake.read("interactions", ("timestamp",), day, day + timedelta(days=1))["timestamp"]
    return np.bincount(pc.hour(moments).to_numpy(), minlength=24).astype(np.float64)


def arrival_findings(lake: Lake, day: date) -> tuple[Finding, ...]:
    """All findings of this module about a day of which the lake holds interactions or not."""
    late = late_finding(arrivals_of(lake, day))
    if day not in lake.days("interactions"):
        return (late,)
    return (late, robot_finding(lake, day), clock_finding(lake, day))
