"""Dagster asset checks of the raw tables: they validate deliveries, and open or close their gates."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg

from lambda_api.settings import Settings
from recsys_assets import data_gate
from recsys_assets.lake import Lake
from recsys_assets.quality.dagster_checks import check_results, check_specs, fail_on_gates
from recsys_assets.quality.data_docs import document_days, document_table
from recsys_assets.quality.validate_lake import validate_stored_days
from recsys_assets.quality.validation import validate_table
from recsys_assets.verdict import Outcome

PROGRESS_DAYS = 50
"""A line is logged each time this many days have been checked."""


@dg.multi_asset_check(
    name="raw_interactions_checks",
    specs=check_specs("interactions", additional_deps=("products", "users")),
    description="Apply every rule to each delivered day, and open or close its gate.",
)
def raw_interactions_checks(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """Validate the days of the run (every delivered day, when launched alone); one result per rule for all of them."""
    partitioned = context.has_partition_key or context.has_partition_key_range
    days = [date.fromisoformat(key) for key in context.partition_keys] if partitioned else lake.days("raw_interactions")
    _require_readable(lake, days)
    now = datetime.now(UTC)
    outcomes: dict[str, tuple[Outcome, ...]] = {}
    for verdict in validate_stored_days(lake, days, now):
        outcomes[str(verdict.subject)] = verdict.outcomes
        if len(outcomes) % PROGRESS_DAYS == 0:
            context.log.info(f"{len(outcomes)} days checked, the last being {verdict.subject}")
    failing = [date.fromisoformat(day) for day, found in outcomes.items() if any(outcome.blocks for outcome in found)]
    checked = [date.fromisoformat(day) for day in outcomes]
    docs = document_days(settings.home, lake, checked, failing, now) if checked else None
    context.log.info(f"{len(outcomes)} days checked, {len(failing)} of them refused")
    _log_refusals(context, lake, {day.isoformat() for day in failing})
    yield from check_results("interactions", dict(sorted(outcomes.items())), docs, settings)


@dg.multi_asset_check(
    name="products_checks",
    specs=check_specs("products"),
    description="Apply every rule to the catalogue, and open or close its gate.",
)
def products_checks(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """Validate the catalogue."""
    yield from _validate_table(context, "products", settings, lake)


@dg.multi_asset_check(
    name="users_checks",
    specs=check_specs("users"),
    description="Apply every rule to the users, and open or close their gate.",
)
def users_checks(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> Iterator[dg.AssetCheckResult]:
    """Validate the users."""
    yield from _validate_table(context, "users", settings, lake)


def _validate_table(
    context: dg.AssetCheckExecutionContext, name: str, settings: Settings, lake: Lake
) -> Iterator[dg.AssetCheckResult]:
    closed = data_gate.closed_gates(lake)
    fail_on_gates([gate for gate in closed if gate.subject == name and gate.state == "unreadable"])
    now = datetime.now(UTC)
    verdict = validate_table(name, lake.read(name), now)
    data_gate.record_verdict(lake, verdict)
    _log_refusals(context, lake, {name})
    docs = document_table(settings.home, lake, name, now)
    yield from check_results(name, {name: verdict.outcomes}, docs, settings)


def _log_refusals(context: dg.AssetCheckExecutionContext, lake: Lake, subjects: set[str]) -> None:
    """Log what is wrong: Dagster's own error names only the failed checks."""
    refused = [found for found in data_gate.closed_gates(lake) if found.subject in subjects]
    if refused:
        context.log.error(data_gate.describe_gates(refused))


def _require_readable(lake: Lake, days: list[date]) -> None:
    """Fail for products or users that may not be used, and for days whose newest delivery could not be read.

    Days are validated against products and users. What is stored of an unreadable day is an earlier delivery.
    """
    asked = {day.isoformat() for day in days}
    fail_on_gates(
        [
            gate
            for gate in data_gate.closed_gates(lake)
            if gate.subject in data_gate.TABLES or (gate.subject in asked and gate.state == "unreadable")
        ]
    )
