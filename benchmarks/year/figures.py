"""What came out: results on disk, the table of arms, the table of injected changes, the picture."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.year.plan import ARMS, CANDIDATES, Arm, Change, YearPlan
from lambda_api.atomic_files import write_text
from recsys_assets.evaluation.plots import LIGHT, PALETTE, new_figure

if TYPE_CHECKING:
    from benchmarks.year.arm import ArmRun

Result = Mapping[str, Any]
CEILING: Final = "daily"
RECOVERED: Final = 0.95
AFTER: Final = 21
"""Days after the start of a change within which an alarm is put down to it."""


def save(run: "ArmRun", folder: Path) -> None:
    """Write the result of an arm that has ended."""
    plan, arm, state = run.plan, run.arm, asdict(run.state)
    lost = run.lost_events() if run.live else (0, 0)
    content = {"plan": asdict(plan), "days": state["days"], "lost": lost, "trials": state["trials"]}
    write_text(folder / f"{plan.seed}-{arm}.json", json.dumps(content))


def load(plan: YearPlan, arm: Arm, folder: Path) -> Result | None:
    """The result of one arm of this very plan; ``None`` where there is none yet."""
    path = folder / f"{plan.seed}-{arm}.json"
    if not path.exists():
        return None
    found: Result = json.loads(path.read_text())
    return found if found["plan"] == asdict(plan) else None


def column(result: Result, name: str) -> NDArray[np.float64]:
    """One figure of every day, float64 ``[days]``."""
    return np.array([float(day[name]) for day in result["days"]])


def tables(plans: Sequence[YearPlan], found: Mapping[tuple[int, str], Result], weeks: int) -> list[Table]:
    """The arms over all seeds, the injected changes as the loop met them, and the rollouts."""
    arms = Table(
        "arm", "from lists", "% of daily", "% of weekly", "all purchases", "% of weekly", "bug: % of weekly",
        "trainings",
        "data age when live, h", "training CPU s", "CPU s", "crashes", "events sent", "refused", "lost",
        title=f"{len(plans)} seed(s), {weeks} weeks, {plans[0].shoppers:,} shoppers",
    )  # fmt: skip
    for arm in ARMS:
        rows = {plan: found[plan.seed, arm] for plan in plans if (plan.seed, arm) in found}
        if rows:
            arms.add_row(arm, *_arm_row(rows, found))
    said: list[str] = []
    changes = Table("change", "seed", "first warning, days", "first training, days", "95 % of daily again, days")
    for plan in plans:
        if (plan.seed, "loop") in found:
            loop = found[plan.seed, "loop"]
            for change in plan.changes:
                changes.add_row(
                    change.name, str(plan.seed), *_change_row(plan, change, loop, found.get((plan.seed, CEILING)))
                )
            early, count = false_triggers(plan, loop)
            said.append(f"seed {plan.seed}: {count} episodes in the {early:.0f} weeks of no change")
    changes.caption = "; ".join(said)
    return [arms, changes, rollout_table({plan: found.get((plan.seed, "rollouts")) for plan in plans})]


def rollout_table(found: Mapping[YearPlan, Result | None]) -> Table:
    """Each rollout of each seed, and how often the verdicts were wrong."""
    rows = Table("version", "seed", "registered", "verdict", "last stage", "days", "met, % of a week's visits", "why")
    ended: list[tuple[bool, str, float]] = []
    for plan, result in found.items():
        if result is None:
            continue
        week = 7 * plan.shoppers * plan.sessions
        for one in result["trials"]:
            first, met = date.fromisoformat(one["started"]), 100 * one["met"] / week
            length = (date.fromisoformat(one["ended"]) - first).days if one["ended"] else None
            rows.add_row(
                one["name"], str(plan.seed), f"week {(first - plan.start).days // 7}", one["status"], one["stage"],
                "-" if length is None else str(length), f"{met:.1f}", one["reason"],
            )  # fmt: skip
            if one["name"] in CANDIDATES and one["ended"]:
                ended.append((CANDIDATES[one["name"]].is_bad, one["status"], met))
    bad, good = ([one for one in ended if one[0] is is_bad] for is_bad in (True, False))
    rows.caption = (
        f"false promotions {sum(status == 'promoted' for _, status, _ in bad)} of {len(bad)}, "
        f"false rollbacks {sum(status == 'rolled back' for _, status, _ in good)} of {len(good)}, "
        f"undecided {sum(status == 'undecided' for _, status, _ in ended)} of {len(ended)}, "
        f"visits harmed {sum(met for *_, met in bad):.1f} % of a week's"
    )
    return rows


def false_triggers(plan: YearPlan, loop: Result) -> tuple[float, int]:
    """Weeks that belong to no change, and how many trainings an alarm of these weeks started (one per episode)."""
    calm, count, last = 0, 0, None
    for day in loop["days"]:
        moment = date.fromisoformat(day["day"])
        changed = any(
            one.start <= moment < one.start + timedelta(days=max(one.days, _length(one)) + AFTER)
            for one in plan.changes
            if one.name != "season peak"
        )
        calm += not changed
        if day["training"] == "drift":
            new_episode = last is None or (moment - last).days > 10
            count += new_episode and not changed
            last = moment
    return calm / 7, count


def draw(plan: YearPlan, found: Mapping[str, Result]) -> str:
    """Purchases from lists per session, a week's mean, as an SVG; vertical lines mark the injected changes."""
    import matplotlib

    figure, axes = new_figure(LIGHT, (9.0, 4.2))
    for place, arm in enumerate(ARMS):
        if arm in found:
            weekly = [
                one.reshape(-1, 7).sum(axis=1)
                for one in (column(found[arm], "list_purchases"), column(found[arm], "sessions"))
            ]
            axes.plot(
                range(1, len(weekly[0]) + 1), 100 * weekly[0] / weekly[1], color=PALETTE[place % len(PALETTE)],
                label=arm,
                linewidth=2.4 if arm == "loop" else 1.4,
            )  # fmt: skip
    for change in plan.changes:
        week = (change.start - plan.start).days / 7 + 0.5
        axes.axvline(week, color=LIGHT.muted, linewidth=1, linestyle=":")
        axes.annotate(
            change.name, (week, 1.02), xycoords=("data", "axes fraction"), fontsize=7.5, color=LIGHT.ink, rotation=20
        )
    axes.set_xlabel("week")
    axes.set_ylabel("purchases from lists per 100 visits")
    axes.legend(frameon=False, ncols=3, fontsize=8.5, labelcolor=LIGHT.ink)
    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "year", "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _arm_row(rows: Mapping[YearPlan, Result], found: Mapping[tuple[int, str], Result]) -> list[str]:
    ceiling, weekly, all_of_weekly, bug = [], [], [], []
    for plan, result in rows.items():
        ceiling += _shares(result, found.get((plan.seed, CEILING)), "list_purchases", slice(None))
        weekly += _shares(result, found.get((plan.seed, "weekly")), "list_purchases", slice(None))
        all_of_weekly += _shares(result, found.get((plan.seed, "weekly")), "purchases", slice(None))
        for change in plan.changes:
            if change.name == "tracking bug":
                first = (change.start - plan.start).days
                days = slice(first, first + change.days + 14)
                bug += _shares(result, found.get((plan.seed, "weekly")), "list_purchases", days)
    totals = [sum(column(one, name).sum() for one in rows.values()) for name in ("list_purchases", "purchases")]
    trainings = [sum(bool(day["training"]) for day in one["days"]) for one in rows.values()]
    ages = [day["data_age_h"] for one in rows.values() for day in one["days"] if day["data_age_h"] is not None]
    total = {name: sum(column(one, name).sum() for one in rows.values()) for name in ("cpu_training_s", "cpu_s")}
    refused = sum(column(one, "refused").sum() for one in rows.values())
    sent, lost = (sum(one["lost"][place] for one in rows.values()) for place in (0, 1))
    return [
        f"{totals[0]:,.0f}",
        _mean(ceiling, 100, "{:.1f}"),
        _mean(weekly, 100, "{:.1f}"),
        f"{totals[1]:,.0f}",
        _mean(all_of_weekly, 100, "{:.1f}"),
        _mean(bug, 100, "{:.1f}"),
        _mean([float(one) for one in trainings], 1, "{:.1f}"),
        f"{max(ages):.1f} at most" if ages else "-",
        f"{total['cpu_training_s']:.0f}",
        f"{total['cpu_s']:.0f}",
        f"{sum(column(one, 'crashes').sum() for one in rows.values()):.0f}",
        f"{sent:,}",
        f"{refused:.0f}",
        f"{lost:.0f}",
    ]


