"""The drift report of one day: features, predictions, concept, twin, groups and importances; findings and evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from lambda_api.atomic_files import write_text
from recsys_assets.lake import Lake, LakeError
from recsys_assets.measurement.importance import RankerImportance
from recsys_assets.monitoring.concept import Cusum, DailyRate, follow
from recsys_assets.monitoring.drift_statistics import ColumnDrift, compare_categorical, judge
from recsys_assets.monitoring.findings import Finding
from recsys_assets.monitoring.groups import MIN_NDCG, GroupRatio, by_group, group_ratio, importance_ndcg
from recsys_assets.monitoring.retraining import Evidence, Family
from recsys_assets.monitoring.samples import REFERENCE_DAYS, WINDOW_DAYS, compare_samples, weekly_samples
from recsys_assets.monitoring.served_hits import daily_rates, one_row_per_shopper
from recsys_assets.monitoring.twin import TwinResult, twin_of

HISTORY_TABLE: Final = "drift_statistics"
EVIDENCE_TABLE: Final = "drift_evidence"
HISTORY_WEEKS: Final = 26
GROUP_ATTRIBUTES: Final = ("gender", "location")

HISTORY_SCHEMA = pa.schema([pa.field("column", pa.string()), pa.field("effect", pa.float64())])
EVIDENCE_SCHEMA = pa.schema(
    [pa.field("family", pa.string()), pa.field("since", pa.date32()), pa.field("sentence", pa.string())]
)


@dataclass(frozen=True)
class DriftReport:
    """Everything that was found on one day; parts that could not be computed are ``None`` or empty."""

    day: date
    columns: tuple[ColumnDrift, ...]
    predictions: tuple[ColumnDrift, ...]
    rates: tuple[DailyRate, ...]
    cusum: Cusum
    twin: TwinResult | None
    groups: tuple[GroupRatio, ...]
    importance: float | None


def drift_report_of(
    lake: Lake,
    day: date,
    champion_end: datetime | None,
    k: int,
    importances: Sequence[RankerImportance] = (),
) -> DriftReport:
    """Compute the report. The hits of the serving model must have been brought up to ``day``
    (`served_hits.update_hits`).

    Args:
        champion_end: aware, UTC; where the champion's training data end; ``None`` without a champion.
        importances: of the ranker before and now; fewer than two compare with nothing.

    Raises:
        GateClosed: a delivery of the compared weeks may not be used.
        LakeError: there are no interactions.
    """
    history = _past_effects(lake, day)
    columns = judge(compare_samples(weekly_samples(lake, day)), history)
    start = day - timedelta(days=WINDOW_DAYS - 1)
    before = one_row_per_shopper(lake, start - timedelta(days=REFERENCE_DAYS), start)
    now = one_row_per_shopper(lake, start, day + timedelta(days=1))
    predictions: tuple[ColumnDrift, ...] = ()
    if before.num_rows and now.num_rows:
        lists = [one["first_category"].to_pylist() for one in (before, now)]
        predictions = judge([compare_categorical("first_category", *lists)], history)
    rates = daily_rates(lake, day)
    return DriftReport(
        day=day,
        columns=columns,
        predictions=predictions,
        rates=tuple(rates),
        cusum=follow(rates, start=champion_end.date() if champion_end else None),
        twin=twin_of(lake, day, champion_end, k) if champion_end else None,
        groups=_group_ratios(lake, before, now),
        importance=importance_ndcg(*map(_shares, importances)) if len(importances) == 2 else None,
    )


def findings_of(report: DriftReport) -> tuple[Finding, ...]:
    """One finding per family, and one per group attribute."""
    found = [_column_finding("features", report.columns), _column_finding("predictions", report.predictions)]
    path = report.cusum.path
    if not path:
        found.append(Finding("concept", "too few", f"{len(report.rates)} days of hits; the CUSUM needs 35."))
    else:
        last = report.rates[-1]
        sentence = f"Hit rate {last.rate:.3f} of {last.shoppers:,} shoppers on {last.day}; CUSUM {path[-1]:.1f} of 5."
        found.append(Finding("concept", "warning" if report.cusum.alarm else "ok", sentence))
    if report.twin is None:
        found.append(Finding("twin", "too few", "The champion's data are younger than a week, or too few shoppers."))
    else:
        one = report.twin.comparison
        lift = "" if report.twin.lift is None else f" ({report.twin.lift:+.0%})"
        sentence = (
            f"Fresh data change the hit rate by {one.difference:+.4f}{lift}, 99 % {one.low:+.4f} to {one.high:+.4f}."
        )
        found.append(Finding("twin", "warning" if report.twin.alarm else "ok", sentence))
    for ratio in report.groups:
        sentence = f"Lowest over highest hit rate by {ratio.attribute}: {ratio.before:.2f} before, {ratio.now:.2f} now."
        found.append(Finding(f"groups by {ratio.attribute}", "warning" if ratio.alarm else "ok", sentence))
    if report.importance is not None:
        state: Final = "warning" if report.importance < MIN_NDCG else "ok"
        found.append(
            Finding("attribution", state, f"Importances agree with the last ranker's: {report.importance:.2f}.")
        )
    return tuple(found)


def evidence_of(report: DriftReport) -> tuple[Evidence, ...]:
    """The alarms of the day, one per family."""
    week = report.day - timedelta(days=WINDOW_DAYS - 1)
    since: dict[Family, date] = {"concept": report.cusum.since or report.day}
    families: Mapping[str, Family] = {
        "features": "feature", "predictions": "prediction", "concept": "concept", "twin": "twin",
        "attribution": "attribution",
    }  # fmt: skip
    alarms: dict[Family, str] = {}
    for finding in findings_of(report):
        if finding.state == "warning":
            alarms.setdefault(families.get(finding.name, "bias"), finding.sentence)
    return tuple(
        Evidence(family, report.day, since.get(family, week), f"{family}: {sentence}".rstrip("."))
        for family, sentence in alarms.items()
    )


def store(lake: Lake, report: DriftReport) -> None:
    """Keep the day's effects and evidence in the lake; running it again replaces them."""
    effects = [{"column": one.column, "effect": one.effect} for one in (*report.columns, *report.predictions)]
    lake.write_day(HISTORY_TABLE, report.day, pa.Table.from_pylist(effects, HISTORY_SCHEMA))
    rows = [{"family": e.family, "since": e.since, "sentence": e.sentence} for e in evidence_of(report)]
    lake.write_day(EVIDENCE_TABLE, report.day, pa.Table.from_pylist(rows, EVIDENCE_SCHEMA))


