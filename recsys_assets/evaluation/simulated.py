"""Business figures from the synthetic shop: what its shoppers would click, put into the cart and buy.

The days of the window are drawn again from the shop's own probabilities, several times. A listed product counts as
clicked, carted or bought where its shopper did so in such a draw. Lists do not influence these shoppers: the figures
compare models by what they predict, and say nothing about the effect of being shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.csr import find_sorted
from lambda_api.recommender.histories import Ragged
from recsys_assets.evaluation.business import BusinessFigures, PolicyFigures
from recsys_assets.evaluation.feedback import MEASURES, Measure
from recsys_assets.ingest.synthetic.behaviour import simulate_day
from recsys_assets.ingest.synthetic.catalogue import product_id
from recsys_assets.ingest.synthetic.shop import SyntheticShop
from recsys_assets.ingest.synthetic.shoppers import user_id
from recsys_assets.measurement.bootstrap import RESAMPLES, FloatArray, ratio_interval
from recsys_assets.measurement.protocol import EvaluationTask, evaluate
from recsys_assets.models.dataset import TrainingData

MAX_SHOPPERS = 1_000
MAX_DAYS = 14
DRAWS = 5
_STREAM = 8_087


@dataclass(frozen=True)
class Answers:
    """What shoppers did with products in all draws together, as sorted distinct ``row * width + product`` per draw.

    Attributes:
        clicked, bought: int64 keys, ``draw * rows * width`` added.
        earned: float64, money of each key in ``bought``.
    """

    clicked: NDArray[np.int64] = field(repr=False)
    bought: NDArray[np.int64] = field(repr=False)
    earned: FloatArray = field(repr=False)


def simulated_figures(
    shop: SyntheticShop,
    models: Mapping[str, Recommender],
    task: EvaluationTask,
    interactions: pa.Table,
    products: pa.Table,
    k: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BusinessFigures:
    """Figures of every model's lists for a sample of shoppers with a history.

    Args:
        task: of the report; its window, products and facts are taken.
        interactions, products: the canonical tables the task was built from.
        k: length of the lists.
    """
    shoppers = _all_shoppers(task, interactions, products)
    days = min(MAX_DAYS, max(1, (task.window.end - task.window.start).days))
    answers = _drawn(shop, shoppers, days, seed)
    policies = []
    for name, model in models.items():
        listed = evaluate(name, model, shoppers, k).recommended
        policies.append(_figures(name, listed, answers, len(shoppers.products), resamples, seed))
    return BusinessFigures(
        "simulated",
        f"Simulated: {DRAWS} draws of what {len(shoppers):,} shoppers of the synthetic shop look at and buy in "
        f"{days} days from {task.window.start:%Y-%m-%d} on. Lists do not influence them; nothing was served.",
        tuple(policies),
    )


def _all_shoppers(task: EvaluationTask, interactions: pa.Table, products: pa.Table) -> EvaluationTask:
    """The task for a sample of all shoppers with a history, whatever they did in the window."""
    log = TrainingData.from_tables(interactions, products, task.window.start, product_map=task.products)
    users = np.unique(log.user)[:MAX_SHOPPERS]  # numbered by digests, so the first ones are a random sample
    histories = log.histories_of(users)
    taken = histories.distinct_products(task.window.relevant_types or ())
    nothing = Ragged(np.zeros(len(users) + 1, dtype=np.int64), np.empty(0, dtype=np.int32))
    exclude = nothing if task.window.allow_repeats else taken
    return replace(task, histories=histories, exclude=exclude, truth=nothing)


def _drawn(shop: SyntheticShop, task: EvaluationTask, days: int, seed: int) -> Answers:
    world = shop.world
    product = task.products.indices([product_id(int(number)) for number in world.products.number]).astype(np.int64)
    row_of = {name: row for row, name in enumerate(task.user_ids)}
    shopper = np.array([row_of.get(user_id(number), -1) for number in range(len(world.shoppers))], dtype=np.int64)
    width, first = len(task.products), task.window.start.astimezone(UTC).date()
    clicked, bought, money = [], [], []
    for draw in range(DRAWS):
        for offset in range(days):
            state = world.on(first + timedelta(days=offset))
            rng = np.random.default_rng([shop.config.seed, _STREAM, seed, draw, state.ordinal])
            day = simulate_day(world, state, rng)
            row, column = shopper[day.user], product[day.product]
            known = (row >= 0) & (column >= 0)
            key = (draw * len(task) + row) * width + column
            buys = known & (day.kind == InteractionType.PURCHASE)
            clicked.append(key[known])
            bought.append(key[buys])
            money.append(world.prices(day.product[buys], state.ordinal) * day.quantity[buys])
    keys, place = np.unique(np.concatenate(bought), return_inverse=True)
    return Answers(
        clicked=np.unique(np.concatenate(clicked)),
        bought=keys,
        earned=np.bincount(place, weights=np.concatenate(money), minlength=len(keys)).astype(np.float64),
    )


def _figures(
    name: str, listed: NDArray[np.int32], answers: Answers, width: int, resamples: int, seed: int
) -> PolicyFigures:
    rows = len(listed)
    shown = listed >= 0
    totals: dict[Measure, FloatArray] = {measure: np.zeros(rows) for measure in MEASURES}
    for draw in range(DRAWS):
        key = (draw * rows + np.arange(rows)[:, None]) * width + np.maximum(listed, 0)
        totals["click_through"] += (np.isin(key, answers.clicked) & shown).sum(axis=1)
        at, bought = find_sorted(answers.bought, key)
        buys = bought & shown
        totals["conversion"] += buys.sum(axis=1)
        money = answers.earned[at] if len(answers.earned) else np.zeros(key.shape)
        totals["revenue"] += np.where(buys, money, 0.0).sum(axis=1)
    places = DRAWS * shown.sum(axis=1).astype(np.float64)
    found = {
        measure: ratio_interval(total, places, resamples=resamples, seed=seed) for measure, total in totals.items()
    }
    return PolicyFigures(name, "simulated", rows, found["click_through"], found["conversion"], found["revenue"])
