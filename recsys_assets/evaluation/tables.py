"""Tables of an evaluation report, as rows of text for Markdown and HTML."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from recsys_assets.evaluation.business import PolicyFigures
from recsys_assets.evaluation.fairness import FairnessGap
from recsys_assets.evaluation.report import EvaluationReport, ModelReport
from recsys_assets.measurement.bootstrap import Interval, PairedComparison

NOTHING = "-"
T = TypeVar("T")
BUSINESS = "Business figures per recommendation"
BASES: dict[str, str] = {
    "as shown": "as shown",
    "snips": "SNIPS",
    "ips_around_mean": "IPS around the mean",
    "simulated": "simulated",
}
SHOWN_IMPORTANCES = 20

LABELS: dict[str, str] = {
    "ndcg": "NDCG",
    "recall": "Recall",
    "capped_recall": "Capped recall",
    "precision": "Precision",
    "hit_rate": "Hit rate",
    "mrr": "MRR",
    "map": "MAP",
    "novelty": "Novelty (bits)",
    "diversity": "Diversity",
    "average_popularity": "Popularity",
    "tail_share": "Tail share",
}
"""Display names of metrics."""


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows; the first cell of each row names it. ``note`` says how to read the table."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def to_markdown(self) -> str:
        """A GitHub-flavoured Markdown table under its title."""
        lines = [self.header, tuple("---" if i == 0 else "---:" for i in range(len(self.header))), *self.rows]
        body = "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)
        return f"**{_escape(self.title)}**\n\n{body}" + (f"\n\n{_escape(self.note)}" if self.note else "")


def tables(report: EvaluationReport) -> tuple[Table, ...]:
    """Every table that has rows, in reading order."""
    candidates = (
        metric_table(report),
        comparison_table(report),
        beyond_table(report),
        user_segment_table(report),
        product_segment_table(report),
        gap_table(report),
        provider_table(report),
        provider_share_table(report),
        business_table(report),
        importance_table(report),
        rating_table(report),
    )
    return tuple(table for table in candidates if table.rows)


def metric_table(report: EvaluationReport) -> Table:
    """One row per model, best NDCG first; NDCG with its interval."""
    k = report.setting.k
    names = list(report.models[0].metrics)
    rows = tuple(
        (
            role_name(report, model.name),
            with_interval(model.metrics["ndcg"]),
            *(f"{model.metrics[name].mean:.4f}" for name in names if name != "ndcg"),
        )
        for model in report.models
    )
    header = ("Model", f"NDCG@{k} [95 %]", *(LABELS[name] for name in names if name != "ndcg"))
    note = f"All at {k}: means over {report.setting.users:,} users. Intervals by bootstrap over users."
    return Table("Accuracy", header, rows, note)


def comparison_table(report: EvaluationReport) -> Table:
    """Every model against every baseline and the champion, on the same users."""
    order = {model.name: place for place, model in enumerate(report.models)}
    chosen = [comparison for comparison in report.comparisons if comparison.metric == "ndcg"]
    rows = tuple(
        (
            f"{comparison.model} against {comparison.against}",
            with_signed_interval(comparison.result),
            p_text(comparison.result.p_value),
            f"{comparison.result.wins:,} / {comparison.result.ties:,} / {comparison.result.losses:,}",
            verdict(comparison.result),
        )
        for comparison in sorted(chosen, key=lambda c: (c.role == "baseline", order[c.against], order[c.model]))
    )
    header = ("Comparison", "NDCG difference [95 %]", "p", "Wins / ties / losses", "Verdict")
    note = "Paired on the same users. Verdicts take each interval on its own; p by random sign flips, two-sided."
    return Table("Against baselines and champion", header, rows, note)


def beyond_table(report: EvaluationReport) -> Table:
    """Coverage, inequality, novelty, diversity and popularity bias."""
    names = list(report.models[0].beyond)
    rows = tuple(
        (
            role_name(report, model.name),
            percent(model.coverage),
            _or_nothing(model.gini, "{:.3f}".format),
            *(_or_nothing(model.beyond[name], lambda interval: f"{interval.mean:.3f}") for name in names),
        )
        for model in report.models
    )
    header = ("Model", "Coverage", "Gini", *(LABELS[name] for name in names))
    note = (
        f"Coverage of {report.setting.candidate_products:,} products. Gini 0: every product listed equally often. "
        "Popularity: mean share of earlier users who touched a listed product."
    )
    return Table("Beyond accuracy", header, rows, note)


def user_segment_table(report: EvaluationReport) -> Table:
    """One row per group of users, one column per model."""
    first = report.models[0].user_segments
    rows = tuple(
        (
            f"{segment.dimension}: {segment.group}",
            f"{segment.n:,}" + ("" if segment.judged else " (too few)"),
            *(f"{model.user_segments[place].metrics['ndcg'].mean:.4f}" for model in report.models),
        )
        for place, segment in enumerate(first)
    )
    header = ("Users", "n", *(model.name for model in report.models))
    note = (
        "Users by distinct products in their history (hot, warm, cold) and by what is known of them. Groups under "
        f"{report.setting.minimum_group_size} users are shown but not judged."
    )
    return Table(f"NDCG@{report.setting.k} by group of users", header, rows, note)


def product_segment_table(report: EvaluationReport) -> Table:
    """Exposure and recall of hot, warm and cold products, by challenger, champion and reference."""
    rows = tuple(
        (
            f"{model.name}: {segment.group}",
            f"{segment.products:,}",
            percent(segment.exposure_share),
            percent(segment.relevant_share),
            _or_nothing(segment.recall, with_interval),
        )
        for model in _contenders(report)
        for segment in model.product_segments
    )
    header = ("Model and products", "Products", "Share of lists", "Share of what was wanted", "Recall [95 %]")
    note = "Hot: the most popular products that hold 80 % of earlier events. Cold: without any event before the window."
    return Table("By kind of product", header, rows, note)


def gap_table(report: EvaluationReport) -> Table:
    """Differences between demographic groups, of challenger, champion and reference."""
    rows = tuple(
        (
            f"{model.name}: {LABELS[gap.measure].lower()} by {gap.attribute}",
            f"{gap.gap:.4f} [{gap.low:.4f}, {gap.high:.4f}]",
            _ratio_cell(gap),
            gap.best_group,
            gap.worst_group,
            p_text(gap.p_value),
            "differs" if gap.flagged else "within chance",
        )
        for model in _contenders(report)
        for gap in model.gaps
    )
    header = ("Model and measure", "Gap [95 %]", "Ratio [95 %]", "Highest", "Lowest", "p", "Verdict")
    note = (
        "Ratio: the lowest mean as a share of the highest. p: share of random regroupings with so wide a gap. Verdicts "
        "after Holm's correction within a model."
    )
    return Table("Gaps between demographic groups", header, rows, note)


def provider_table(report: EvaluationReport) -> Table:
    """Distance of each model's exposure from the shares of catalogue and sales, by brand, category and popularity."""
    rows = tuple(
        (
            f"{role_name(report, model.name)}: {found.dimension}",
            f"{found.groups:,}",
            f"{found.unexposed:,}",
            _or_nothing(found.from_catalogue, percent),
            _or_nothing(found.from_sales, percent),
            _or_nothing(found.gini, "{:.3f}".format),
        )
        for model in report.models
        for found in model.providers
    )
    header = ("Model and division", "Groups", "Never listed", "Off catalogue", "Off sales", "Gini of exposure")
    note = (
        "Off: share of listed places that would have to go to other groups for exposure to follow their share of the "
        "catalogue, or of earlier sales."
    )
    return Table("Exposure of producers", header, rows, note)


