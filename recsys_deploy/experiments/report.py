"""What an experiment has shown so far, day by day, as figures, a picture and a page."""

import base64
import html
import io
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.state.routing_record import HOLDOUT
from recsys_deploy.experiments.comparison import BusinessRules, Comparison, compare
from recsys_deploy.experiments.inference import SequentialInterval
from recsys_deploy.experiments.interleaving import compare_credits, credits_of
from recsys_deploy.experiments.totals import DAY_MS, Scope, Shoppers, first_seen, shoppers_of

HELD_OUT = "held-out shoppers"
NEWER = "newer"

NOVELTY_DAYS = (0, 7, 14)
"""Lift of shoppers whose first list is at least so many days old: a lift that fades is novelty."""


@dataclass(frozen=True)
class ExperimentReport:
    """An experiment at one moment.

    Attributes:
        name: of the experiment. control, treatment: versions.
        share: of shoppers with the treatment among those compared.
        looks: moment (milliseconds since 1970 UTC) and comparison of every day, oldest first.
        novelty: days since the first list, and the lift of those shoppers.
        both: shoppers left out because they met both groups.
        interleaved: both versions placed products in every list, and every shopper is on both sides.
    """

    name: str
    control: str
    treatment: str
    share: float
    looks: tuple[tuple[int, Comparison], ...]
    novelty: tuple[tuple[int, SequentialInterval | None], ...]
    both: int
    interleaved: bool = False

    @property
    def newest(self) -> Comparison | None:
        """The comparison of the newest day."""
        return self.looks[-1][1] if self.looks else None


def experiment_report(
    lists: pa.Table,
    events: pa.Table,
    scope: Scope,
    rules: BusinessRules,
    *,
    versions: tuple[str, str],
    window_ms: int,
    share: float = 0.5,
    before: dict[str, float] | None = None,
) -> ExperimentReport:
    """Compare the groups as known at the end of every day of ``scope``."""
    looks, shoppers = [], None
    for moment in _moments(scope):
        seen = replace(scope, until_ms=moment)
        shoppers = shoppers_of(lists, events, seen, window_ms=window_ms, before=before)
        if len(shoppers.users):
            looks.append((moment, compare(shoppers, first_seen(lists, seen), share, rules)))
    novelty = () if shoppers is None else tuple(_novelty(shoppers, scope.until_ms, share, rules))
    return ExperimentReport(
        scope.experiment, *versions, share, tuple(looks), novelty, 0 if shoppers is None else shoppers.both
    )


def interleaving_report(
    lists: pa.Table,
    events: pa.Table,
    scope: Scope,
    rules: BusinessRules,
    *,
    versions: tuple[str, str],
    window_ms: int,
) -> ExperimentReport:
    """What shoppers took from either version's places, as known at the end of every day of ``scope``."""
    looks = []
    for moment in _moments(scope):
        credits = credits_of(lists, events, replace(scope, until_ms=moment), versions, window_ms=window_ms)
        if len(credits.first_ms):
            looks.append((moment, compare_credits(credits, rules)))
    return ExperimentReport(scope.experiment, *versions, 0.5, tuple(looks), (), 0, interleaved=True)


def held_out_report(
    lists: pa.Table, events: pa.Table, until_ms: int, rules: BusinessRules, window_ms: int
) -> ExperimentReport | None:
    """Everybody else against the shoppers who keep an old version; ``None`` where there are none.

    Lists of champion and challengers count alike: the question is what all newer versions together are worth.
    """
    is_held = pc.equal(lists["variant"], HOLDOUT)
    held = lists.filter(is_held)
    if held.num_rows == 0:
        return None
    since, newest = pc.min(held["at_ms"]).as_py(), int(np.argmax(held["at_ms"].to_numpy()))
    share, versions = 1 - held["share"][newest].as_py(), (held["model_version"][newest].as_py(), "the newer versions")
    names = lists.column_names
    pooled = lists.set_column(names.index("variant"), "variant", pc.if_else(is_held, HOLDOUT, NEWER)).set_column(
        names.index("experiment"), "experiment", pa.repeat(HELD_OUT, lists.num_rows)
    )
    scope = Scope(HELD_OUT, HOLDOUT, NEWER, since, until_ms)
    return experiment_report(pooled, events, scope, rules, versions=versions, window_ms=window_ms, share=share)


