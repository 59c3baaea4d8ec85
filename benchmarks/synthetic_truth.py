"""How near each model comes to the best answer there is: ``python -m benchmarks.synthetic_truth``.

The synthetic shop knows the probability with which each shopper buys each product. Listing the likeliest is the best
answer, and its NDCG@10 is what is achievable: below 1, because what is drawn within the window is chance. Models and
the best answer are judged by one protocol (global split in time, full ranking of what was seen before, own purchases
excluded) on the window that happened and on further futures drawn from the same world, which takes most of the luck
out of the comparison.

What the best answer knows: hidden tastes, every episode of interest and restocking habit, prices, shelf and listing on
each day of the window, also those that begin after its start. What it does not: any draw, hence neither whether nor
when a shopper comes. It obeys the models' exclusions and candidates. It ranks by the chance of at least one purchase
within the window; the very best for NDCG would weigh each chance by how much else the shopper then takes, which differs
only where a purchase comes with many others.

Episodes that begin within the window are drawn independently of all that came before, so nobody can learn of them from
a log: the ``foreseeable`` best answer knows the rest and averages over them.

Of an episode already running, and of a habit, too, only what the shopper's own events tell can be known. The
``learnable`` best answer averages over the episodes and habits that those events leave possible (`synthetic_posterior`,
`synthetic_habits`; a habit that has shown is known but for where it turns when its product is gone), over episodes that
have not begun, and over how the shop will list its products in the weeks that have not. It still knows what a model can
only estimate, or never learn: the rules of the shop, every product's style and appeal (of one launched yesterday, too),
every shopper's lasting tastes and rate exactly, which events belong to a session and which are restocking, and what
will be retired within the window. So it bounds from above what any model can learn from any log, but for the draws it
averages over: more of them raise it, by less than a hundredth of the best beyond `LEARNABLE_DRAWS`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Row, print_rows
from benchmarks.synthetic_habits import Habits
from benchmarks.synthetic_posterior import OtherEpisodes, RunningEpisodes
from lambda_api.interactions import InteractionType
from lambda_api.recommender.histories import Ragged
from lambda_api.recommender.ids import IndexArray
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.ingest.synthetic.behaviour import Behaviour, simulate_day
from recsys_assets.ingest.synthetic.catalogue import product_id
from recsys_assets.ingest.synthetic.shoppers import user_id
from recsys_assets.ingest.synthetic.world import World
from recsys_assets.measurement.metrics import FloatArray, ranking_metrics
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task, evaluate
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import TRAINERS, make_trainer
from recsys_assets.schema import INTERACTIONS

K: Final = 10
BAR, REACH = 0.70, 0.85
BEST, FORESEEABLE, LEARNABLE = "best answer", "best answer, foreseeable", "best answer, learnable"
EPISODE_DRAWS: Final = 8
"""Futures of episodes that the foreseeable answer averages over."""
LEARNABLE_DRAWS: Final = 128
"""Running episodes, with a future each, that the learnable answer averages over."""
HABIT_DRAWS: Final = 300
"""Habits that the learnable answer averages over: few and sure, so that many draws are needed to spread them."""
_FUTURES_STREAM, _HABITS_STREAM = 7_919, 7_937


@dataclass(frozen=True)
class Known:
    """A synthetic shop split in time, with everybody who has a history, whether or not they then bought.

    Attributes:
        shop: with its truth.
        data: what trainers learn from: everything before the window, the catalogue of the day before it.
        task: all ``B`` shoppers with a history; a shopper who bought nothing new has an empty row of truth.
        days: length of the window.
    """

    shop: SyntheticShop
    data: TrainingData
    task: EvaluationTask
    days: int


@dataclass(frozen=True, slots=True)
class Reached:
    """One model in one shop. ``happened`` is its NDCG on the window as it was, ``expected`` over further futures."""

    model: str
    shop_seed: int
    model_seed: int | None
    happened: float
    expected: float
    seconds: float


def known_shop(config: SyntheticShopConfig, days: int, *, allow_repeats: bool = False) -> Known:
    """Split ``config``'s shop so that its last ``days`` are the window. Raises ``ValueError`` without a fixed end."""
    if config.days is None or config.days <= days:
        raise ValueError(f"the shop must have a fixed number of days, more than the window's {days}: {config.days}")
    shop = SyntheticShop(config)
    first = config.start + timedelta(days=config.days - days)
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    log = pa.concat_tables(
        INTERACTIONS.conform(shop.day_events(config.start + timedelta(days=offset))) for offset in range(config.days)
    )
    window = EvaluationWindow(start, start + timedelta(days=days), allow_repeats=allow_repeats)
    happened = build_task(log, shop.products(), window)
    everybody = TrainingData.from_tables(log, shop.products(), start, product_map=happened.products)
    bought = everybody.kind == InteractionType.PURCHASE
    width = len(happened.products)
    owned = np.unique(everybody.user[bought].astype(np.int64) * width + everybody.product[bought])
    task = replace(
        happened,
        histories=everybody.histories(),
        exclude=_rows(owned[:0] if allow_repeats else owned, len(everybody.users), width),
    )
    wanted = _rows_by_user(happened.truth, everybody.users.indices(happened.user_ids), len(everybody.users))
    data = TrainingData.from_tables(log, shop.products(first - timedelta(days=1)), start)
    return Known(shop, data, replace(task, truth=wanted), days)


