"""Interleaved lists against half and half at the same number of shoppers: how often each finds which version is better.

    python -m benchmarks.interleaving --runs 500 --shoppers 2000

A shop of `PRODUCTS` products. At a visit every product has a worth to the shopper, and each version ranks by that worth
with an error: the champion's is fixed, the challenger's is chosen so that all sales change by the effect asked for,
computed exactly over the visits. Errors are correlated, because successive versions are alike. Shoppers look at places
with falling attention and buy at most one product of a list; most purchases happen without a list. Lists are merged by
the code that serves them, totals are judged by the code that judges them: both designs have the same daily looks,
windows, interval and deadline.

Without an effect the versions are exchangeable: each visit occurs with their errors both ways round, and each merged
list with its coins both ways round.
"""

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lambda_api.serving.question import RankedItem, Ranking, Reason
from lambda_api.serving.scorers import Scored
from lambda_api.serving.team_draft import draft
from recsys_deploy.experiments.comparison import BusinessRules, Comparison, Verdict, compare, verdict_of
from recsys_deploy.experiments.interleaving import Credits, compare_credits
from recsys_deploy.experiments.planning import interleaved_needed, shoppers_needed
from recsys_deploy.experiments.totals import Shoppers

FloatArray = NDArray[np.float64]

PRODUCTS = 100
PLACES = 10
VISITS = 4_000
"""Different visits that the shop knows; shoppers' visits are drawn from them."""
ERROR = 2.0
"""Of the champion's ranking, in standard deviations of products' worth."""
SHARED = 0.8
"""Correlation of the two versions' errors."""
ATTENTION = 0.7
"""A place is looked at with probability ``place ** -ATTENTION``."""

SHAPE = 0.9
VISITS_A_DAY = 0.4
FROM_LISTS = 0.3
"""Share of purchases that answer a list, with the champion."""
PURCHASES_A_VISIT = 0.25
WINDOW_DAYS = 8
DAYS = 28
ARRIVAL_DAYS = 20
"""Shoppers see their first list within so many days, evenly."""
EFFECTS = (0.0, 0.05, 0.10, 0.20)
DESIGNS = ("half and half", "interleaved")


@dataclass(frozen=True)
class Shop:
    """Chance of a purchase from a list at each visit (``[VISITS]``).

    Attributes:
        alone: with the champion's list, and with the challenger's.
        drafted: from the champion's places of the merged list, and from the challenger's, ``[2 * VISITS, 2]``.
        led: whether the challenger led the merged list, ``nan`` where nobody did, ``[2 * VISITS]``.
        organic: purchases without a list at a visit.
        effect: relative change of all sales with the challenger.
    """

    alone: tuple[FloatArray, FloatArray]
    drafted: FloatArray
    led: FloatArray
    organic: float
    effect: float


