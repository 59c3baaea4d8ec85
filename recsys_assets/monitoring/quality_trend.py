"""Data quality day by day: volume against the same weekday, rows set aside and why, missing days."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

import numpy as np
import pyarrow.compute as pc

from recsys_assets.data_gate import closed_gates, stored_failures
from recsys_assets.ingest.live_events import COUNTED_ONCE
from recsys_assets.lake import Lake
from recsys_assets.monitoring.calendar import missing_days
from recsys_assets.monitoring.findings import Finding

WEEKS: Final = 8
MIN_WEEKS: Final = 4
LOW, HIGH = 0.5, 2.0
"""Volume over the median of the same weekday outside of which a day is reported."""

SET_ASIDE_LIMIT: Final = 0.01
"""Share of rows set aside from which on a day is reported, if it is also three times its usual share."""

SOURCE_TABLE: Final = "set_aside_interactions"


@dataclass(frozen=True, slots=True)
class DailyQuality:
    """Valid rows of a day, and rows set aside by the gate (0 where it was never validated).

    Attributes:
        reasons: rows by the rule of the gate that they fail, or by the reason for which the source left them out. A
            row that fails two rules counts in both.
    """

    day: date
    rows: int
    set_aside: int
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def set_aside_share(self) -> float:
        """Of all delivered rows."""
        return self.set_aside / max(self.rows + self.set_aside, 1)

    def share(self, reason: str) -> float:
        """Rows with this reason over all delivered rows."""
        return self.reasons.get(reason, 0) / max(self.rows + self.set_aside, 1)


def daily_quality(lake: Lake, day: date) -> list[DailyQuality]:
    """The days of the last `WEEKS` weeks up to ``day``. Only file footers, verdicts and reasons are read."""
    left_out = set(lake.days(SOURCE_TABLE))
    found = []
    for one in lake.days("interactions"):
        if day - timedelta(weeks=WEEKS) <= one <= day:
            rows = lake.count_rows("interactions", one, one + timedelta(days=1))
            failures = stored_failures(lake, one)
            reasons: Counter[str] = Counter()
            if failures is not None:
                for item in pc.value_counts(failures["reason"]).to_pylist():
                    reasons.update(dict.fromkeys(item["values"].split("; "), item["counts"]))
            if one in left_out:
                table = lake.read(SOURCE_TABLE, ("reason",), one, one + timedelta(days=1))
                reasons.update(
                    {str(item["values"]): item["counts"] for item in pc.value_counts(table["reason"]).to_pylist()}
                )
            found.append(DailyQuality(one, rows, 0 if failures is None else failures.num_rows, dict(reasons)))
    return found


def quality_findings(days: Sequence[DailyQuality], closed: Sequence[str], day: date) -> tuple[Finding, ...]:
    """Findings about ``day``.

    Args:
        days: as `daily_quality` returns them.
        closed: subjects of closed gates (ISO days or table names).
    """
    known = {one.day: one for one in days}
    missing = missing_days(known.keys(), day, 28)
    refused = sorted(
        subject for subject in closed if subject in {one.isoformat() for one in known} | {"products", "users"}
    )
    findings = [
        Finding("missing days", "warning", f"No interactions on {', '.join(map(str, missing))}.")
        if missing
        else Finding("missing days", "ok", "No day of the last four weeks is missing."),
        Finding("quality gate", "warning", f"Not usable: {', '.join(refused)}.")
        if refused
        else Finding("quality gate", "ok", "Every delivery may be used."),
    ]
    if day not in known:
        return (*findings, _stopped(days, day))
    return (*findings, _volume(known[day], days), _set_aside(known[day], days), _reasons(known[day], days))


def reason_rows(days: Sequence[DailyQuality]) -> list[tuple[str, int, float, float]]:
    """Reason, rows of the last day, their share, and the median share of the days before; most rows first."""
    today, past = days[-1], days[:-1]
    names = Counter[str]()
    for one in days:
        names.update(one.reasons)
    usual = {name: float(np.median([one.share(name) for one in past] or [0.0])) for name in names}
    rows = [(name, today.reasons.get(name, 0), today.share(name), usual[name]) for name in names]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def _stopped(days: Sequence[DailyQuality], day: date) -> Finding:
    before = [one.day for one in days if one.day < day]
    last = f" The last events are of {before[-1]}." if before else ""
    return Finding("volume", "warning", f"There is nothing for {day}: the events stopped, or were not ingested.{last}")


def _volume(today: DailyQuality, days: Sequence[DailyQuality]) -> Finding:
    same = [one.rows for one in days if one.day < today.day and one.day.weekday() == today.day.weekday()]
    if len(same) < MIN_WEEKS:
        return Finding("volume", "too few", f"{today.rows:,} events; {len(same)} earlier weeks to compare with.")
    median = float(np.median(same))
    ratio = today.rows / max(median, 1.0)
    sentence = f"{today.rows:,} events, {ratio:.0%} of the median {median:,.0f} of this weekday."
    return Finding("volume", "ok" if LOW <= ratio <= HIGH else "warning", sentence)


def _set_aside(today: DailyQuality, days: Sequence[DailyQuality]) -> Finding:
    usual = float(np.median([one.set_aside_share for one in days if one.day < today.day] or [0.0]))
    share = today.set_aside_share
    sentence = f"{share:.2%} of the rows were set aside; usual: {usual:.2%}."
    return Finding("rows set aside", "warning" if _is_unusual(share, usual) else "ok", sentence)


def _reasons(today: DailyQuality, days: Sequence[DailyQuality]) -> Finding:
    """Rules of the gate and reasons of the source that exclude unusually many rows.

    Events that two logs hold are counted once on purpose: many of them are no fault.
    """
    rows = [row for row in reason_rows([*(one for one in days if one.day < today.day), today]) if row[1]]
    rising = [row for row in rows if row[0] != COUNTED_ONCE and _is_unusual(row[2], row[3])]
    shown = "; ".join(
        f"{name}: {count:,} rows, {share:.2%}, usual {usual:.2%}" for name, count, share, usual in (rising or rows[:1])
    )
    if rising:
        return Finding("reasons", "warning", f"More than usual: {shown}.")
    return Finding("reasons", "ok", f"Most frequent: {shown}." if rows else "No row was set aside or left out.")


def _is_unusual(share: float, usual: float) -> bool:
    return share > max(SET_ASIDE_LIMIT, 3 * usual)


def closed_subjects(lake: Lake) -> list[str]:
    """Deliveries that may not be used."""
    return [gate.subject for gate in closed_gates(lake)]
