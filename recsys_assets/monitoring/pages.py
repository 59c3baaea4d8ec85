"""HTML pages of the three reports: findings, plots and tables; self-contained files without scripts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lambda_api.atomic_files import write_text
from recsys_assets.evaluation.plots import PALETTE, Plot, Theme, new_figure, plot
from recsys_assets.evaluation.tables import Table, with_interval
from recsys_assets.monitoring.business import VariantFigures
from recsys_assets.monitoring.drift import DriftReport
from recsys_assets.monitoring.drift_statistics import ColumnDrift
from recsys_assets.monitoring.findings import FOLDER, ReportSummary
from recsys_assets.monitoring.quality_trend import DailyQuality, reason_rows
from recsys_assets.page_templates import rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SHOWN_REASONS: Final = 5


@dataclass(frozen=True)
class Page:
    """What a page shows besides the findings."""

    title: str
    note: str
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


def write_page(page: Page, summary: ReportSummary, reports: Path) -> Path:
    """Write ``monitoring/<report>.html`` under the home's folder ``reports``, replacing yesterday's."""
    text = rendered(
        "recsys_assets.monitoring",
        "page.html.j2",
        title=page.title,
        note=page.note,
        day=summary.day,
        findings=summary.findings,
        tables=page.tables,
        plots=page.plots,
    )
    return write_text(reports / FOLDER / f"{summary.report}.html", text)


def quality_page(days: Sequence[DailyQuality]) -> Page:
    """Events per day, the share of rows set aside, and the rows by reason."""
    if not days:
        return Page("Data quality", "There are no interactions yet.")
    alt = f"Line: valid events per day, {len(days)} days."
    plots = [plot(days, "Events per day", alt, draw_volume)]
    if any(one.reasons for one in days):
        largest = max(days, key=lambda one: one.set_aside_share)
        alt = f"Lines: share of rows by reason; set aside at most {largest.set_aside_share:.2%}, on {largest.day}."
        plots.append(plot(days, "Rows set aside or left out, by reason", alt, draw_reasons))
    rows = tuple(
        (name, f"{count:,}", f"{share:.2%}", f"{usual:.2%}") for name, count, share, usual in reason_rows(days)
    )
    note = "By rules of the quality gate, and by the source's own rules. Usual: median of the eight weeks before."
    table = Table(f"Rows set aside or left out on {days[-1].day}", ("Reason", "Rows", "Share", "Usual"), rows, note)
    return Page("Data quality", "Volume is compared with the same weekday.", (table,) if rows else (), tuple(plots))


def drift_page(report: DriftReport) -> Page:
    """Hit rate and CUSUM over the days, and a table of columns."""
    plots = [plot(report, "Hit rate of what was served", _rate_alt(report), draw_rates)] if report.rates else []
    header = ("Column", "Shoppers before / now", "Statistic", "p", "Effect", "Second effect", "Own limit", "State")
    rows = tuple(_column_row(one) for one in (*report.columns, *report.predictions))
    note = (
        "One event, list or feature row per shopper (product) and week. Effect: KS distance (numeric) or largest "
        "difference of shares. Second effect: Wasserstein distance in standard deviations (numeric), PSI over deciles "
        "(score), else PSI. Drifted: Holm p < .01, a large effect, and above the column's own limit."
    )
    table = Table("Columns against the eight weeks before", header, rows, note)
    return Page("Drift", "All statistics are over shoppers.", (table,) if rows else (), tuple(plots))


def business_page(figures: Sequence[VariantFigures], capped: int) -> Page:
    """One row per variant."""
    header = (
        "Variant",
        "Shoppers",
        "Shown products",
        "Click-through [95 %]",
        "Bought per shopper [95 %]",
        "Revenue [95 %]",
    )
    rows = tuple(
        (
            one.variant,
            f"{one.shoppers:,}",
            f"{one.lists_shown:,}",
            with_interval(one.click_through),
            with_interval(one.conversion),
            with_interval(one.revenue),
        )
        for one in figures
    )
    note = f"Intervals over shoppers. {capped:,} shoppers with unusually many lists were capped."
    return Page("Business", "The last 28 days.", (Table("By variant", header, rows, note),) if rows else ())


def draw_volume(days: Sequence[DailyQuality], theme: Theme) -> "Figure":
    """Valid events per day."""
    figure, axes = new_figure(theme, (7.2, 3.0))
    x: Any = [one.day for one in days]
    axes.plot(x, [one.rows for one in days], color=PALETTE[0], linewidth=1.6)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("events")
    figure.autofmt_xdate()
    return figure


def draw_reasons(days: Sequence[DailyQuality], theme: Theme) -> "Figure":
    """Share of delivered rows per day, one line for each of the most frequent reasons."""
    figure, axes = new_figure(theme, (7.2, 3.0))
    x: Any = [one.day for one in days]
    rows: Counter[str] = Counter()
    for one in days:
        rows.update(one.reasons)
    for colour, (name, _) in zip(PALETTE, rows.most_common(SHOWN_REASONS), strict=False):
        axes.plot(x, [100 * one.share(name) for one in days], color=colour, linewidth=1.4, label=name)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("% of the rows")
    # Above the plot: there is no empty corner that every log leaves.
    axes.legend(
        fontsize=8, frameon=False, labelcolor=theme.ink, loc="lower left", bbox_to_anchor=(0, 1), ncols=SHOWN_REASONS
    )
    figure.autofmt_xdate()
    return figure


def draw_rates(report: DriftReport, theme: Theme) -> "Figure":
    """Hit rate per day, and the CUSUM with its threshold below."""
    figure, axes = new_figure(theme, (7.2, 3.4))
    x: Any = [one.day for one in report.rates]
    axes.plot(x, [one.rate for one in report.rates], color=PALETTE[0], label="hit rate")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("hit rate")
    if report.cusum.path:
        other = axes.twinx()
        days: Any = report.cusum.days
        other.plot(days, report.cusum.path, color=PALETTE[1], linewidth=1.2)
        other.axhline(report.cusum.threshold, color=PALETTE[1], linewidth=0.8, linestyle=":")
        other.set_ylabel(f"CUSUM (alarm above {report.cusum.threshold:g})", color=PALETTE[1])
        other.tick_params(colors=theme.ink, labelsize=9)
        for spine in other.spines.values():
            spine.set_color(theme.muted)
    figure.autofmt_xdate()
    return figure


def _rate_alt(report: DriftReport) -> str:
    first, last = report.rates[0], report.rates[-1]
    return f"Lines: hit rate from {first.rate:.3f} on {first.day} to {last.rate:.3f} on {last.day}, and the CUSUM."


def _column_row(one: ColumnDrift) -> tuple[str, ...]:
    return (
        one.column,
        f"{one.reference:,} / {one.current:,}",
        f"{one.statistic:.3f}",
        f"{one.p_value:.2g}",
        f"{one.effect:.3f}",
        f"{one.second_effect:.3f}",
        "-" if one.limit is None else f"{one.limit:.3f}",
        one.state,
    )
