"""Plots of an evaluation report as SVG data URIs, for the HTML page and for Dagster's Markdown.

matplotlib is imported inside functions and used through its figure objects: no global state, no display.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from recsys_assets.evaluation.report import EvaluationReport
from recsys_assets.measurement.beyond_accuracy import POPULARITY_BANDS
from recsys_assets.measurement.importance import RankerImportance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c8c8c")
"""Distinguishable for colour-blind readers (Okabe and Ito, "Color universal design", 2008)."""
MARKERS = "osD^vPX*<>hp"
SHOWN_FEATURES = 15

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of text, lines and background."""

    ink: str
    muted: str
    ground: str


LIGHT = Theme(ink="#1c2430", muted="#c3cad5", ground="#ffffff")
DARK = Theme(ink="#e7ebf1", muted="#465062", ground="#171c24")


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture for light and for dark pages, as ``data:`` URIs of SVG. ``alt`` describes it."""

    title: str
    alt: str
    light: str
    dark: str

    def to_markdown(self) -> str:
        """For Dagster's Markdown metadata, which shows ``data:`` images."""
        return f"![{self.alt}]({self.light})"


def plots(report: EvaluationReport) -> tuple[Plot, ...]:
    """All pictures, in reading order."""
    best, reference = report.models[0], report.model(report.reference_baseline)
    shares = "; ".join(f"{model.name} {100 * model.coverage:.1f} %" for model in report.models)
    k = report.setting.k
    drawn = [
        plot(
            report,
            "Accuracy with 95 % intervals",
            f"Bars with intervals: NDCG@{k} per model; {best.name} leads with {best.metrics['ndcg'].mean:.4f}, "
            f"{reference.name} has {reference.metrics['ndcg'].mean:.4f}.",
            draw_metric,
        ),
        plot(
            report,
            "Accuracy against coverage",
            f"Scatter: catalogue coverage across, accuracy upwards; {shares}.",
            draw_coverage,
        ),
        plot(
            report,
            f"NDCG@{k} by group of users",
            "Heat map: one row per group of users, one column per model; the numbers are in the table of groups.",
            draw_segments,
        ),
        plot(
            report,
            "Popularity of what is listed",
            "Lines: share of listed places per band of the catalogue, most popular first, beside the share of earlier "
            f"events, of which the first band had {100 * report.catalogue_events[0]:.0f} %.",
            draw_exposure,
        ),
    ]
    for model in report.models:
        if model.importance is not None:
            named = "; ".join(f"{one.name} {100 * one.share:.0f} %" for one in model.importance.features[:5])
            alt = f"Points per feature: contribution to the score, by the feature's value. Largest: {named}."
            drawn.append(plot(model.importance, f"Feature importance of {model.name}", alt, draw_importance))
    return tuple(drawn)


def draw_metric(report: EvaluationReport, theme: Theme) -> "Figure":
    """NDCG of every model with its interval, best on top; a dotted line at the reference baseline."""
    models = report.models[::-1]
    figure, axes = new_figure(theme, (7.2, 0.9 + 0.36 * len(models)))
    for place, model in enumerate(models):
        interval = model.metrics["ndcg"]
        colour = PALETTE[0] if model.name == report.challenger else theme.ink
        axes.barh(place, interval.mean, height=0.55, color=colour, alpha=0.9 if colour == PALETTE[0] else 0.28)
        axes.plot([interval.low, interval.high], [place, place], color=theme.ink, linewidth=1.6, solid_capstyle="butt")
        axes.annotate(
            f"{interval.mean:.4f}",
            (interval.high, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=theme.ink,
            fontsize=9,
        )
    axes.axvline(
        report.model(report.reference_baseline).metrics["ndcg"].mean, color=theme.ink, linewidth=1, linestyle=":"
    )
    axes.set_yticks(range(len(models)), [_with_role(report, model.name) for model in models])
    axes.set_xlabel(f"NDCG@{report.setting.k}")
    axes.margins(x=0.14)
    axes.set_xlim(left=0)
    return figure


def draw_coverage(report: EvaluationReport, theme: Theme) -> "Figure":
    """NDCG against catalogue coverage, one point per model."""
    figure, axes = new_figure(theme, (7.2, 3.8))
    for place, model in enumerate(report.models):
        axes.scatter(100 * model.coverage, model.metrics["ndcg"].mean, s=70, label=model.name, **_style(place))
    axes.set_xlabel("catalogue coverage, %")
    axes.set_ylabel(f"NDCG@{report.setting.k}")
    axes.set_ylim(0, 1.12 * max(model.metrics["ndcg"].mean for model in report.models) or 1)
    axes.set_xlim(0, 112 * max(model.coverage for model in report.models) or 1)
    _legend(axes, theme)
    return figure


def draw_segments(report: EvaluationReport, theme: Theme) -> "Figure":
    """NDCG per model and group large enough to judge (small groups are noise)."""
    everywhere = range(len(report.models[0].user_segments))
    shown = [place for place in everywhere if report.models[0].user_segments[place].judged] or list(everywhere)
    segments = [report.models[0].user_segments[place] for place in shown]
    values = [[model.user_segments[place].metrics["ndcg"].mean for model in report.models] for place in shown]
    size = (2.6 + 0.86 * len(report.models), 1.0 + 0.32 * len(segments))
    figure, axes = new_figure(theme, size)
    axes.imshow(values, aspect="auto", cmap="Blues" if theme is LIGHT else "bone", vmin=0)
    axes.grid(False)
    peak = max(max(row) for row in values) or 1.0
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            bright = value > 0.55 * peak
            ink = ("#ffffff" if bright else LIGHT.ink) if theme is LIGHT else (LIGHT.ink if bright else DARK.ink)
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8.5, color=ink)
    axes.set_yticks(range(len(segments)), [f"{s.dimension}: {s.group} ({s.n:,})" for s in segments])
    axes.set_xticks(range(len(report.models)), [model.name for model in report.models], rotation=25, ha="right")
    axes.tick_params(length=0)
    return figure


