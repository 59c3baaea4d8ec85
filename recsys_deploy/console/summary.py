"""The end of a run, for a person: what was built, how good it is, what it recommends, what to do next.

Put terminal tables here. Keep every figure's computation out: this module formats what it is given.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from lambda_api.state.api_keys import StoredKey
from recsys_assets.evaluation.report import EvaluationReport
from recsys_assets.registry.records import VALIDATION_NDCG, ExperimentRun, ModelVersion
from recsys_deploy.answers import Answer
from recsys_deploy.console.problem import Problem


def print_problems(console: Console, problems: Sequence[Problem]) -> None:
    """Why the run stopped, one panel each."""
    for problem in problems:
        console.print(Panel(escape(problem.message), title=escape(problem.where), border_style="red"))


def print_report(console: Console, report: EvaluationReport) -> None:
    """Every model on the test window, and each one's paired difference to the reference baseline."""
    setting = report.setting
    table = Table(
        title=f"{setting.users:,} shoppers, {setting.start:%Y-%m-%d} to {setting.end:%Y-%m-%d}, lists of {setting.k}, "
        f"{'repeats allowed' if setting.allow_repeats else 'new products only'}",
        title_style="bold",
    )
    for heading in (
        "model",
        f"NDCG@{setting.k}",
        "95 % interval",
        f"recall@{setting.k}",
        "coverage",
        f"vs {report.reference_baseline}",
    ):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model in report.models:
        ndcg = model.metrics["ndcg"]
        name = f"[bold]{model.name}[/] (challenger)" if model.name == report.challenger else model.name
        table.add_row(
            name,
            f"{ndcg.mean:.4f}",
            f"{ndcg.low:.4f} - {ndcg.high:.4f}",
            f"{model.metrics['recall'].mean:.4f}",
            f"{model.coverage:.1%}",
            _difference(report, model.name),
        )
    console.print(table)


def _difference(report: EvaluationReport, name: str) -> str:
    if name == report.reference_baseline:
        return "-"
    comparison = report.comparison(name, report.reference_baseline)
    colour = "green" if comparison.low > 0 else "red" if comparison.high < 0 else "yellow"
    return f"[{colour}]{comparison.difference:+.4f} [{comparison.low:+.4f}, {comparison.high:+.4f}][/]"


def print_registration(console: Console, registered: ModelVersion, champion: ModelVersion | None) -> None:
    """What the gate decided, in its own words."""
    if champion is not None and champion.version == registered.version:
        console.print(
            f"[green]champion[/] {champion.version} ({champion.model}), bundle {champion.bundle_checksum[:12]}"
        )
        return
    keeps = f"{champion.version} ({champion.model}) stays champion" if champion else "there is no champion yet"
    console.print(f"[yellow]refused[/] {registered.version} ({registered.model}); {keeps}:")
    for reason in registered.refusal_reasons:
        console.print(f"  - {escape(reason)}")


def print_answers(console: Console, answers: Sequence[Answer]) -> None:
    """Lists for a few shoppers, each line with its reason."""
    for answer in answers:
        recent = "; ".join(answer.recent) or "nothing yet"
        table = Table(
            title=f"shopper {escape(answer.user_id)} (last: {escape(recent)})", title_justify="left", title_style="bold"
        )
        for heading in ("", "recommended", "score", "why"):
            table.add_column(heading, justify="right" if heading in ("", "score") else "left")
        for rank, suggestion in enumerate(answer.suggestions, start=1):
            table.add_row(str(rank), escape(suggestion.name), f"{suggestion.score:.4g}", escape(suggestion.because))
        console.print(table)


def print_versions(console: Console, versions: Sequence[ModelVersion]) -> None:
    """The registry, newest first."""
    table = Table("version", "model", "status", "NDCG", "data until", "registered", title="registered models")
    for version in reversed(versions):
        ndcg = next((value for name, value in version.metrics.items() if name.startswith("ndcg@")), None)
        table.add_row(
            str(version.version),
            version.model,
            str(version.status),
            "" if ndcg is None else f"{ndcg:.4f}",
            f"{version.data_window.end:%Y-%m-%d}",
            f"{version.created_at:%Y-%m-%d %H:%M}",
        )
    console.print(table)


def print_runs(console: Console, runs: Sequence[ExperimentRun]) -> None:
    """Experiment runs, in the order given."""
    table = Table("started", "model", "validation NDCG", "seconds", "data until", "code", title="experiment runs")
    for run in runs:
        ndcg = run.metrics.get(VALIDATION_NDCG)
        table.add_row(
            f"{run.started_at:%Y-%m-%d %H:%M}",
            run.model,
            "" if ndcg is None else f"{ndcg:.4f}",
            f"{run.duration_s:.1f}",
            f"{run.data_window.end:%Y-%m-%d}",
            run.git_revision,
        )
    console.print(table)


def print_keys(console: Console, keys: Sequence[StoredKey], now: float) -> None:
    """API keys, oldest first; a secret is known to nobody by now."""
    table = Table("id", "name", "scopes", "made", "expires", "state", title="API keys")
    for key in keys:
        expired = key.expires_at is not None and key.expires_at <= now
        state = f"revoked {_day(key.revoked_at)}" if key.revoked_at is not None else "expired" if expired else "valid"
        scopes = ", ".join(sorted(key.scopes))
        expires = "never" if key.expires_at is None else _day(key.expires_at)
        table.add_row(key.key_id, escape(key.name), scopes, _day(key.created_at), expires, state)
    console.print(table)


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def print_next_steps(console: Console, home: Path, user_id: str) -> None:
    """Where everything is and what to try."""
    console.print(
        Panel(
            f"everything is in {home}\n"
            f"report      {home}/reports/evaluation_report.html\n"
            f"data docs   {home}/data_docs\n\n"
            "make up                                 the API and a shop page that uses it\n"
            "make ui                                 the graph, its checks and its history in Dagster\n"
            f".venv/bin/recsys recommend {user_id:<12} a list for any shopper\n"
            ".venv/bin/recsys models                 the registry; `recsys runs` every training\n"
            "make demo DATA=path/to/your/events      the same on your own shop",
            title="next",
            border_style="blue",
        )
    )
