"""The end of a run in a terminal: report, registration, recommendations, next steps."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from recsys_assets.evaluation.report import EvaluationReport
from recsys_assets.registry.records import ModelVersion
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
        caption="* chosen on the weeks before; in brackets: 95 % interval of the difference",
        box=SIMPLE_HEAD,
        padding=(0, 1),
    )
    headings = (
        "model",
        f"NDCG@{setting.k}",
        f"recall@{setting.k}",
        "coverage",
        f"vs {report.reference_baseline}, NDCG",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for model in report.models:
        ndcg = model.metrics["ndcg"]
        name = f"[bold]{model.name}[/] *" if model.name == report.challenger else model.name
        table.add_row(
            name,
            f"{ndcg.mean:.4f}",
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
    """Whether the version became champion, with the reasons where it was refused."""
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
        about = f"last: {'; '.join(answer.recent)}" if answer.known else "unknown to this shop, so popular products"
        table = Table(
            title=f"shopper {escape(answer.user_id)} ({escape(about)})", title_justify="left", title_style="bold"
        )
        for heading in ("", "recommended", "of 100", "why"):
            table.add_column(heading, justify="right" if heading in ("", "of 100") else "left")
        for rank, suggestion in enumerate(answer.suggestions, start=1):
            table.add_row(str(rank), escape(suggestion.name), str(suggestion.score), escape(suggestion.because))
        console.print(table)


def print_next_steps(console: Console, home: Path, user_id: str, version: str, *, is_live: bool) -> None:
    """Where everything is and what can be done next; ``is_live``: a champion answers, ``version`` is the newest."""
    report = home / "reports" / "evaluation_report.html"
    serve = [
        "recsys up                              API, shop page and Dagster UI",
        f"recsys recommend {user_id:<22} a list for any shopper",
    ]
    refused = [
        "nothing is live, for the reasons above; the report shows by how much",
        f"recsys release start {version} --strategy immediate --even-if-refused    serves it all the same",
    ]
    others = [
        "recsys ui                              the graph, its checks and its history",
        "recsys models                          the registry; `recsys runs`: every training",
        "recsys run --data FOLDER               the same on your own shop",
    ]
    places = [f"everything is in {home}", f"report      {report}", f"data docs   {home / 'data_docs'}", ""]
    text = "\n".join([*places, *(serve if is_live else refused), *others])
    console.print(Panel(escape(text), title="next", border_style="blue"))
