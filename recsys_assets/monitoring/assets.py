"""The three daily reports as Dagster assets; their checks are warnings and block nothing."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from lambda_api.settings import Settings
from recsys_assets.ingest.served_assets import list_outcomes
from recsys_assets.lake import Lake
from recsys_assets.measurement.importance import read_importance
from recsys_assets.monitoring import pages
from recsys_assets.monitoring.alerts import Alert, AlertError, open_alerts
from recsys_assets.monitoring.arrivals import arrival_findings
from recsys_assets.monitoring.business import MAX_MEDIANS, MAX_SHARE, MIN_SHOPPERS, WINDOW_DAYS, variant_figures
from recsys_assets.monitoring.drift import drift_report_of, evidence_of, findings_of, importances_of, store
from recsys_assets.monitoring.findings import FOLDER, Finding, ReportSummary, save_summary, worst
from recsys_assets.monitoring.quality_trend import closed_subjects, daily_quality, quality_findings
from recsys_assets.monitoring.served_hits import update_hits
from recsys_assets.monitoring.served_samples import update_samples
from recsys_assets.page_links import page_link
from recsys_assets.partitions import DAYS
from recsys_assets.promotion.refit import refit_folder
from recsys_assets.quality.assets import interactions
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.tags import OWNERS

GROUP = "monitoring"
NO_WARNING = "no_warning"


def _spec(asset: str, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(NO_WARNING, asset=asset, description=description)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    partitions_def=DAYS,
    deps=[interactions],
    kinds={"matplotlib", "html"},
    check_specs=[_spec("data_quality_report", "Volume, rejected rows, late events and clocks are as usual.")],
)
def data_quality_report(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult[None]]:
    """Volume against the same weekday, rows set aside and why, missing days, late events, robots, shifted clocks."""
    day = _day(context)
    days = daily_quality(lake, day)
    findings = (*quality_findings(days, closed_subjects(lake), day), *arrival_findings(lake, day))
    for finding in findings:
        # A missing day is told on that day, as volume; the finding about it stays for four weeks.
        if finding.state == "warning" and finding.name != "missing days":
            what_to_do = "Look at data_quality_report: does the shop deliver, does the event stream, which rule failed?"
            _send(context, settings, Alert(f"Data: {finding.name}", day, finding.sentence, what_to_do))
    yield _result(context, settings, "data_quality_report", day, findings, pages.quality_page(days))


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    partitions_def=DAYS,
    deps=[interactions],
    kinds={"duckdb", "html"},
    check_specs=[
        _spec("drift_report", "Nothing has drifted. A warning trains nothing by itself: drift_sensor decides.")
    ],
)
def drift_report(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    bundles: dg.ResourceParam[BundleStore],
) -> Iterator[dg.MaterializeResult[None]]:
    """Drift of features, predictions and hits of what is served; what a retraining would bring; groups; importances."""
    day, champion = _day(context), registry.champion()
    computed = update_hits(lake, registry, bundles, settings.home / "bundles", day, settings.k, context.log.info)
    sampled = update_samples(lake, day)
    importances: Sequence[Any] = ()
    if champion is not None:
        folder = settings.home / "reports" / FOLDER / "importances"
        importances = importances_of(str(champion.version), read_importance(refit_folder(settings)), folder)
    end = None if champion is None else champion.data_window.end
    report = drift_report_of(lake, day, end, settings.k, importances)
    store(lake, report)
    for evidence in evidence_of(report):
        alert = Alert(
            f"Drift of {evidence.family}",
            evidence.since,
            f"{evidence.sentence}.",
            "Look at drift_report; drift_sensor decides on a training.",
        )
        _send(context, settings, alert)
    page = pages.drift_page(report)
    more = {"days_of_hits_computed": computed, "days_of_lists_sampled": sampled}
    yield _result(context, settings, "drift_report", day, findings_of(report), page, more)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    partitions_def=DAYS,
    deps=[list_outcomes],
    kinds={"python", "html"},
    check_specs=[_spec("business_report", "There are enough shoppers to say something about what was served.")],
)
def business_report(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult[None]]:
    """Click-through, conversion and revenue per shopper and variant of the lists shown; intervals over shoppers."""
    day = _day(context)
    figures, capped = variant_figures(lake, day, seed=settings.seed)
    findings = tuple(
        Finding(
            f"variant {one.variant}",
            "ok",
            f"{one.shoppers:,} shoppers: click-through {one.click_through.mean:.2%}, {one.conversion.mean:.3f} bought "
            f"and {one.revenue.mean:.2f} earned per shopper.",
        )
        for one in figures
    )
    if not findings:
        findings = (Finding("served lists", "too few", _too_few_served(lake, day)),)
    if capped:
        sentence = (
            f"Shoppers who saw far more than others: {capped:,}; each counts at most as {MAX_SHARE:.0%} of a variant, "
            f"or as {MAX_MEDIANS} median shoppers."
        )
        findings = (*findings, Finding("robots", "ok", sentence))
    page = pages.business_page(figures, capped)
    yield _result(context, settings, "business_report", day, findings, page)


def _too_few_served(lake: Lake, day: date) -> str:
    if not any(one <= day for one in lake.days(list_outcomes.key.to_user_string())):
        return "No list has been served yet."
    return f"Fewer than {MIN_SHOPPERS} shoppers of each variant were served in the last {WINDOW_DAYS} days."


def _day(context: dg.AssetExecutionContext) -> date:
    return date.fromisoformat(context.partition_key)


def _result(
    context: dg.AssetExecutionContext,
    settings: Settings,
    report: str,
    day: date,
    findings: tuple[Finding, ...],
    page: pages.Page,
    more: dict[str, Any] | None = None,
) -> dg.MaterializeResult[None]:
    summary = ReportSummary(report, day, findings)
    written = pages.write_page(page, summary, settings.home / "reports")
    save_summary(summary, settings.home / "reports")
    for finding in findings:
        context.log.info(f"{finding.name}: {finding.state}. {finding.sentence}")
    lines = [f"| {one.name} | {one.state} | {one.sentence} |" for one in findings]
    return dg.MaterializeResult(
        metadata={
            "page": page_link(settings, written),
            "state": worst(findings),
            "findings": dg.MetadataValue.md("\n".join(["| what | state | figures |", "|---|---|---|", *lines])),
            **{plot.title: dg.MetadataValue.md(plot.to_markdown()) for plot in page.plots},
            **(more or {}),
        },
        check_results=[
            dg.AssetCheckResult(
                passed=worst(findings) != "warning",
                check_name=NO_WARNING,
                severity=dg.AssetCheckSeverity.WARN,
                description=" ".join(one.sentence for one in summary.warnings) or None,
            )
        ],
    )


def _send(context: dg.AssetExecutionContext, settings: Settings, alert: Alert) -> None:
    try:
        open_alerts(settings.alerts).send(alert)
    except AlertError as error:
        # The report itself must not fail because nobody could be told.
        context.log.warning(f"{error}: {alert.text}")