def stored_evidence(lake: Lake, today: date, days: int = 14) -> list[Evidence]:
    """The alarms of the last days."""
    found = []
    for day in lake.days(EVIDENCE_TABLE):
        if today - timedelta(days=days) < day <= today:
            for row in lake.read(EVIDENCE_TABLE, start=day, end=day + timedelta(days=1)).to_pylist():
                found.append(Evidence(row["family"], day, row["since"], row["sentence"]))
    return found


def midnight_after(day: date) -> datetime:
    """Aware, UTC."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def importances_of(version: str, newest: RankerImportance | None, folder: Path) -> tuple[RankerImportance, ...]:
    """Importances of the ranker before and now, oldest first; fewer than two where there is no other version's.

    Args:
        version: that ``newest`` belongs to; kept as ``folder/<version>.json``.
    """
    if newest is None:
        return ()
    write_text(folder / f"{version}.json", newest.to_json())
    others = [path for path in folder.glob("*.json") if path.stem != version]
    if not others:
        return (newest,)
    last = max(others, key=lambda path: path.stat().st_mtime)
    return RankerImportance.from_json(last.read_bytes()), newest


def _past_effects(lake: Lake, day: date) -> dict[str, list[float]]:
    """One value per earlier week, of the same weekday: daily windows overlap and would count one change seven times."""
    past: dict[str, list[float]] = {}
    stored = set(lake.days(HISTORY_TABLE))
    for week in range(1, HISTORY_WEEKS + 1):
        one = day - timedelta(weeks=week)
        if one in stored:
            for row in lake.read(HISTORY_TABLE, start=one, end=one + timedelta(days=1)).to_pylist():
                past.setdefault(row["column"], []).append(row["effect"])
    return past


def _group_ratios(lake: Lake, before: pa.Table, now: pa.Table) -> tuple[GroupRatio, ...]:
    if not (before.num_rows and now.num_rows):
        return ()
    try:
        users = lake.read("users")
    except LakeError:
        return ()
    found = []
    for attribute in GROUP_ATTRIBUTES:
        if attribute in users.column_names:
            group_of = dict(zip(users["user_id"].to_pylist(), users[attribute].to_pylist(), strict=True))
            parts = [by_group(one["user_id"].to_pylist(), np.asarray(one["hit"]), group_of) for one in (before, now)]
            ratio = group_ratio(attribute, *parts)
            if ratio is not None:
                found.append(ratio)
    return tuple(found)


def _column_finding(name: str, columns: Sequence[ColumnDrift]) -> Finding:
    judged = [one for one in columns if one.state != "too few"]
    if not judged:
        shoppers = min((min(one.reference, one.current) for one in columns), default=0)
        return Finding(name, "too few", f"{shoppers:,} shoppers; a comparison needs 500.")
    drifted = [one for one in judged if one.state == "drifted"]
    if drifted:
        parts = ", ".join(f"{one.column} (effect {one.effect:.2f}, p {one.p_value:.1g})" for one in drifted)
        return Finding(name, "warning", f"Drifted: {parts}.")
    largest = max(judged, key=lambda one: one.effect)
    return Finding(name, "ok", f"{len(judged)} columns; largest effect {largest.effect:.2f} ({largest.column}).")


def _shares(importance: RankerImportance) -> dict[str, float]:
    return {feature.name: feature.share for feature in importance.features}