def futures(known: Known, count: int) -> list[Ragged]:
    """What everybody would newly have bought in ``count`` windows drawn afresh; truths row-aligned with the task."""
    world, task = known.shop.world, known.task
    product = task.products.indices([product_id(int(number)) for number in world.products.number])
    row_of = {name: row for row, name in enumerate(task.user_ids)}
    shopper = np.array([row_of.get(user_id(number), -1) for number in range(len(world.shoppers))], dtype=np.int64)
    width = len(task.products)
    owned = task.exclude.row_of_value * width + task.exclude.values
    states = [world.on((task.window.start + timedelta(days=offset)).date()) for offset in range(known.days)]
    truths = []
    for future in range(count):
        bought = []
        for state in states:
            seed = [known.shop.config.seed, _FUTURES_STREAM, future, state.ordinal]
            bought.append(_purchases(simulate_day(world, state, np.random.default_rng(seed)), shopper, product, width))
        truths.append(_rows(np.setdiff1d(np.concatenate(bought), owned), len(task), width))
    return truths


def best_lists(known: Known, k: int = K) -> IndexArray:
    """The ``k`` candidates each shopper is truly likeliest to buy, int32 ``[B, k]``, ``-1`` where none has a chance."""
    task, candidates = known.task, np.flatnonzero(known.task.statistics.candidates)
    chance = known.shop.purchase_probability(
        task.user_ids, task.products.external(candidates), task.window.start, known.days
    )
    return _likeliest(task, candidates, chance, k)


def foreseeable_lists(known: Known, k: int = K, draws: int = EPISODE_DRAWS) -> IndexArray:
    """As `best_lists`, of chances averaged over ``draws`` futures of the episodes that have not begun."""
    config, now = known.shop.config, known.task.window.start.toordinal()
    chance = _averaged(known, [OtherEpisodes(config, now, draw) for draw in range(draws)])
    return _likeliest(known.task, np.flatnonzero(known.task.statistics.candidates), chance, k)


def learnable_lists(known: Known, k: int = K, draws: int = LEARNABLE_DRAWS) -> IndexArray:
    """As `best_lists`, of chances averaged over ``draws`` of all that is hidden and passing.

    Raises:
        ValueError: tastes shift.
    """
    config, now, task = known.shop.config, known.task.window.start.toordinal(), known.task
    running = RunningEpisodes(config, now).draws(draws)
    browsed = _averaged(known, (OtherEpisodes(config, now, *one) for one in enumerate(running)))
    number = known.shop.world.products.number
    row = {product_id(int(number[row])): row for row in range(len(number))}
    candidates = np.flatnonzero(task.statistics.candidates)
    restocked = Habits(config, now).purchase_probability(
        np.array([int(name.removeprefix("U")) for name in task.user_ids]),
        np.array([row[name] for name in task.products.external(candidates)]),
        known.days,
        HABIT_DRAWS,
        np.random.default_rng([config.seed, _HABITS_STREAM]),
    )
    # Habits and episodes are independent, given tastes and events.
    return _likeliest(task, candidates, browsed + restocked - browsed * restocked, k)


