"""``recsys monitor``: one look at an environment, or several while a version is being tried."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as Grid

from recsys_assets.monitoring.findings import ReportSummary, load_summaries
from recsys_deploy.console.terminal import terminal
from recsys_deploy.homes import settings_of_last_home
from recsys_deploy.monitoring.findings import Finding, Limits, Severity, judge
from recsys_deploy.monitoring.observe import observe

console = terminal()
REPORT_COLOURS = {"ok": "green", "warning": "yellow", "too few": "dim"}
COLOURS = {Severity.WELL: "green", Severity.WARNING: "yellow", Severity.FAILED: "red"}


def monitor(
    url: Annotated[str | None, typer.Option(help="Of the API; without, it is not asked.")] = None,
    data_days: Annotated[float, typer.Option(min=0, help="Oldest that the newest interactions may be.")] = 2.0,
    model_days: Annotated[float, typer.Option(min=0, help="Oldest that the champion's data may be.")] = 14.0,
    minutes: Annotated[float, typer.Option(min=0, max=600, help="Go on looking for so long.")] = 0.0,
    every_seconds: Annotated[float, typer.Option(min=1, max=3600, help="Between two looks.")] = 60.0,
    summary: Annotated[Path | None, typer.Option(help="File to which the findings are added, as Markdown.")] = None,
) -> None:
    """Whether an environment is well: API, route, champion, data, alarms. Exit code 1 as soon as something is not."""
    settings = settings_of_last_home()
    limits = Limits(data_age=timedelta(days=data_days), model_age=timedelta(days=model_days))
    cloudwatch = _cloudwatch if settings.target == "aws" else None
    end = time.monotonic() + 60 * minutes
    while True:
        findings = judge(observe(settings, url, cloudwatch, minutes > 0), limits, datetime.now(UTC))
        console.print(_grid(findings))
        for report in load_summaries(settings.home / "reports"):
            console.print(_report_grid(report))
        failed = any(finding.severity is Severity.FAILED for finding in findings)
        if failed or time.monotonic() + every_seconds > end:
            break
        time.sleep(every_seconds)
    if summary is not None:
        with summary.open("a", encoding="utf-8") as file:
            file.write(_markdown(findings))
    if failed:
        raise typer.Exit(1)


def _cloudwatch() -> object:
    import boto3

    return boto3.client("cloudwatch")


def _grid(findings: list[Finding]) -> Grid:
    grid = Grid("", "", "", "what to do", title=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    for one in findings:
        grid.add_row(one.subject, f"[{COLOURS[one.severity]}]{one.severity}[/]", one.sentence, one.remedy)
    return grid


def _report_grid(report: ReportSummary) -> Grid:
    grid = Grid("", "", "", title=f"{report.report} of {report.day}")
    for one in report.findings:
        grid.add_row(one.name, f"[{REPORT_COLOURS[one.state]}]{one.state}[/]", one.sentence)
    return grid


def _markdown(findings: list[Finding]) -> str:
    rows = [f"| {one.subject} | {one.severity} | {one.sentence} | {one.remedy} |" for one in findings]
    return "\n".join(["| subject | | | what to do |", "|---|---|---|---|", *rows, ""])
