"""Data quality day by day: volume against the same weekday, rows set aside by the quality gate, missing days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from recsys_assets.data_gate import closed_gates, stored_verdict
from recsys_assets.lake import Lake, open_filesystem
from recsys_assets.monitoring.findings import Finding

WEEKS: Final = 8
MIN_WEEKS: Final = 4
LOW, HIGH = 0.5, 2.0
"""Volume over the median of the same weekday outside of which a day is reported."""

SET_ASIDE_LIMIT: Final = 0.01
"""Share of rows set aside from which on a day is reported, if it is also three times its usual share."""


@dataclass(frozen=True, slots=True)
class DailyQuality:
    """Valid rows of a day, and rows set aside by the gate (0 where it was never validated)."""

    day: date
    rows: int
    set_aside: int

    @property
    def set_aside_share(self) -> float:
        """Of all delivered rows."""
        return self.set_aside / max(self.rows + self.set_aside, 1)


def daily_quality(lake: Lake, day: date) -> list[DailyQuality]:
    """The days of the last `WEEKS` weeks up to ``day``. Only file footers and verdicts are read."""
    filesystem, _ = open_filesystem(lake.root)
    found = []
    for one in lake.days("interactions"):
        if day - timedelta(weeks=WEEKS) <= one <= day:
            files = lake.files("interactions", one, one + timedelta(days=1))
            rows = sum(pq.read_metadata(file.removeprefix("s3://"), filesystem=filesystem).num_rows for file in files)
            verdict = stored_verdict(lake, one)
            found.append(DailyQuality(one, rows, 0 if verdict is None else verdict.failures.num_rows))
    return found


def quality_findings(days: Sequence[DailyQuality], closed: Sequence[str], day: date) -> tuple[Finding, ...]:
    """Findings about ``day``.

    Args:
        days: as `daily_quality` returns them.
        closed: subjects of closed gates (ISO days or table names).
    """
    known = {one.day: one for one in days}
    missing = [
        one
        for one in (day - timedelta(days=number) for number in range(28))
        if days and days[0].day <= one not in known
    ]
    refused = sorted(
        subject for subject in closed if subject in {one.isoformat() for one in known} | {"products", "users"}
    )
    findings = [
        Finding("missing days", "warning", f"No interactions on {', '.join(map(str, sorted(missing)))}.")
        if missing
        else Finding("missing days", "ok", "No day of the last four weeks is missing."),
        Finding("quality gate", "warning", f"Not usable: {', '.join(refused)}.")
        if refused
        else Finding("quality gate", "ok", "Every delivery may be used."),
    ]
    if day not in known:
        return (*findings, Finding("volume", "warning", f"The event stream has nothing for {day}."))
    return (*findings, _volume(known[day], days), _set_aside(known[day], days))


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
    return Finding("rows set aside", "warning" if share > max(SET_ASIDE_LIMIT, 3 * usual) else "ok", sentence)


def closed_subjects(lake: Lake) -> list[str]:
    """Deliveries that may not be used."""
    return [gate.subject for gate in closed_gates(lake)]
