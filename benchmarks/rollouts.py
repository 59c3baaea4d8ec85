"""Many simulated rollouts of versions whose true effect is known: how often each is promoted, and who is harmed.

    python -m benchmarks.rollouts --runs 500 --shoppers 20000

Shoppers differ in how often they visit and buy (purchases in 28 days vary by 1.2 times their mean between shoppers, as
on the synthetic shop). A version multiplies what its shoppers buy by ``1 + effect``. Every six hours the real judge
looks at evidence made of the real statistics; the stages are those of a canary without its shadow.
"""

import argparse
import math
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from recsys_deploy.experiments.comparison import Verdict, compare
from recsys_deploy.experiments.sample_ratio import is_mismatch
from recsys_deploy.experiments.totals import Shoppers
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.evidence import harm_of
from recsys_deploy.rollout.judge import Answer, Answers, Evidence, judge
from recsys_deploy.rollout.plan import DAY_S, RolloutPlan, StageKind, plan_of

STEPS_A_DAY = 4
STEP_S = DAY_S / STEPS_A_DAY
PURCHASES_A_DAY = 0.1
SHAPE = 0.9
"""Of the Gamma distribution of shoppers' rates: 28 days of purchases then vary by 1.2 times their mean."""
VISITS_A_PURCHASE = 4.0
LISTS_A_VISIT = 3
CLICKS_A_VISIT = 0.5
MOST_STEPS = 60 * STEPS_A_DAY
EFFECTS = (0.0, 0.1, -0.1, -0.3)


@dataclass(frozen=True)
class Outcome:
    """How one rollout ended.

    Attributes:
        end: ``better`` or ``good enough`` (both promoted), ``rolled back`` or ``undecided``.
        days: from the first shopper to the end.
        met: visits of shoppers with the version before its end, as a share of all visits of a week.
    """

    end: str
    days: float
    met: float


@dataclass
class Shop:
    """Visits and purchases per step and shopper, drawn as the rollout goes on."""

    rng: np.random.Generator
    shoppers: int

    def __post_init__(self) -> None:
        self.rate = self.rng.gamma(SHAPE, PURCHASES_A_DAY / SHAPE, self.shoppers)
        self.bucket = self.rng.integers(0, 10_000, self.shoppers)
        self.before = self.rng.poisson(28 * self.rate).astype(np.float64)
        self.steps = 0
        self.totals = np.zeros((3, MOST_STEPS + 1, self.shoppers), np.int32)
        self.first = np.full(self.shoppers, -1)

    def begin_stage(self) -> None:
        """Forget who was seen: a stage counts from its own start."""
        self.first[:] = -1

    def step(self, treated: NDArray[np.bool_], effect: float) -> NDArray[np.int64]:
        """Six hours in which the ``treated`` (``[shoppers]``) meet the version; gives everybody's visits."""
        visits = self.rng.poisson(VISITS_A_PURCHASE * self.rate / STEPS_A_DAY)
        chance = np.where(treated, 1 + effect, 1.0) / VISITS_A_PURCHASE
        drawn = (visits * LISTS_A_VISIT, self.rng.poisson(visits * CLICKS_A_VISIT), self.rng.poisson(visits * chance))
        self.first[(self.first < 0) & (visits > 0)] = self.steps
        self.totals[:, self.steps + 1] = self.totals[:, self.steps] + np.stack(drawn)
        self.steps += 1
        return visits

    def outcomes(self, window: int | None, low: int, weight: int, mirror: bool) -> tuple[Shoppers, tuple[int, int]]:
        """Shoppers first seen in this stage with a closed window, and how many were seen at all.

        ``window``: steps; ``None``: until now.
        """
        now, came, first = self.steps, self.first >= 0, self.first
        treated = (self.bucket >= low) & (self.bucket < weight)
        control = (self.bucket >= 10_000 - weight) & (self.bucket < 10_000 - low) if mirror else self.bucket >= weight
        member = came & (treated | control)
        reached = (int((member & control).sum()), int((member & treated).sum()))
        rows = np.flatnonzero(member if window is None else member & (first + window <= now))
        end = np.full(len(rows), now) if window is None else first[rows] + window

        lists, clicks, bought = (self.totals[:, end, rows] - self.totals[:, first[rows], rows]).astype(np.float64)
        shoppers = Shoppers(
            users=tuple(map(str, rows)), is_treatment=treated[rows], first_ms=first[rows],
            days=(end - first[rows]) / STEPS_A_DAY, lists=lists,
            clicks=clicks, conversions=bought, revenue=bought, before=self.before[rows], both=0,
        )  # fmt: skip
        return shoppers, reached