def provider_share_table(report: EvaluationReport) -> Table:
    """The best-selling groups' shares of places, catalogue and sales, by challenger, champion and reference."""
    rows = tuple(
        (
            f"{model.name}, {found.dimension}: {share.group}",
            f"{share.products:,}",
            percent(share.exposure),
            percent(share.catalogue),
            percent(share.sales),
        )
        for model in _contenders(report)
        for found in model.providers
        for share in found.shares
    )
    header = ("Model and group", "Products", "Share of lists", "Share of catalogue", "Share of sales")
    note = "Groups with the most earlier sales; popularity in bands of the catalogue, most popular first."
    return Table("Exposure beside catalogue and sales", header, rows, note)


def business_table(report: EvaluationReport) -> Table:
    """Clicks, purchases and money per recommendation; empty where nothing is known of them."""
    figures = report.business
    header: tuple[str, ...] = ("Policy", "From", "Lists", "Clicked [95 %]", "Bought [95 %]", "Revenue [95 %]")
    if figures is None or not figures.policies:
        return Table(BUSINESS, header, ())
    estimated = any(found.supported is not None for found in figures.policies)
    rows = tuple(
        (
            found.policy,
            BASES[found.basis],
            f"{found.lists:,}",
            *(
                _or_nothing(interval, with_interval)
                for interval in (found.click_through, found.conversion, found.revenue)
            ),
            *(_support_cells(found) if estimated else ()),
        )
        for found in figures.policies
    )
    refused = [f"{found.policy}: {found.refused}." for found in figures.policies if found.refused]
    note = f"{figures.note} Shares of shown products; revenue per shown product, in the shop's currency."
    if estimated:
        header = (*header, "Supported", "Effective rows")
        note += " Effective rows: shown products of the policy itself that would tell as much (Kish)."
    return Table(BUSINESS, header, rows, " ".join([note, *dict.fromkeys(refused)]))


