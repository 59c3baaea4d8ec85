"""Turns rules into asset check specs, and outcomes into asset check results.

See https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from lambda_api.settings import Settings
from recsys_assets.data_gate import Gate, describe_gates
from recsys_assets.page_links import page_link
from recsys_assets.quality.data_docs import DataDocs
from recsys_assets.quality.suites import RULES, Rule
from recsys_assets.verdict import Outcome

SHOWN_DAYS = 20
"""Failing days listed in one check result."""


CHECKED = {"interactions": "raw_interactions", "products": "products", "users": "users"}
"""The asset on which the rules of a table are checked."""


def check_specs(table: str, additional_deps: Sequence[str] = ()) -> list[dg.AssetCheckSpec]:
    """One asset check per rule of ``table``; critical rules block what is downstream in the same run.

    The specs have no partitions, even for a daily asset: a check step of a partitioned run knows its days, the UI shows
    its one result for a range of days (per partition it would show "skipped"), and the lake holds each day's verdict.
    """
    return [
        dg.AssetCheckSpec(
            name=rule.check,
            asset=CHECKED[table],
            description=_describe(rule),
            blocking=rule.severity == "critical",
            additional_deps=list(additional_deps),
            metadata={"scope": rule.scope, "severity": rule.severity, "tolerance": rule.tolerance},
        )
        for rule in RULES[table]
    ]


def check_results(
    table: str, outcomes: Mapping[str, Sequence[Outcome]], docs: DataDocs | None, settings: Settings
) -> Iterator[dg.AssetCheckResult]:
    """One result per rule of ``table``, with links to the rendered pages.

    Args:
        outcomes: subject (ISO day or table name) -> its outcomes, one per rule in the order of the rules. Empty when
            nothing was delivered, which passes.
    """
    for position, rule in enumerate(RULES[table]):
        of_rule = {subject: found[position] for subject, found in outcomes.items()}
        failing = {subject: outcome for subject, outcome in of_rule.items() if not outcome.passed}
        touched = {subject: outcome for subject, outcome in of_rule.items() if outcome.failed_rows}
        yield dg.AssetCheckResult(
            passed=not failing,
            asset_key=CHECKED[table],
            check_name=rule.check,
            severity=dg.AssetCheckSeverity.ERROR if rule.severity == "critical" else dg.AssetCheckSeverity.WARN,
            description=_summary(rule, of_rule, failing or touched),
            metadata=_metadata(of_rule, failing, touched, docs, settings),
        )


def fail_on_gates(closed: Sequence[Gate]) -> None:
    """Fail the run, which nobody repeats, if a gate is closed. Raises `dagster.Failure`."""
    if closed:
        raise dg.Failure(describe_gates(closed), allow_retries=False)


def _describe(rule: Rule) -> str:
    if rule.scope == "row" and rule.tolerance:
        return f"{rule.description} Failing rows are quarantined; more than {rule.tolerance:.0%} of them block."
    if rule.tolerance:
        return f"{rule.description} More than {rule.tolerance:.0%} failing rows block."
    return rule.description


def _summary(rule: Rule, of_rule: Mapping[str, Outcome], notable: Mapping[str, Outcome]) -> str:
    if not of_rule:
        return "Nothing was delivered, so nothing was validated."
    if not notable:
        return f"Holds for {sum(outcome.rows for outcome in of_rule.values()):,} rows. {rule.description}"
    first = next(iter(notable.values())).message
    return first if len(notable) == 1 else f"{len(notable)} of {len(of_rule)} days. The first: {first}"


def _metadata(
    of_rule: Mapping[str, Outcome],
    failing: Mapping[str, Outcome],
    touched: Mapping[str, Outcome],
    docs: DataDocs | None,
    settings: Settings,
) -> dict[str, Any]:
    rows = sum(outcome.rows for outcome in of_rule.values())
    failed = sum(outcome.failed_rows for outcome in of_rule.values())
    metadata: dict[str, Any] = {"rows": rows, "failed_rows": failed, "failed_share": failed / rows if rows else 0.0}
    shown = failing or touched
    if shown:
        metadata["example"] = "; ".join(f"{subject}: {found.example}" for subject, found in list(shown.items())[:3])
        more = f" and {len(shown) - SHOWN_DAYS} more" if len(shown) > SHOWN_DAYS else ""
        name = "failing" if failing else "with_failing_rows"
        metadata[name] = ", ".join(list(shown)[:SHOWN_DAYS]) + more
    if docs:
        page = next((docs.pages[subject] for subject in failing if subject in docs.pages), docs.index)
        metadata["data_docs"] = page_link(settings, page)
        metadata["data_docs_index"] = page_link(settings, docs.index)
        if docs.left_out:
            metadata["data_docs_left_out"] = f"{docs.left_out} failing days have no page"
    return metadata