def _shares(result: Result, other: Result | None, name: str, days: slice) -> list[float]:
    """One figure relative to another arm's; empty where there is no such arm, or nothing on these days."""
    theirs = 0.0 if other is None else float(column(other, name)[days].sum())
    return [float(column(result, name)[days].sum()) / theirs] if theirs else []


def _mean(values: Sequence[float], factor: float, form: str) -> str:
    if not values:
        return "-"
    text = form.format(factor * float(np.mean(values)))
    ends = [form.format(factor * one) for one in (min(values), max(values))]
    return text if len(values) == 1 else f"{text} ({ends[0]}-{ends[1]})"


def _length(change: Change) -> int:
    starts = [drift.start for drift in change.drift]
    return (max(starts) - change.start).days if starts else 0


def _change_row(plan: YearPlan, change: Change, loop: Result, ceiling: Result | None) -> list[str]:
    first = (change.start - plan.start).days
    window = loop["days"][first + 1 : first + 1 + _length(change) + AFTER]
    # The report on a day is read on the next morning: the first day of a change can be noticed after one day.
    warned = next((number for number, day in enumerate(window, start=1) if day["evidence"]), None)
    trained = next((number for number, day in enumerate(window, start=1) if day["training"] == "drift"), None)
    recovered = None
    if ceiling is not None:
        mine, other = (column(one, "list_purchases") for one in (loop, ceiling))
        for number in range(7, len(mine) - first + 1):
            days = slice(first + number - 7, first + number)
            if mine[days].sum() >= RECOVERED * other[days].sum():
                recovered = number
                break
    return ["-" if one is None else str(one) for one in (warned, trained, recovered)]