def rollout(seed: int, shoppers: int, effect: float, plan: RolloutPlan, *, offline_passed: bool = True) -> Outcome:
    """One rollout of a version with a true relative ``effect`` on purchases."""
    shop = Shop(np.random.default_rng(seed), shoppers)
    stages = [stage for stage in plan.stages if stage.kind not in (StageKind.SHADOW, StageKind.WARM)]
    at, start, met = 0, 0, 0.0
    while True:
        stage = stages[at]
        treated = shop.bucket < stage.weight
        met += float(shop.step(treated, effect)[treated].sum())
        now = shop.steps
        elapsed = (now - start) * STEP_S
        low = stages[at - 1].weight if stage.kind is StageKind.EXPERIMENT and at else 0
        evidence = _evidence(shop, start, low, stage.weight, stage.kind is StageKind.EXPERIMENT, plan, elapsed)
        found = judge(stage, elapsed, evidence, plan, offline_passed=offline_passed, is_last_test=at == len(stages) - 1)
        if found.answer is Answer.ADVANCE:
            at, start = at + 1, now
            shop.begin_stage()
        elif found.answer is not Answer.HOLD:
            week = 7 * VISITS_A_PURCHASE * PURCHASES_A_DAY * shoppers
            end = "undecided" if found.undecided else "rolled back"
            if found.answer is Answer.PROMOTE:
                end = "better" if found.reason.startswith(Verdict.BETTER) else "good enough"
            return Outcome(end, now / STEPS_A_DAY, met / week)


def _evidence(
    shop: Shop, start: int, low: int, weight: int, experiment: bool, plan: RolloutPlan, elapsed_s: float
) -> Evidence:
    short, _ = shop.outcomes(None, low, weight, experiment)
    lists = shop.totals[0, shop.steps] - shop.totals[0, start]
    treated = shop.bucket < weight
    answers = [
        Answers(requests=int(lists[group].sum()), shoppers=int((lists[group] > 0).sum()), newest_age_s=0.0)
        for group in (~treated, treated)
    ]
    evidence = Evidence(control=answers[0], treatment=answers[1], harm=harm_of(short))
    if not experiment or (shop.steps - start) % STEPS_A_DAY:
        return evidence
    long, reached = shop.outcomes(round(plan.limits.outcome_window_s / STEP_S), low, weight, True)
    if len(long.users) == 0:
        return replace(evidence, business_days=elapsed_s / DAY_S)
    found = compare(long, reached, 0.5, plan.business)
    return replace(evidence, business=found, business_days=elapsed_s / DAY_S)


def _one(task: tuple[int, int, float, RolloutPlan]) -> Outcome:
    seed, shoppers, effect, plan = task
    return rollout(seed, shoppers, effect, plan)


def table_of(runs: int, shoppers: int, workers: int, effects: tuple[float, ...] = EFFECTS) -> Table:
    """Shares of outcomes by true effect."""
    plan = plan_of(Strategy.CANARY)
    plan = replace(plan, business=replace(plan.business, planned_shoppers=round(0.8 * shoppers)))
    table = Table(
        "true effect", "promoted as better", "as good enough", "rolled back", "undecided",
        "median days", "of a week's visits, mean / p95",
        title=f"{runs} rollouts each, {shoppers:,} shoppers",
    )  # fmt: skip
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for effect in effects:
            tasks = [(seed, shoppers, effect, plan) for seed in range(runs)]
            found = _collected(pool.imap(_one, tasks, chunksize=4), f"effect {effect:+.0%}", runs)
            ends = Counter(one.end for one in found)
            met = np.array([one.met for one in found])
            shares = [f"{ends[end] / runs:.1%}" for end in ("better", "good enough", "rolled back", "undecided")]
            days = float(np.median([one.days for one in found]))
            table.add_row(f"{effect:+.0%}", *shares, f"{days:.1f}", f"{met.mean():.1%} / {np.quantile(met, 0.95):.1%}")
    return table


def sample_ratio_table(runs: int) -> Table:
    """Alarms of the sample-ratio test: without cause over 56 daily looks, and in 20,000 shoppers with a tenth lost."""
    rng = np.random.default_rng(0)
    table = Table("shares", "challenger lost", "alarms", "shoppers at the alarm, median", title=f"{runs} runs each")
    for share in (0.5, 0.1):
        for lost in (0.0, 0.1):
            days, a_day = (56, 400) if lost == 0 else (100, 200)
            arrived = rng.binomial(a_day, share, (runs, days))
            treated = rng.binomial(arrived, 1 - lost).cumsum(axis=1)
            control = (a_day - arrived).cumsum(axis=1)
            found = []
            for ours, theirs in zip(treated.tolist(), control.tolist(), strict=True):
                at = (a + b for a, b in zip(theirs, ours, strict=True) if is_mismatch((a, b), (1 - share, share)))
                found.append(next(at, math.inf))
            alarms = np.isfinite(found)
            median = f"{np.median(np.array(found)[alarms]):,.0f}" if alarms.any() else ""
            table.add_row(f"{1 - share:.0%} / {share:.0%}", f"{lost:.0%}", f"{alarms.mean():.1%}", median)
    return table


def _collected(outcomes: Iterable[Outcome], name: str, runs: int) -> list[Outcome]:
    """All outcomes; ten lines of progress on standard error, which a log file keeps too."""
    found: list[Outcome] = []
    for outcome in outcomes:
        found.append(outcome)
        if len(found) % max(1, runs // 10) == 0:
            print(f"{name}: {len(found)} of {runs}, {dict(Counter(one.end for one in found))}", file=sys.stderr)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--shoppers", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--effects", type=float, nargs="+", default=EFFECTS, help="True effects, such as 0 -0.3.")
    parser.add_argument("--sample-ratio", action="store_true", help="The sample-ratio test alone.")
    arguments = parser.parse_args()
    if arguments.sample_ratio:
        Console().print(sample_ratio_table(arguments.runs))
        return
    Console().print(table_of(arguments.runs, arguments.shoppers, arguments.workers, tuple(arguments.effects)))


if __name__ == "__main__":
    main()
