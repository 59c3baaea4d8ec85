"""Rules that judge an observed environment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from lambda_api.handlers.models import HealthResponse
from lambda_api.state.routing_record import RoutingRecord
from recsys_assets.registry.records import ModelVersion

_Fact = TypeVar("_Fact")


class Severity(StrEnum):
    """How bad a finding is: only ``failed`` makes the command fail."""

    WELL = "well"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One subject: how it is, in a sentence, and what to do about it (empty where it is well)."""

    subject: str
    severity: Severity
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class Seen(Generic[_Fact]):
    """A fact, or why it could not be seen (``trouble``, empty if it could)."""

    value: _Fact | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Alarm:
    """An alarm that is sounding, and since when (UTC)."""

    name: str
    since: datetime


@dataclass(frozen=True)
class Observed:
    """One look at an environment.

    Attributes:
        health: answer of ``GET /health``; ``None`` as a whole where no address was given.
        route: the routing record; its value is ``None`` before the first release.
        champion: of the registry.
        newest_day: last day (UTC) of accepted interactions in the lake; its value is ``None`` for an empty lake.
        alarms: sounding now; ``None`` as a whole where the target has none.
    """

    route: Seen[RoutingRecord]
    champion: Seen[ModelVersion]
    newest_day: Seen[date]
    health: Seen[HealthResponse] | None = None
    alarms: Seen[Sequence[Alarm]] | None = None


@dataclass(frozen=True)
class Limits:
    """What still counts as well.

    Attributes:
        data_age: from the end of the newest day of interactions until now.
        model_age: from the end of what the champion learned from until now.
        try_age: from the last change of a route on which a version is being tried.
    """

    data_age: timedelta = timedelta(days=2)
    model_age: timedelta = timedelta(days=14)
    try_age: timedelta = timedelta(days=7)


def judge(observed: Observed, limits: Limits, now: datetime) -> list[Finding]:
    """Every subject with how it is. ``now`` is aware; what could not be seen is a failure, never well."""
    findings = [_route(observed, limits, now), _champion(observed, limits, now), _data(observed, limits, now)]
    if observed.health is not None:
        findings.insert(0, _health(observed.health))
    if observed.alarms is not None:
        findings.append(_alarms(observed.alarms, now))
    return findings


def _health(health: Seen[HealthResponse]) -> Finding:
    if health.value is None:
        return Finding("API", Severity.FAILED, f"it does not answer: {health.trouble}", "see the runbook `API is down`")
    if health.value.problems:
        text = "; ".join(health.value.problems)
        remedy = "shoppers are answered by the last good model or by what is popular; the named part is at fault"
        return Finding("API", Severity.FAILED, f"degraded: {text}", remedy)
    versions = ", ".join(f"{model.variant} {model.model_version}" for model in health.value.models) or "none"
    return Finding("API", Severity.WELL, f"answers with {versions}")


def _route(observed: Observed, limits: Limits, now: datetime) -> Finding:
    record, champion = observed.route.value, observed.champion.value
    if observed.route.trouble:
        return Finding("route", Severity.FAILED, observed.route.trouble, "serving keeps the last route it read")
    if record is None:
        remedy = "`recsys release start --strategy immediate` puts the champion in front of shoppers"
        return Finding("route", Severity.FAILED, "nothing is live: every shopper gets what is popular", remedy)
    live = record.champion.target.version
    tried = [variant.target.version for variant in record.variants[1:]]
    tried += [record.shadow.version] if record.shadow else []
    age = now - datetime.fromtimestamp(record.updated_at, UTC)
    if tried:
        sentence = f"{', '.join(tried)} is being tried beside {live}, unchanged for {_days(age)}"
        if age > limits.try_age:
            remedy = "decide: `recsys release promote` or `recsys release rollback`"
            return Finding("route", Severity.WARNING, sentence, remedy)
        return Finding("route", Severity.WELL, sentence)
    if champion is not None and str(champion.version) != live:
        sentence = f"{live} answers, but the champion is {champion.version}"
        remedy = "`recsys release start` puts the champion in front of shoppers"
        return Finding("route", Severity.WARNING, sentence, remedy)
    return Finding("route", Severity.WELL, f"{live} answers every shopper")


def _champion(observed: Observed, limits: Limits, now: datetime) -> Finding:
    champion = observed.champion.value
    if observed.champion.trouble:
        return Finding("champion", Severity.FAILED, observed.champion.trouble, "the registry cannot be read")
    if champion is None:
        return Finding("champion", Severity.FAILED, "no model was ever promoted", "run the training pipeline")
    age = now - champion.data_window.end
    sentence = f"{champion.version} ({champion.model}) learned from data that ended {_days(age)} ago"
    if age > limits.model_age:
        return Finding("champion", Severity.WARNING, sentence, "see why training stopped or its models lost; run it")
    return Finding("champion", Severity.WELL, sentence)


def _data(observed: Observed, limits: Limits, now: datetime) -> Finding:
    newest = observed.newest_day.value
    if observed.newest_day.trouble:
        return Finding("data", Severity.FAILED, observed.newest_day.trouble, "the lake cannot be read")
    if newest is None:
        return Finding("data", Severity.FAILED, "the lake holds no interactions", "run the shop's ingestion")
    age = now - datetime(newest.year, newest.month, newest.day, tzinfo=UTC) - timedelta(days=1)
    sentence = f"the newest accepted day is {newest}, which ended {_days(age)} ago"
    if age > limits.data_age:
        remedy = "see whether events arrive, and whether a quality check holds a day back (Dagster, asset interactions)"
        return Finding("data", Severity.FAILED, sentence, remedy)
    return Finding("data", Severity.WELL, sentence)


def _alarms(alarms: Seen[Sequence[Alarm]], now: datetime) -> Finding:
    if alarms.value is None:
        return Finding("alarms", Severity.FAILED, alarms.trouble, "CloudWatch cannot be asked")
    if not alarms.value:
        return Finding("alarms", Severity.WELL, "none is sounding")
    text = ", ".join(f"{alarm.name} for {_days(now - alarm.since)}" for alarm in alarms.value)
    return Finding("alarms", Severity.FAILED, text, "each has a runbook: docs/runbooks.md")


def _days(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{max(hours, 0):.1f} hours"
