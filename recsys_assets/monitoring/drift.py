"""The drift report of one day: features, predictions, concept, twin, groups and importances; findings and evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.atomic_files import write_text
from recsys_assets.lake import Lake, LakeError
from recsys_assets.measurement.importance import RankerImportance
from recsys_assets.monitoring.calendar import missing_days
from recsys_assets.monitoring.concept import MIN_SHOPPERS as MIN_BUYERS
from recsys_assets.monitoring.concept import NO_CUSUM, Cusum, DailyRate, follow
from recsys_assets.monitoring.drift_statistics import MIN_SHOPPERS, ColumnDrift, compare_categorical, judge
from recsys_assets.monitoring.feature_tables import compare_feature_tables
from recsys_assets.monitoring.findings import Finding
from recsys_assets.monitoring.groups import MIN_NDCG, GroupRatio, by_group, group_ratio, importance_ndcg
from recsys_assets.monitoring.retraining import Evidence, Family
from recsys_assets.monitoring.samples import REFERENCE_DAYS, WINDOW_DAYS, compare_samples, usable_days, weekly_samples
from recsys_assets.monitoring.served_hits import daily_rates, one_row_per_shopper
from recsys_assets.monitoring.served_samples import NO_PREDICTIONS, Predictions, predictions_of
from recsys_assets.monitoring.twin import TwinResult, twin_of
from recsys_assets.shop_mark import mark_of, own_days, write_marked

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
    """Everything that was found on one day; parts that could not be computed are ``None`` or empty.

    Attributes:
        missing: days of the current week without usable interactions; with any, nothing else is judged.
        columns: of one event per shopper, and of the feature tables.
        predictions: of the hits' lists and of the lists served; ``served``: the latter before they were judged.
        rates: hit rates up to ``day``; ``cusum``: over them, without an alarm where ``day`` itself has no rate.
        foreign_days: stored days of statistics that belong to another shop and were not used.
    """

    day: date
    missing: tuple[date, ...] = ()
    columns: tuple[ColumnDrift, ...] = ()
    predictions: tuple[ColumnDrift, ...] = ()
    served: Predictions = NO_PREDICTIONS
    rates: tuple[DailyRate, ...] = ()
    cusum: Cusum = NO_CUSUM
    twin: TwinResult | None = None
    groups: tuple[GroupRatio, ...] = ()
    importance: float | None = None
    foreign_days: int = 0


def drift_report_of(
    lake: Lake,
    day: date,
    champion_end: datetime | None,
    k: int,
    importances: Sequence[RankerImportance] = (),
) -> DriftReport:
    """Compute the report. Hits and served lists must have been brought up to ``day`` (`served_hits.update_hits`,
    `served_samples.update_samples`).

    Args:
        champion_end: aware, UTC; where the champion's training data end; ``None`` without a champion.
        importances: of the ranker before and now; fewer than two compare with nothing.

    Raises:
        GateClosed: the catalogue or the users may not be used.
        LakeError: there are no interactions.
    """
    history, foreign = _past_effects(lake, day)
    rates = tuple(daily_rates(lake, day))
    missing = tuple(missing_days(usable_days(lake), day, WINDOW_DAYS))
    if missing:
        return DriftReport(day, missing, rates=rates, foreign_days=foreign)
    columns = judge([*compare_samples(weekly_samples(lake, day)), *compare_feature_tables(lake, day)], history)
    start = day - timedelta(days=WINDOW_DAYS - 1)
    before = one_row_per_shopper(lake, start - timedelta(days=REFERENCE_DAYS), start)
    now = one_row_per_shopper(lake, start, day + timedelta(days=1))
    served = predictions_of(lake, day)
    lists = [one["first_category"].to_pylist() for one in (before, now)]
    first_category = [compare_categorical("first_category", *lists)] if all(lists) else []
    cusum = follow(rates, start=champion_end.date() if champion_end else None)
    if day not in cusum.days[-1:]:
        cusum = replace(cusum, alarm=False)  # an older day's alarm has been reported on that day
    return DriftReport(
        day=day,
        columns=columns,
        predictions=judge([*first_category, *served.columns], history),
        served=served,
        rates=rates,
        cusum=cusum,
        twin=twin_of(lake, day, champion_end, k) if champion_end else None,
        groups=_group_ratios(lake, before, now),
        importance=importance_ndcg(*map(_shares, importances)) if len(importances) == 2 else None,
        foreign_days=foreign,
    )


def findings_of(report: DriftReport) -> tuple[Finding, ...]:
    """One finding per family, and one per group attribute; "too few" for all of them where a day is missing."""
    found = []
    if report.foreign_days:
        days = f"Stored statistics of {report.foreign_days} days"
        sentence = f"{days} are about another shop's products; they are not used."
        found.append(Finding("history", "too few", sentence))
    if report.missing:
        days = ", ".join(map(str, report.missing))
        sentence = f"No usable interactions on {days}; nothing is judged on a week that lacks a day."
        found += [Finding(name, "too few", sentence) for name in ("features", "predictions", "concept", "twin")]
        return tuple(found)
    found += [
        _column_finding("features", report.columns),
        _tables_finding(report.columns),
        _column_finding("predictions", report.predictions),
        _served_finding(report),
        _concept_finding(report),
        _twin_finding(report.twin),
    ]
    for ratio in report.groups:
        sentence = f"Lowest over highest hit rate by {ratio.attribute}: {ratio.before:.2f} before, {ratio.now:.2f} now."
        found.append(Finding(f"groups by {ratio.attribute}", "warning" if ratio.alarm else "ok", sentence))
    if report.importance is not None:
        sentence = f"Importances agree with the last ranker's: {report.importance:.2f}."
        found.append(Finding("attribution", "warning" if report.importance < MIN_NDCG else "ok", sentence))
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
    mark = mark_of(lake)
    effects = [{"column": one.column, "effect": one.effect} for one in (*report.columns, *report.predictions)]
    write_marked(lake, mark, HISTORY_TABLE, report.day, pa.Table.from_pylist(effects, HISTORY_SCHEMA))
    rows = [{"family": e.family, "since": e.since, "sentence": e.sentence} for e in evidence_of(report)]
    write_marked(lake, mark, EVIDENCE_TABLE, report.day, pa.Table.from_pylist(rows, EVIDENCE_SCHEMA))


def stored_evidence(lake: Lake, today: date, days: int = 14) -> list[Evidence]:
    """The alarms of the last days; those of another shop are left out."""
    found = []
    for day in own_days(lake, mark_of(lake), EVIDENCE_TABLE, today - timedelta(days=days - 1), today)[0]:
        for row in lake.read_day(EVIDENCE_TABLE, day).to_pylist():
            found.append(Evidence(row["family"], day, row["since"], row["sentence"]))
    return found


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


def _past_effects(lake: Lake, day: date) -> tuple[dict[str, list[float]], int]:
    """One value per earlier week, of the same weekday: daily windows overlap and would count one change seven times.

    With it, how many stored days are of another shop.
    """
    past: dict[str, list[float]] = {}
    own, foreign = own_days(lake, mark_of(lake), HISTORY_TABLE, day - timedelta(weeks=HISTORY_WEEKS), day)
    for one in own:
        if one < day and (day - one).days % 7 == 0:
            for row in lake.read_day(HISTORY_TABLE, one).to_pylist():
                past.setdefault(row["column"], []).append(row["effect"])
    return past, len(foreign)


def _group_ratios(lake: Lake, before: pa.Table, now: pa.Table) -> tuple[GroupRatio, ...]:
    if not (before.num_rows and now.num_rows):
        return ()
    try:
        users = lake.read("users")
    except LakeError:  # a shop without a table of users has no groups
        return ()
    seen = pa.concat_arrays([*before["user_id"].chunks, *now["user_id"].chunks])
    users = users.filter(pc.is_in(users["user_id"], seen))
    found = []
    for attribute in GROUP_ATTRIBUTES:
        if attribute in users.column_names:
            group_of = dict(zip(users["user_id"].to_pylist(), users[attribute].to_pylist(), strict=True))
            parts = [by_group(one["user_id"].to_pylist(), np.asarray(one["hit"]), group_of) for one in (before, now)]
            ratio = group_ratio(attribute, *parts)
            if ratio is not None:
                found.append(ratio)
    return tuple(found)


def _twin_finding(twin: TwinResult | None) -> Finding:
    if twin is None:
        return Finding("twin", "too few", "The champion's data are younger than a week, or too few shoppers.")
    one, lift = twin.comparison, "" if twin.lift is None else f" ({twin.lift:+.0%})"
    sentence = f"Fresh data change the hit rate by {one.difference:+.4f}{lift}, 99 % {one.low:+.4f} to {one.high:+.4f}."
    return Finding("twin", "warning" if twin.alarm else "ok", sentence)


def _concept_finding(report: DriftReport) -> Finding:
    today = [rate for rate in report.rates if rate.day == report.day]
    if not report.cusum.path:
        return Finding("concept", "too few", f"{len(report.rates)} days of hits; the CUSUM needs 35.")
    if report.cusum.days[-1] != report.day:
        buyers = today[0].shoppers if today else 0
        return Finding("concept", "too few", f"{buyers} buyers on {report.day}; a verdict needs {MIN_BUYERS}.")
    sentence = (
        f"Hit rate {today[0].rate:.3f} of {today[0].shoppers:,} shoppers on {report.day}; "
        f"CUSUM {report.cusum.path[-1]:.1f} of {report.cusum.threshold:g}."
    )
    return Finding("concept", "warning" if report.cusum.alarm else "ok", sentence)


def _tables_finding(columns: Sequence[ColumnDrift]) -> Finding:
    tables = sorted({one.column.partition(".")[0] for one in columns if "." in one.column})
    if not tables:
        sentence = "No feature table was made both in this week and in the eight weeks before."
        return Finding("feature tables", "too few", sentence)
    return Finding("feature tables", "ok", f"Compared with earlier weeks, among the features: {', '.join(tables)}.")


def _served_finding(report: DriftReport) -> Finding:
    if not report.served.version:
        return Finding("served lists", "too few", f"No list of a model was served on {report.day}.")
    shown = [f"{one.column} {one.current:,} shoppers now, {one.reference:,} before" for one in report.served.columns]
    sentence = f"Of version {report.served.version}: {'; '.join(shown)}."
    if report.served.between_versions is not None:
        sentence += f" A new version changed {report.served.between_versions:.0%} of a shopper's places."
    enough = any(min(one.current, one.reference) >= MIN_SHOPPERS for one in report.served.columns)
    return Finding("served lists", "ok" if enough else "too few", sentence)


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