@lru_cache(maxsize=8)
def shop_of(effect: float) -> Shop:
    """The shop in which the challenger changes sales by ``effect``."""
    rng = np.random.default_rng(7)
    worth, shared, *own = (np.tile(rng.standard_normal((VISITS // 2, PRODUCTS)), (2, 1)) for _ in range(4))
    half = VISITS // 2
    one, two = (np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * each for each in own)
    noise, other = np.concatenate([one[:half], two[half:]]), np.concatenate([two[:half], one[half:]])
    champion = _lists(worth + ERROR * noise)
    attention = np.arange(1, PLACES + 1.0) ** -ATTENTION
    pull = attention * np.exp(worth[np.arange(VISITS)[:, None], champion])
    # Without a purchase the shopper's choice has the weight that makes lists sell their share.
    wanted, low, high = FROM_LISTS * PURCHASES_A_VISIT, 1e-3, 1e6
    for _ in range(60):
        nothing = np.sqrt(low * high)
        sold = float((pull.sum(axis=1) / (pull.sum(axis=1) + nothing)).mean())
        low, high = (nothing, high) if sold > wanted else (low, nothing)
    organic = (1 - FROM_LISTS) * PURCHASES_A_VISIT

    def chances(lists: NDArray[np.int64]) -> FloatArray:
        weight = attention[: lists.shape[1]] * np.exp(worth[np.arange(VISITS)[:, None], lists])
        found: FloatArray = weight / (weight.sum(axis=1, keepdims=True) + nothing)
        return found

    ours = chances(champion)
    target = float(ours.sum(axis=1).mean()) * (1 + effect / FROM_LISTS)
    error_low, error_high = 0.0, 3 * ERROR
    for _ in range(40):
        error = (error_low + error_high) / 2
        challenger = _lists(worth + error * other)
        theirs = chances(challenger)
        better = float(theirs.sum(axis=1).mean()) > target
        error_low, error_high = (error, error_high) if better else (error_low, error)
    drafted, led = _drafted(champion, challenger, chances)
    change = (theirs.sum(axis=1).mean() - ours.sum(axis=1).mean()) / (ours.sum(axis=1).mean() + organic)
    return Shop((ours.sum(axis=1), theirs.sum(axis=1)), drafted, led, organic, float(change))


def _lists(scores: FloatArray) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1)[:, :PLACES]


def _drafted(
    champion: NDArray[np.int64], challenger: NDArray[np.int64], chances: Callable[[NDArray[np.int64]], FloatArray]
) -> tuple[FloatArray, FloatArray]:
    side = {"old": 0, "new": 1, None: 2}
    drafted, led = [], []
    for mirrored in (False, True):
        merged, teams = np.zeros_like(champion), np.full(champion.shape, 2)
        for visit, (ours, theirs) in enumerate(zip(champion.tolist(), challenger.tolist(), strict=True)):
            pair = (_scored("old", ours), _scored("new", theirs))
            one = draft(*(pair[::-1] if mirrored else pair), PLACES, f"visit-{visit % (VISITS // 2)}")
            merged[visit] = [int(item.product_id) for item in one.ranking.items]
            teams[visit] = [side[team] for team in one.teams]
        sold = chances(merged)
        drafted.append(np.stack([np.where(teams == team, sold, 0.0).sum(axis=1) for team in range(2)], axis=1))
        leader = teams[np.arange(len(teams)), (teams < 2).argmax(axis=1)]
        led.append(np.where((teams < 2).any(axis=1), leader, np.nan))
    return np.concatenate(drafted), np.concatenate(led)


def _scored(version: str, products: list[int]) -> Scored:
    items = tuple(RankedItem(str(product), 0.0, Reason("for_you", "")) for product in products)
    return Scored(Ranking(items, "ranked", True), version)


@dataclass(frozen=True)
class Ended:
    """How one comparison ended, after how many days, and its lift then."""

    verdict: Verdict
    days: int
    lift: float


def comparison(design: str, seed: int, shoppers: int, effect: float) -> Ended:
    """One comparison with a look every day."""
    shop, rng = shop_of(effect), np.random.default_rng(seed)
    rate = rng.gamma(SHAPE, VISITS_A_DAY / SHAPE, shoppers)
    first = np.sort(rng.uniform(0, ARRIVAL_DAYS, shoppers))
    # Everybody visits on the first day, as that is when they are first seen.
    visits = 1 + rng.poisson(WINDOW_DAYS * rate)
    owner = np.repeat(np.arange(shoppers), visits)
    organic = rng.poisson(shop.organic * visits).astype(np.float64)
    before = rng.poisson(28 * rate * PURCHASES_A_VISIT).astype(np.float64)
    rules = BusinessRules(planned_shoppers=shoppers)
    if design == "interleaved":
        at = rng.integers(0, len(shop.led), len(owner))
        chance = shop.drafted[at]
        draw, edges = rng.random(len(at)), chance.cumsum(axis=1)
        won = [(draw < edges[:, 0]), (draw >= edges[:, 0]) & (draw < edges[:, 1])]
        credit = np.stack([np.bincount(owner[one], minlength=shoppers) for one in won], axis=1).astype(np.float64)
        led = shop.led[at]

        def look(n: int) -> Comparison:
            seen = led[owner < n]
            leaders = (int((seen == 0).sum()), int((seen == 1).sum()))
            part = credit[:n]
            return compare_credits(Credits(first[:n].astype(np.int64), part, part, part, leaders), rules)
    else:
        at, treated = rng.integers(0, VISITS, len(owner)), rng.random(shoppers) < 0.5
        sold = rng.random(len(at)) < np.where(treated[owner], shop.alone[1][at], shop.alone[0][at])
        total = organic + np.bincount(owner[sold], minlength=shoppers)

        def look(n: int) -> Comparison:
            ones = np.ones(n)
            part = Shoppers(
                users=tuple(map(str, range(n))), is_treatment=treated[:n], first_ms=first[:n].astype(np.int64),
                days=ones, lists=ones, clicks=ones, conversions=total[:n], revenue=total[:n], before=before[:n], both=0,
            )  # fmt: skip
            return compare(part, part.counts(), 0.5, rules)

    for day in range(WINDOW_DAYS, DAYS + 1):
        n = int((first + WINDOW_DAYS <= day).sum())
        if n > 1:
            found = look(n)
            verdict = verdict_of(found, day, rules, offline_passed=False)
            if verdict is not Verdict.CONTINUE:
                return Ended(verdict, day, np.nan if found.primary is None else found.primary.lift)
    raise AssertionError("the last day decides")


def _one(task: tuple[str, int, int, float]) -> Ended:
    return comparison(*task)


def table_of(runs: int, sizes: list[int], workers: int, effects: tuple[float, ...] = EFFECTS) -> Table:
    """Shares of verdicts by effect, shoppers and design."""
    table = Table(
        "true effect", "shoppers", "design", "better", "worse", "undecided", "median days", "median lift",
        title=f"{runs} comparisons each, {FROM_LISTS:.0%} of purchases answer a list",
    )  # fmt: skip
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for effect in effects:
            for shoppers in sizes:
                for design in DESIGNS:
                    tasks = [(design, seed, shoppers, effect) for seed in range(runs)]
                    found = list(
                        _shown(pool.imap_unordered(_one, tasks, chunksize=4), f"{effect:+.0%} {shoppers} {design}")
                    )
                    ends = Counter(one.verdict for one in found)
                    shares = [f"{ends[v] / runs:.1%}" for v in (Verdict.BETTER, Verdict.WORSE, Verdict.UNDECIDED)]
                    days = float(np.median([one.days for one in found]))
                    lift = float(np.nanmedian([one.lift for one in found]))
                    row = (f"{shop_of(effect).effect:+.1%}", f"{shoppers:,}", design, *shares)
                    table.add_row(*row, f"{days:.0f}", f"{lift:+.0%}")
    return table


def needed_table() -> Table:
    """Shoppers that one look at the end needs in this shop, by the formulas of `recsys experiment plan`."""
    rng = np.random.default_rng(0)
    visits = 1 + rng.poisson(WINDOW_DAYS * rng.gamma(SHAPE, VISITS_A_DAY / SHAPE, 200_000))
    bought = rng.poisson(visits * PURCHASES_A_VISIT)
    mean, sd = float(bought.mean()), float(bought.std())
    table = Table("lift", "half and half", "interleaved", title=f"{mean:.2f} purchases per shopper, sd {sd:.2f}")
    for lift in EFFECTS[1:]:
        table.add_row(
            f"{lift:.0%}", f"{shoppers_needed(mean, sd, lift):,}", f"{interleaved_needed(mean, FROM_LISTS, lift):,}"
        )
    return table


def _shown(found: Iterable[Ended], name: str) -> Iterable[Ended]:
    for count, one in enumerate(found, 1):
        if count % 100 == 0:
            print(f"{name}: {count}", file=sys.stderr, flush=True)
        yield one


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--shoppers", type=int, nargs="+", default=[2_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--effects", type=float, nargs="+", default=EFFECTS, help="True effects, such as 0 0.1.")
    arguments = parser.parse_args()
    console = Console(width=120)
    console.print(needed_table())
    console.print(table_of(arguments.runs, arguments.shoppers, arguments.workers, tuple(arguments.effects)))


if __name__ == "__main__":
    main()