def draw_exposure(report: EvaluationReport, theme: Theme) -> "Figure":
    """Share of listed places per popularity band, beside the share of earlier events."""
    figure, axes = new_figure(theme, (7.2, 3.8))
    bands = range(len(report.catalogue_events))
    starts = (0.0, *POPULARITY_BANDS)
    events = [100 * share for share in report.catalogue_events]
    axes.bar(bands, events, color=theme.muted, width=0.8, label="earlier events")
    for place, model in enumerate(report.models):
        axes.plot(bands, [100 * share for share in model.exposure], linewidth=1.6, label=model.name, **_style(place))
    axes.set_xlabel("part of the catalogue, most popular first")
    axes.set_ylabel("share, %")
    axes.set_xticks(list(bands), [f"{100 * a:.0f}-{100 * b:.0f} %" for a, b in pairwise(starts)])
    _legend(axes, theme)
    return figure


def draw_importance(importance: RankerImportance, theme: Theme) -> "Figure":
    """The features with the largest mean absolute contribution, largest on top."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    # Neither end may come close to the ground it is drawn on.
    shades = ListedColormap(colormaps["viridis"](np.linspace(*((0.0, 0.86) if theme is LIGHT else (0.3, 1.0)), 128)))
    top = importance.features[:SHOWN_FEATURES][::-1]
    figure, axes = new_figure(theme, (7.2, 1.0 + 0.3 * len(top)))
    rng = np.random.default_rng(0)  # spreads points of equal contribution; carries nothing
    dots = None
    for place, feature in enumerate(top):
        points = np.array(feature.points)
        height = place + rng.uniform(-0.28, 0.28, len(points))
        dots = axes.scatter(points[:, 0], height, c=points[:, 1], s=7, cmap=shades, vmin=0, vmax=1, linewidths=0)
    axes.axvline(0, color=theme.ink, linewidth=1)
    axes.set_yticks(range(len(top)), [f"{feature.name} ({100 * feature.share:.0f} %)" for feature in top])
    axes.set_xlabel("contribution to the raw score")
    if dots is not None:
        bar = figure.colorbar(dots, ax=axes, ticks=[0, 1], pad=0.02)
        bar.ax.set_yticklabels(["low", "high"], color=theme.ink, fontsize=9)
        bar.set_label("value of the feature", color=theme.ink, fontsize=9)
    return figure


def plot(subject: T, title: str, alt: str, draw: Callable[[T, Theme], "Figure"]) -> Plot:
    """``draw`` a picture of ``subject`` in both themes."""
    from matplotlib import rc_context

    pictures = []
    for theme in (LIGHT, DARK):
        # Text stays text (small, sharp, selectable); ids by a fixed salt, so equal reports give equal bytes.
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "recsys", "font.family": "sans-serif"}):
            stream = io.BytesIO()
            draw(subject, theme).savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
        pictures.append("data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode())
    return Plot(title, alt, *pictures)


def new_figure(theme: Theme, size: tuple[float, float]) -> tuple["Figure", "Axes"]:
    """An empty figure of ``size`` inches in the theme's colours, with its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor=theme.ground)
    axes = figure.add_subplot()
    axes.set_facecolor(theme.ground)
    axes.tick_params(colors=theme.ink, labelsize=9)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(theme.muted)
    axes.grid(True, color=theme.muted, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _style(place: int) -> dict[str, Any]:
    return {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)]}


def _legend(axes: "Axes", theme: Theme) -> None:
    axes.legend(frameon=False, labelcolor=theme.ink, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _with_role(report: EvaluationReport, name: str) -> str:
    return f"{name} (champion)" if name == report.champion else name
