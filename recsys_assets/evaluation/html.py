"""The evaluation report as one self-contained HTML file: no scripts, fonts or network access."""

from dataclasses import dataclass
from pathlib import Path

from lambda_api.atomic_files import write_text
from recsys_assets.evaluation.business import PolicyFigures
from recsys_assets.evaluation.plots import plots
from recsys_assets.evaluation.report import EvaluationReport
from recsys_assets.evaluation.tables import p_text, percent, tables, verdict, with_interval, with_signed_interval
from recsys_assets.page_templates import rendered


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the promotion rules decided after the evaluation: a headline, and the reasons as sentences."""

    headline: str
    reasons: tuple[str, ...]


def render_html(report: EvaluationReport, outcome: Outcome | None = None) -> str:
    """The page. Everything that comes from data is escaped."""
    reference = None
    if report.challenger != report.reference_baseline:
        reference = report.comparison(report.challenger, report.reference_baseline)
    champion = None
    if report.champion not in (None, report.challenger):
        champion = report.comparison(report.challenger, report.champion)
    return rendered(
        "recsys_assets.evaluation",
        "report.html.j2",
        report=report,
        outcome=outcome,
        setting=report.setting,
        challenger=report.model(report.challenger),
        against_reference=reference,
        against_champion=champion,
        business=_business(report),
        flagged=[
            (model, gap)
            for model in report.models
            if model.name in (report.challenger, report.champion)
            for gap in model.gaps
            if gap.flagged
        ],
        tables=tables(report),
        plots=plots(report),
        interval=with_interval,
        signed=with_signed_interval,
        percent=percent,
        p_text=p_text,
        verdict=verdict,
    )


def _business(report: EvaluationReport) -> PolicyFigures | None:
    """The challenger's figures by the last basis in the report."""
    policies = () if report.business is None else report.business.policies
    told = [found for found in policies if found.policy == report.challenger and found.click_through is not None]
    return told[-1] if told else None


def write_html(report: EvaluationReport, path: Path, outcome: Outcome | None = None) -> Path:
    """Write the page, replacing an earlier one atomically. Returns ``path``."""
    return write_text(path, render_html(report, outcome))
