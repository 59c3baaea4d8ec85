"""The evaluation report as one self-contained HTML file: no scripts, fonts or network access."""

import uuid
from pathlib import Path

from recsys_assets.evaluation.business import PolicyFigures
from recsys_assets.evaluation.plots import plots
from recsys_assets.evaluation.report import EvaluationReport
from recsys_assets.evaluation.tables import p_text, percent, tables, verdict, with_interval, with_signed_interval


def render_html(report: EvaluationReport) -> str:
    """The page. Everything that comes from data is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("recsys_assets.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    reference = None
    if report.challenger != report.reference_baseline:
        reference = report.comparison(report.challenger, report.reference_baseline)
    champion = None
    if report.champion is not None:
        champion = report.comparison(report.challenger, report.champion)
    return environment.get_template("report.html.j2").render(
        report=report,
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
    """The challenger's figures by the last, most telling basis there is."""
    policies = () if report.business is None else report.business.policies
    told = [found for found in policies if found.policy == report.challenger and found.click_through is not None]
    return told[-1] if told else None


def write_html(report: EvaluationReport, path: Path) -> Path:
    """Write the page, replacing an earlier one in a single step; parent folders are made. Returns ``path``."""
    page = render_html(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