def summary_lines(report: ExperimentReport) -> list[str]:
    """The figures of the newest day, a sentence each."""
    found = report.newest
    if found is None:
        return [f"{report.name}: nobody's window has closed yet"]
    control, treatment = found.shoppers
    if report.interleaved:
        return _interleaved_lines(report, found)
    lines = [
        f"{report.name}: {report.treatment} against {report.control}, "
        f"{treatment:,} and {control:,} shoppers with closed windows",
        f"conversions per shopper: {_told(found.primary)}",
    ]
    lines += _secondary_lines(found)
    mismatch = "MISMATCH, no figure can be trusted" if found.is_mismatch else "as the route says"
    lines.append(f"shoppers reached: {found.reached[1]:,} and {found.reached[0]:,}, {mismatch}")
    for days, lift in report.novelty:
        lines.append(f"shoppers known for {days} days or more: {_told(lift)}")
    if report.both:
        lines.append(f"left out because they met both groups: {report.both:,}")
    return lines


def _interleaved_lines(report: ExperimentReport, found: Comparison) -> list[str]:
    mismatch = "MISMATCH, no figure can be trusted" if found.is_mismatch else "as a fair coin"
    return [
        f"{report.name}: lists of {report.treatment} and {report.control} interleaved, "
        f"{found.shoppers[1]:,} shoppers with closed windows",
        f"purchases from the places of {report.treatment} over those of {report.control}: {_told(found.primary)}",
        *_secondary_lines(found),
        f"lists led: {found.reached[1]:,} and {found.reached[0]:,}, {mismatch}",
    ]


def _secondary_lines(found: Comparison) -> list[str]:
    return [
        f"{name.replace('_', '-')}: {_told(interval)}, corrected p {found.adjusted_p_values[name]:.3f}"
        for name, interval in found.secondary.items()
    ]


def page_of(report: ExperimentReport) -> str:
    """A page that stands for itself: figures, picture, how to read them."""
    rows = "".join(f"<li>{html.escape(line)}</li>" for line in summary_lines(report))
    picture = f'<img alt="lift by day" src="data:image/png;base64,{picture_of(report)}">' if report.looks else ""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{html.escape(report.name)}</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1c1f24;"
        "background:#fff}img{max-width:100%}@media(prefers-color-scheme:dark){body{color:#e6e8eb;background:#14171b}"
        "img{filter:invert(.9) hue-rotate(180deg)}}</style>"
        f"<h1>{html.escape(report.name)}</h1><ul>{rows}</ul>{picture}"
        "<p>Intervals hold at every look at once (asymptotic confidence sequences, 95 %): they may be read every day. "
        "A shopper counts once, from the first list on, for a fixed time. Undecided means that the champion stays.</p>"
        "</html>"
    )


def picture_of(report: ExperimentReport) -> str:
    """Lift of conversions by day with its always-valid interval, as a base64 PNG."""
    from matplotlib.figure import Figure

    found = [(moment, one.primary) for moment, one in report.looks if one.primary is not None]
    days: Any = [datetime.fromtimestamp(moment / 1000, UTC) for moment, _ in found]
    intervals = [interval for _, interval in found if interval is not None]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="#8a8f98", linewidth=1)
    axes.fill_between(
        days, [100 * one.low for one in intervals], [100 * one.high for one in intervals], color="#2f7ed8", alpha=0.2
    )
    axes.plot(days, [100 * one.lift for one in intervals], color="#2f7ed8", marker="o", markersize=3)
    if len(days) == 1:
        axes.set_xlim(days[0] - timedelta(days=1), days[0] + timedelta(days=1))
    axes.set(ylabel="lift of conversions, %", title=f"{report.treatment} against {report.control}")
    figure.autofmt_xdate()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return base64.b64encode(content.getvalue()).decode()


def _moments(scope: Scope) -> list[int]:
    """Ends of the days of ``scope``, and its own."""
    return [*range(scope.since_ms + DAY_MS, scope.until_ms, DAY_MS), scope.until_ms]


def _novelty(
    shoppers: Shoppers, now_ms: int, share: float, rules: BusinessRules
) -> list[tuple[int, SequentialInterval | None]]:
    """The lift by least age of the first list, for each of `NOVELTY_DAYS`."""
    age = (now_ms - shoppers.first_ms) / DAY_MS
    known = [(days, shoppers.where(age >= days)) for days in NOVELTY_DAYS]
    return [
        (days, compare(some, some.counts(), share, rules).primary if len(some.users) else None) for days, some in known
    ]


def _told(interval: SequentialInterval | None) -> str:
    if interval is None:
        return "too few events to say"
    return f"{interval.lift:+.1%} [{interval.low:+.1%}, {interval.high:+.1%}]"
