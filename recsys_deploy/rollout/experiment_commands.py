"""``recsys experiment``: how long an experiment would take, what the running one shows, and its page."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich.table import Table as Grid

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import read_routing
from recsys_assets.lake import Lake
from recsys_deploy.console.terminal import terminal
from recsys_deploy.experiments.comparison import BusinessRules
from recsys_deploy.experiments.planning import Need, interleaved_needs, needs
from recsys_deploy.experiments.report import (
    ExperimentReport,
    experiment_report,
    held_out_report,
    interleaving_report,
    page_of,
    summary_lines,
)
from recsys_deploy.experiments.stream_tables import open_stream_tables
from recsys_deploy.homes import settings_of_last_home
from recsys_deploy.release.route import hold_out
from recsys_deploy.rollout.evidence import HISTORY_DAYS, purchases_before, scope_of
from recsys_deploy.rollout.judge import SOLD_IN
from recsys_deploy.rollout.plan import DAY_S, StageKind
from recsys_deploy.rollout.record import RolloutRecord, current_rollout

experiment = typer.Typer(no_args_is_help=True, help="Experiments: how long one takes, what the newest one shows.")
console = terminal()

WINDOW_DAYS: Final = 8
TOO_LONG_DAYS: Final = 28
HELD_OUT_DAYS: Final = 56
"""Of the event stream that a report on held-out shoppers reads."""


class NoExperiment(RecsysError):
    """There is nothing to report on, or nothing to plan from."""


@experiment.command()
def plan(
    share: Annotated[float, typer.Option(min=1, max=50, help="Of shoppers with the new version, per cent.")] = 50.0,
) -> None:
    """How many shoppers and days this shop needs before a lift of 5, 10 or 20 % can be told from chance."""
    sales = purchases_of(settings_of_last_home())
    console.print(
        f"{sales.mean:.3g} purchases per shopper in {WINDOW_DAYS} days (standard deviation {sales.sd:.3g}), "
        f"{sales.shoppers_a_day:.0f} shoppers a day, {sales.answering:.0%} of purchases answer a list"
    )
    found = needs(sales.mean, sales.sd, sales.shoppers_a_day, share=share / 100)
    console.print(_needs_grid("shoppers in two groups", found))
    if found[-1].days <= TOO_LONG_DAYS:
        return
    console.print("this shop is too small for a verdict within four weeks. It can choose:")
    if sales.answering:
        grid = _needs_grid("--interleave", interleaved_needs(sales.mean, sales.answering, sales.shoppers_a_day))
        console.print("`recsys rollout start --interleave`: every list holds products of both versions", grid)
    else:
        console.print(
            "`recsys rollout start --interleave`, once feedback names the list that it answers (`request_id`): "
            "no purchase in the log does"
        )
    console.print(
        "`recsys rollout start --offline-only`: guardrails, and the comparison before the rollout, alone\n"
        "`recsys rollout start --planned-shoppers`: wait longer"
    )


@experiment.command()
def hold(share: Annotated[float, typer.Option(min=0, max=20, help="Of shoppers, per cent; 0 ends it.")] = 5.0) -> None:
    """Let a few shoppers keep the version of now, so that what newer ones are worth can be measured."""
    record = hold_out(open_table(settings_of_last_home(), "serving"), share / 100, int(time.time()))
    if record.holdout is None:
        console.print("nobody is held out: every shopper gets the newest version")
    else:
        kept, whom = record.holdout.target.version, f"{record.holdout.weight / 100:g} % of shoppers"
        console.print(f"{whom} keep {kept}; `recsys experiment report --held-out` compares")


HeldOut = Annotated[bool, typer.Option("--held-out", help="Shoppers with an old version against all others.")]


@experiment.command()
def status(held_out: HeldOut = False) -> None:
    """What the newest experiment shows."""
    settings = settings_of_last_home()
    for line in summary_lines(report_of_held_out(settings) if held_out else newest_report(settings)):
        console.print(line)


@experiment.command()
def report(
    out: Annotated[Path | None, typer.Option(help="The page; by default in the home's reports.")] = None,
    held_out: HeldOut = False,
) -> None:
    """Write the page of the newest experiment."""
    settings = settings_of_last_home()
    found = report_of_held_out(settings) if held_out else newest_report(settings)
    target = out or settings.home / "reports" / f"experiment_{found.name.replace(' ', '_')}.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page_of(found), encoding="utf-8")
    console.print(f"wrote {target}")


def newest_report(settings: Settings) -> ExperimentReport:
    """The experiment of the newest rollout, from the event stream.

    Raises:
        NoExperiment: there was no rollout, or it has none.
    """
    record = current_rollout(open_table(settings, "serving"))
    stage = None if record is None else experiment_stage(record)
    if record is None or stage is None:
        raise NoExperiment("no rollout has reached its experiment yet", remedy="`recsys rollout status` shows it")
    began = experiment_began(record, stage)
    end = record.promoted_at or record.ended_at or datetime.now(UTC).timestamp()
    first = datetime.fromtimestamp(began, UTC).date()
    tables, versions = open_stream_tables(settings), (record.former.version, record.version)
    scope, rules = scope_of(record, stage, int(began * 1000), int(end * 1000)), record.plan.business
    window_ms, lists = int(record.plan.limits.outcome_window_s * 1000), tables.lists(first)
    if record.plan.stages[stage].kind is StageKind.INTERLEAVING:
        return interleaving_report(lists, tables.events(first), scope, rules, versions=versions, window_ms=window_ms)
    events = tables.events(first - timedelta(days=HISTORY_DAYS))
    before = purchases_before(events, int(began))
    return experiment_report(lists, events, scope, rules, versions=versions, window_ms=window_ms, before=before)


def report_of_held_out(settings: Settings) -> ExperimentReport:
    """Shoppers with an old version against all others, over the last weeks of the event stream.

    Raises:
        NoExperiment: no shopper is held out.
    """
    now = datetime.now(UTC)
    first = now.date() - timedelta(days=HELD_OUT_DAYS)
    tables = open_stream_tables(settings)
    window_ms = int(WINDOW_DAYS * DAY_S * 1000)
    report = held_out_report(
        tables.lists(first), tables.events(first), int(now.timestamp() * 1000), BusinessRules(), window_ms
    )
    if report is None and (route := read_routing(open_table(settings, "serving"))) and route.holdout:
        raise NoExperiment(
            "no shopper who is held out has been shown a list yet", remedy="wait until some of them have come"
        )
    if report is None:
        raise NoExperiment("no shopper is held out", remedy="`recsys experiment hold --share 5` keeps a few")
    return report


def experiment_stage(record: RolloutRecord) -> int | None:
    """Index of the experiment among the stages, where the rollout has reached it."""
    for place, stage in enumerate(record.plan.stages[: record.stage + 1]):
        if stage.kind in SOLD_IN:
            return place
    return None


def experiment_began(record: RolloutRecord, stage: int) -> float:
    """When every server had the route of ``stage``, seconds since 1970 UTC; lists shown before belong to none."""
    if record.stage == stage:
        return record.stage_since
    name = record.plan.stages[stage - 1].name if stage else ""
    left = [look.at for look in record.looks if look.stage == name and look.answer == "advance"]
    return (left[-1] if left else record.started_at) + record.plan.limits.settle_s


@dataclass(frozen=True, slots=True)
class Sales:
    """What an experiment can expect of a shop.

    Attributes:
        mean, sd: of purchases per active shopper in `WINDOW_DAYS`.
        shoppers_a_day: new active ones.
        answering: share of purchases that name the list they answer.
    """

    mean: float
    sd: float
    shoppers_a_day: float
    answering: float


def purchases_of(settings: Settings) -> Sales:
    """Sales of the last four weeks in the lake.

    Raises:
        NoExperiment: the log has no purchases in its last four weeks.
    """
    lake = Lake(settings.lake_uri)
    days = lake.days("interactions")[-TOO_LONG_DAYS:]
    if not days:
        raise NoExperiment("the lake holds no interactions", remedy="run `recsys run` first")
    columns = ("user_id", "interaction_type", "timestamp", "request_id")
    table = lake.read("interactions", columns, days[0], days[-1] + timedelta(days=1))
    user, code = np.unique(np.array(table["user_id"].to_pylist(), dtype=object).astype(str), return_inverse=True)
    at = table["timestamp"].cast("int64").to_numpy() / 1e6
    bought = np.array(table["interaction_type"].to_pylist()) == "purchase"
    first = np.full(len(user), np.inf)
    np.minimum.at(first, code, at)
    within = bought & (at < first[code] + WINDOW_DAYS * DAY_S)
    closed = first + WINDOW_DAYS * DAY_S <= at.max()
    counts = np.bincount(code[within], minlength=len(user))[closed]
    if counts.sum() == 0:
        raise NoExperiment(f"nobody bought anything within {WINDOW_DAYS} days of their first event in the last weeks")
    names_list = table["request_id"].is_valid().to_numpy()
    return Sales(
        float(counts.mean()), float(counts.std(ddof=1)), len(user) / len(days), float(names_list[bought].mean())
    )


def _needs_grid(title: str, needed: list[Need]) -> Grid:
    grid = Grid(
        "lift", "one look at the end", "daily looks, usual", "daily looks, at most", "days, at most", title=title
    )
    for need in needed:
        days = "more than a year" if need.days > 365 else f"{math.ceil(need.days) + WINDOW_DAYS}"
        grid.add_row(f"{need.lift:.0%}", f"{need.fixed:,}", f"{need.usual:,}", f"{need.sequential:,}", days)
    return grid