def _averaged(known: Known, worlds: Iterable[World]) -> FloatArray:
    """Mean over worlds of the chance that each shopper buys each candidate, ``[B, candidates]``."""
    task, candidates, count = known.task, np.flatnonzero(known.task.statistics.candidates), 0
    total = np.zeros((len(task), len(candidates)))
    for world in worlds:
        shop, count = SyntheticShop(known.shop.config), count + 1
        shop.world = world
        total += shop.purchase_probability(
            task.user_ids, task.products.external(candidates), task.window.start, known.days
        )
    return total / count


def _likeliest(task: EvaluationTask, candidates: NDArray[np.int64], chance: FloatArray, k: int) -> IndexArray:
    place = np.full(len(task.products), -1)
    place[candidates] = np.arange(len(candidates))
    excluded = place[task.exclude.values]
    chance[task.exclude.row_of_value[excluded >= 0], excluded[excluded >= 0]] = 0.0
    order = np.argsort(-chance, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(chance, order, axis=1) > 0, candidates[order], -1).astype(np.int32)


def expected_ndcg(lists: IndexArray, truths: Sequence[Ragged], k: int = K) -> float:
    """Mean NDCG@k over the shoppers who bought something, averaged over truths (all row-aligned with ``lists``)."""
    return float(np.mean([np.nanmean(ranking_metrics(lists, truth, k)["ndcg"]) for truth in truths]))


def is_random(model: str) -> bool:
    """Whether the model's trainer takes a seed."""
    return "seed" in _accepted(model)


def measure(known: Known, models: Sequence[str], model_seeds: int, truths: Sequence[Ragged]) -> list[Reached]:
    """Fit and judge every model, those with a seed ``model_seeds`` times, beside the best answers."""
    reached = []
    answers = {BEST: best_lists, FORESEEABLE: foreseeable_lists, LEARNABLE: learnable_lists}
    for name, answer in answers.items():
        reached.append(_reached(name, known, None, answer(known), truths, 0.0))
        print(f"{name}: {reached[-1].happened:.4f}, expected {reached[-1].expected:.4f}", flush=True)
    for name in models:
        for seed in range(model_seeds) if is_random(name) else (None,):
            began = time.perf_counter()
            recommender = make_trainer(name, _parameters(name, seed, known)).fit(known.data)
            seconds = time.perf_counter() - began
            lists = evaluate(name, recommender, known.task, K).recommended
            reached.append(_reached(name, known, seed, lists, truths, seconds))
            last = reached[-1]
            print(f"{name} {seed}: {last.happened:.4f}, expected {last.expected:.4f}, {seconds:.0f} s", flush=True)
    return reached


def table(reached: Sequence[Reached]) -> Table:
    """Mean NDCG and shares; spreads (standard deviation, percent) are those of the share of the best."""
    shown = Table(
        "model", f"NDCG@{K}, window", f"NDCG@{K}, expected", "share of the best", "share of the foreseeable",
        "share of the learnable", "spread over shops", "spread over model seeds",
        title="share of the achievable on the synthetic shop",
    )  # fmt: skip
    for name in dict.fromkeys(one.model for one in reached):
        shares, within = shares_of(reached, name)
        mine = [one for one in reached if one.model == name]
        foreseeable, learnable = (shares_of(reached, name, of)[0] for of in (FORESEEABLE, LEARNABLE))
        shown.add_row(
            name,
            f"{np.mean([one.happened for one in mine]):.4f}",
            f"{np.mean([one.expected for one in mine]):.4f}",
            f"{100 * shares.mean():.1f} %",
            f"{100 * foreseeable.mean():.1f} %",
            f"{100 * learnable.mean():.1f} %",
            f"{100 * shares.std(ddof=1):.1f}" if len(shares) > 1 else "-",
            "-" if within is None else f"{100 * within:.1f}",
        )
    return shown


def shares_of(reached: Sequence[Reached], model: str, of: str = BEST) -> tuple[FloatArray, float | None]:
    """Share of the expected NDCG of the answer ``of``, one per shop (mean over model seeds), and the standard deviation
    over model seeds, averaged over shops; ``None`` with one seed."""
    by_shop: dict[int, list[float]] = {}
    for one in reached:
        if one.model == model:
            by_shop.setdefault(one.shop_seed, []).append(one.expected / _of(reached, of, one.shop_seed).expected)
    spreads = [float(np.std(shares, ddof=1)) for shares in by_shop.values() if len(shares) > 1]
    return np.array([np.mean(shares) for shares in by_shop.values()]), float(np.mean(spreads)) if spreads else None


