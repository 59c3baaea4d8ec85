"""What is judged well and what is not: every rule on both sides of its limit; what cannot be seen is never well."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from lambda_api.handlers.models import HealthResponse
from lambda_api.recommender.bundle import DataWindow
from lambda_api.state.routing_record import WHOLE, RouteTarget, RoutingRecord, Variant
from recsys_assets.registry.records import ModelVersion, Status
from recsys_assets.registry.versions import Version
from recsys_deploy.monitoring.findings import Alarm, Limits, Observed, Seen, Severity, judge

NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)
CHAMPION = ModelVersion(
    model="ease",
    bundle_uri="bundles/1",
    bundle_checksum="sum",
    bundle_schema=1,
    data_window=DataWindow(start=NOW - timedelta(days=90), end=NOW - timedelta(days=3)),
    git_revision="0123abc",
    parameters={},
    metrics={},
    run_id="run",
    version=Version(1, 0, 0),
    created_at=NOW,
    status=Status.CHAMPION,
)
OLD, NEW = (RouteTarget(f"v{number}.0.0", f"bundles/{number}", "sum") for number in (1, 2))
ROUTE = RoutingRecord("none", "none", (Variant("champion", OLD, WHOLE),), None, 1, int(NOW.timestamp()) - 60)
HEALTH = HealthResponse(
    status="ok",
    problems=[],
    experiment=None,
    models=[],
    catalogue=None,
    dependencies=[],
    started_at=0,
    request_id="r",
)
WELL = Observed(
    route=Seen(ROUTE), champion=Seen(CHAMPION), newest_day=Seen(date(2024, 3, 14)), health=Seen(HEALTH), alarms=Seen([])
)


def severities(observed: Observed) -> dict[str, Severity]:
    return {finding.subject: finding.severity for finding in judge(observed, Limits(), NOW)}


def test_all_well() -> None:
    assert severities(WELL) == dict.fromkeys(("API", "route", "champion", "data", "alarms"), Severity.WELL)


def test_only_what_was_asked_is_judged() -> None:
    assert set(severities(replace(WELL, health=None, alarms=None))) == {"route", "champion", "data"}


@pytest.mark.parametrize("part", ["route", "champion", "newest_day", "health", "alarms"])
def test_what_could_not_be_seen_is_a_failure_with_its_reason(part: str) -> None:
    seen = judge(replace(WELL, **{part: Seen(trouble="TableUnavailable: gone")}), Limits(), NOW)
    (bad,) = [finding for finding in seen if finding.severity is Severity.FAILED]
    assert "TableUnavailable: gone" in bad.sentence and bad.remedy


TRIED = replace(ROUTE, variants=(Variant("champion", OLD, 9_000), Variant("challenger", NEW, 1_000)))
OLD_TRY = int((NOW - timedelta(days=7, seconds=1)).timestamp())

CASES = {
    "nothing live": ("route", replace(WELL, route=Seen(None)), Severity.FAILED, "nothing is live"),
    "champion waits": (
        "route",
        replace(WELL, champion=Seen(replace(CHAMPION, version=Version(2, 0, 0)))),
        Severity.WARNING,
        "but the champion is v2.0.0",
    ),
    "a try": ("route", replace(WELL, route=Seen(TRIED)), Severity.WELL, "v2.0.0 is being tried"),
    "a forgotten try": (
        "route",
        replace(WELL, route=Seen(replace(TRIED, updated_at=OLD_TRY))),
        Severity.WARNING,
        "unchanged for 7.0 days",
    ),
    "a forgotten shadow": (
        "route",
        replace(WELL, route=Seen(replace(ROUTE, shadow=NEW, updated_at=OLD_TRY))),
        Severity.WARNING,
        "v2.0.0 is being tried",
    ),
    "no champion": ("champion", replace(WELL, champion=Seen(None)), Severity.FAILED, "ever promoted"),
    "old champion": (
        "champion",
        replace(
            WELL,
            champion=Seen(
                replace(
                    CHAMPION,
                    data_window=DataWindow(start=NOW - timedelta(days=90), end=NOW - timedelta(days=14, seconds=1)),
                )
            ),
        ),
        Severity.WARNING,
        "14.0 days ago",
    ),
    "data just in time": ("data", replace(WELL, newest_day=Seen(date(2024, 3, 13))), Severity.WELL, "36.0 hours ago"),
    "old data": ("data", replace(WELL, newest_day=Seen(date(2024, 3, 12))), Severity.FAILED, "2.5 days ago"),
    "no data": ("data", replace(WELL, newest_day=Seen(None)), Severity.FAILED, "no interactions"),
    "degraded": (
        "API",
        replace(WELL, health=Seen(HEALTH.model_copy(update={"problems": ["history: open"]}))),
        Severity.FAILED,
        "history: open",
    ),
    "an alarm": (
        "alarms",
        replace(WELL, alarms=Seen([Alarm("recsys-dev-errors", NOW - timedelta(hours=3))])),
        Severity.FAILED,
        "recsys-dev-errors for 3.0 hours",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_rule(name: str) -> None:
    subject, observed, severity, words = CASES[name]
    (found,) = [finding for finding in judge(observed, Limits(), NOW) if finding.subject == subject]
    assert (found.severity, words in found.sentence) == (severity, True), found
    assert (found.remedy == "") == (severity is Severity.WELL)
