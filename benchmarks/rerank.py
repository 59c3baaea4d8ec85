"""What each re-ranking rule costs and gains, on held-out data: ``python -m benchmarks.rerank [--model NAME]``.

A synthetic shop, cut two weeks before its end; a model of the zoo learns what lies before, the engine lists for
shoppers who bought something new after it. Every rule is asked through the engine, as serving asks it.

Put measurements of rules here, and the function other shops can call (`measure`). Keep the rules themselves in
``lambda_api.recommender.rules``.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.catalogue import Catalogue
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.rules import Rules
from lambda_api.serving.engine import Engine
from lambda_api.serving.question import Filters, Question
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.measurement.beyond_accuracy import beyond_accuracy
from recsys_assets.measurement.metrics import ranking_metrics
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import make_trainer
from recsys_assets.schema import INTERACTIONS

K: Final = 10
DAYS: Final = 60
HELD_OUT_DAYS: Final = 14
MOST_SHOPPERS: Final = 600
NO_RULES: Final = Rules(new_products=0)


@dataclass(frozen=True)
class Setting:
    """One way of re-ranking."""

    diversity: float = 0.0
    explore: float = 0.0
    rules: Rules = NO_RULES


SETTINGS: Final[dict[str, Setting]] = {
    "as ranked": Setting(),
    "diversity 0.1": Setting(diversity=0.1),
    "diversity 0.3": Setting(diversity=0.3),
    "diversity 0.5": Setting(diversity=0.5),
    "diversity 1.0": Setting(diversity=1.0),
    "at most 3 of a category": Setting(rules=Rules(max_per_category=3, new_products=0)),
    "at most 2 of a brand": Setting(rules=Rules(max_per_brand=2, new_products=0)),
    "freshness 0.2": Setting(rules=Rules(freshness=0.2, new_products=0)),
    "explore 0.1": Setting(explore=0.1),
    "explore 0.3": Setting(explore=0.3),
}


def measure(
    recommender: Recommender, catalogue: Catalogue, task: EvaluationTask, settings: Mapping[str, Setting]
) -> dict[str, dict[str, float]]:
    """NDCG, diversity, coverage, novelty and tail share of each setting's lists over a task's shoppers, by name."""
    results = {}
    for name, setting in settings.items():
        engine = Engine(recommender, catalogue, setting.rules)
        lists = np.stack([_list(engine, task, row, setting) for row in range(len(task))])
        beyond = beyond_accuracy(lists, task.facts)
        ndcg = ranking_metrics(lists, task.truth, K)["ndcg"]
        results[name] = {
            "NDCG@10": float(ndcg.mean()),
            "+-": float(1.96 * ndcg.std() / np.sqrt(len(ndcg))),
            "diversity": float(np.nanmean(beyond.per_user["diversity"])),
            "coverage": float(beyond.coverage),
            "novelty (bits)": float(np.nanmean(beyond.per_user["novelty"])),
            "tail share": float(np.nanmean(beyond.per_user["tail_share"])),
        }
    return results


def _list(engine: Engine, task: EvaluationTask, row: int, setting: Setting) -> IndexArray:
    history, products = task.histories.rows(row, row + 1), task.products
    events = tuple(
        Event(product_id, InteractionType(kind), stamp)
        for product_id, kind, stamp in zip(
            products.external(history.products), history.types.tolist(), history.timestamps.tolist(), strict=True
        )
    )
    question = Question(
        user_id=task.user_ids[row],
        events=events,
        now=history.now,
        k=K,
        exclude_purchased=False,
        exclude_product_ids=tuple(products.external(task.exclude.row(row))),
        filters=Filters(available_only=False),
        diversity=setting.diversity,
        explore=setting.explore,
        seed=task.user_ids[row],
    )
    listed = products.indices([item.product_id for item in engine.answer(question).items])
    return np.concatenate([listed, np.full(K - len(listed), -1, dtype=np.int32)])


def _shop() -> tuple[EvaluationTask, TrainingData, Catalogue]:
    config = SyntheticShopConfig(days=DAYS)
    shop = SyntheticShop(config)
    days = [shop.day_events(config.start + timedelta(days=day)) for day in range(DAYS)]
    events = INTERACTIONS.conform(pa.concat_tables(days))
    products = shop.products()
    end = datetime.combine(config.start + timedelta(days=DAYS), time(), UTC)
    cut = end - timedelta(days=HELD_OUT_DAYS)
    task = build_task(events, products, EvaluationWindow(cut, end))
    data = TrainingData.from_tables(events, products, cut)
    first = np.full(len(data.products), -1, dtype=np.int64)
    first[data.product[::-1]] = data.timestamp[::-1]
    rows = {row["product_id"]: row for row in products.to_pylist()}
    ids = data.products.external(np.arange(len(data.products)))
    known = [rows.get(product_id, {}) for product_id in ids]
    catalogue = Catalogue.from_columns(
        ids,
        names=[row.get("name") for row in known],
        categories=[row.get("category") for row in known],
        brands=[row.get("brand") for row in known],
        prices=[row.get("price") for row in known],
        available=[True] * len(ids),
        first_seen=[None if seen < 0 else int(seen) for seen in first],
    )
    return _fewer(task), data, catalogue


def _fewer(task: EvaluationTask) -> EvaluationTask:
    """The first shoppers of a task; their order says nothing (see `IdMap`)."""
    stop = min(MOST_SHOPPERS, len(task))
    return EvaluationTask(
        window=task.window,
        products=task.products,
        histories=task.histories.rows(0, stop),
        exclude=task.exclude.rows(0, stop),
        truth=task.truth.rows(0, stop),
        facts=task.facts,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.rerank", description=__doc__)
    parser.add_argument("--model", default="item_knn", help="a model of the zoo")
    name = parser.parse_args().model
    task, data, catalogue = _shop()
    results = measure(make_trainer(name).fit(data), catalogue, task, SETTINGS)
    table = Table(title=f"{name}, {len(task)} shoppers of the synthetic shop")
    table.add_column("rule", no_wrap=True)
    for column in next(iter(results.values())):
        table.add_column(column, justify="right")
    for rule, values in results.items():
        table.add_row(rule, *(f"{value:.4f}" for value in values.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