def run() -> list[Row]:
    """The bar's row, on one shop small enough for a few minutes."""
    known = known_shop(SyntheticShopConfig(days=120, n_users=1_500, n_products=900), 14)
    return rows(measure(known, ["hybrid"], 1, futures(known, 10)))


def rows(reached: Sequence[Reached]) -> list[Row]:
    """The bar's row, if the hybrid was measured."""
    if not any(one.model == "hybrid" for one in reached):
        return []
    share = float(shares_of(reached, "hybrid")[0].mean())
    of_learnable = float(shares_of(reached, "hybrid", LEARNABLE)[0].mean())
    learnable = float(shares_of(reached, LEARNABLE)[0].mean())
    row: Row = {
        "what": f"hybrid on the synthetic shop, share of the best answer's expected NDCG@{K}",
        "bar": f">= {100 * BAR:.0f} % (reach {100 * REACH:.0f} %)",
        "measured": f"{100 * share:.1f} % ({100 * of_learnable:.1f} % of the learnable, {100 * learnable:.1f} %)",
        "met": share >= BAR,
    }
    return [row]


def _accepted(model: str) -> set[str]:
    return {field.name for field in fields(TRAINERS[model]) if field.init}  # type: ignore[arg-type]


def _parameters(model: str, seed: int | None, known: Known) -> dict[str, int | bool]:
    """The seed, and the protocol where the trainer learns for one."""
    given: dict[str, int | bool] = {} if seed is None else {"seed": seed}
    if "allow_repeats" in _accepted(model):
        given["allow_repeats"] = known.task.window.allow_repeats
    return given


def _reached(
    name: str, known: Known, seed: int | None, lists: IndexArray, truths: Sequence[Ragged], seconds: float
) -> Reached:
    happened = expected_ndcg(lists, [known.task.truth])
    return Reached(name, known.shop.config.seed, seed, happened, expected_ndcg(lists, truths), seconds)


def _of(reached: Sequence[Reached], model: str, shop_seed: int) -> Reached:
    return next(one for one in reached if one.model == model and one.shop_seed == shop_seed)


def _purchases(day: Behaviour, shopper: NDArray[np.int64], product: IndexArray, width: int) -> NDArray[np.int64]:
    bought = day.kind == InteractionType.PURCHASE
    row, column = shopper[day.user[bought]], product[day.product[bought]].astype(np.int64)
    return (row * width + column)[(row >= 0) & (column >= 0)]


def _rows(pairs: NDArray[np.int64], rows: int, width: int) -> Ragged:
    """Sorted distinct ``row * width + value`` as a ragged array of ``rows`` rows."""
    row, value = np.divmod(pairs, width)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int64)
    return Ragged(indptr, value.astype(np.int32))


def _rows_by_user(truth: Ragged, rows: IndexArray, count: int) -> Ragged:
    width = 1 + int(truth.values.max())
    return _rows(np.sort(rows[truth.row_of_value].astype(np.int64) * width + truth.values), count, width)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, print the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.synthetic_truth", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(TRAINERS), choices=list(TRAINERS))
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--products", type=int, default=1_200)
    parser.add_argument("--days", type=int, default=120, help="of the shop, the window included")
    parser.add_argument("--window-days", type=int, default=14)
    parser.add_argument("--shops", type=int, default=3, help="shops, each of another seed")
    parser.add_argument("--model-seeds", type=int, default=3, help="fits of each model that draws at random")
    parser.add_argument("--futures", type=int, default=10, help="windows drawn afresh")
    parser.add_argument("--allow-repeats", action="store_true")
    given = parser.parse_args(arguments)
    reached: list[Reached] = []
    for seed in range(given.shops):
        config = SyntheticShopConfig(seed=seed, days=given.days, n_users=given.users, n_products=given.products)
        known = known_shop(config, given.window_days, allow_repeats=given.allow_repeats)
        truths = futures(known, given.futures)
        print(f"shop {seed}: {len(known.data.user):,} events, {len(known.task):,} shoppers", flush=True)
        reached += measure(known, given.models, given.model_seeds, truths)
    Console(width=160).print(table(reached))
    print_rows("synthetic truth", rows(reached))


if __name__ == "__main__":
    main()