def importance_table(report: EvaluationReport) -> Table:
    """The largest feature importances of rankers; empty where none was explained."""
    rows = tuple(
        (
            f"{model.name}: {feature.name}",
            percent(feature.share),
            percent(feature.gain),
            f"{feature.shap:.4f}",
            f"{feature.direction:+.2f}",
        )
        for model in report.models
        if model.importance is not None
        for feature in model.importance.features[:SHOWN_IMPORTANCES]
    )
    header = ("Ranker and feature", "Share of contributions", "Share of gain", "Mean contribution", "Direction")
    note = (
        "Mean absolute TreeSHAP contribution to the raw score over candidates; gain of splits in training. Direction: "
        "rank correlation of the feature's value and its contribution."
    )
    return Table("Feature importance", header, rows, note)


def rating_table(report: EvaluationReport) -> Table:
    """Rating errors beside the bias baseline; empty where there are no ratings."""
    rows = tuple(
        (
            model.name,
            f"{model.ratings.model.rmse:.4f}",
            f"{model.ratings.model.mae:.4f}",
            f"{model.ratings.bias_baseline.rmse:.4f}",
            f"{model.ratings.bias_baseline.mae:.4f}",
            f"{model.ratings.model.n:,}",
        )
        for model in report.models
        if model.ratings is not None
    )
    header = ("Model", "RMSE", "MAE", "Bias baseline RMSE", "Bias baseline MAE", "Ratings")
    note = (
        "Scores put on the rating scale by one straight line fitted on the validation window. These models are built "
        "to rank; where the bias baseline is better, use it to predict ratings."
    )
    return Table("Rating prediction", header, rows, note)


def role_name(report: EvaluationReport, name: str) -> str:
    """The model's name with its role in this report."""
    roles = [
        role
        for role, holder in (
            ("challenger", report.challenger),
            ("champion", report.champion),
            ("reference", report.reference_baseline),
        )
        if holder == name
    ]
    return f"{name} ({', '.join(roles)})" if roles else name


def verdict(result: PairedComparison) -> str:
    """``better``, ``worse`` or ``no clear difference``, by the interval."""
    if result.low > 0:
        return "better"
    return "worse" if result.high < 0 else "no clear difference"


def with_interval(interval: Interval) -> str:
    """``0.0903 [0.0821, 0.0990]``."""
    return f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def with_signed_interval(result: PairedComparison) -> str:
    """``+0.0271 [+0.0200, +0.0342]``."""
    return f"{result.difference:+.4f} [{result.low:+.4f}, {result.high:+.4f}]"


def percent(share: float) -> str:
    """``12.3 %``."""
    return f"{100 * share:.1f} %"


def p_text(p_value: float) -> str:
    """Three decimals, never "0.000"."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _contenders(report: EvaluationReport) -> list[ModelReport]:
    """Challenger, champion and reference, best first: for tables that would run to pages with every model."""
    names = {report.challenger, report.champion, report.reference_baseline}
    return [model for model in report.models if model.name in names]


def _or_nothing(value: T | None, text: Callable[[T], str]) -> str:
    return NOTHING if value is None else text(value)


def _ratio_cell(gap: FairnessGap) -> str:
    if gap.ratio is None or gap.ratio_low is None or gap.ratio_high is None:
        return NOTHING
    return f"{gap.ratio:.2f} [{gap.ratio_low:.2f}, {gap.ratio_high:.2f}]"


def _support_cells(found: PolicyFigures) -> tuple[str, str]:
    if found.supported is None or found.effective_rows is None:
        return NOTHING, NOTHING
    return percent(found.supported), f"{found.effective_rows:,.0f}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
