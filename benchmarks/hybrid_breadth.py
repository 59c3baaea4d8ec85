"""What one click changes in the hybrid's lists: ``python -m benchmarks.hybrid_breadth``.

The synthetic shop of the demo, cut a week before its end. Lists of twelve of shoppers with 50 events or more, two hours
after their last one, before and after one view of a popular product that is not in the list; and lists of visitors with
one view. The cost of the limits of a category (``lambda_api.recommender.two_stage.breadth``) is measured on the clicks
of the last week: the same model with them and without.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measure import Row, print_rows
from lambda_api.interactions import InteractionType
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from recsys_assets.ingest.synthetic import SyntheticShop
from recsys_assets.lake import midnight
from recsys_assets.measurement.next_click import evaluate_next_click, next_click
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid import Hybrid
from recsys_assets.schema import INTERACTIONS, PRODUCTS

DAYS, JUDGED_DAYS = 90, 7
K, SHOPPERS, VISITORS, POPULAR = 12, 100, 100, 400
LONG_HISTORY = 50
POSITIONS = 3_000


def run() -> list[Row]:
    """Rows of the table."""
    shop = SyntheticShop()
    days = [shop.config.start + timedelta(days=offset) for offset in range(DAYS)]
    interactions = pa.concat_tables([INTERACTIONS.conform(shop.day_events(day)) for day in days])
    products = PRODUCTS.conform(shop.products())
    start = midnight(days[-JUDGED_DAYS])
    data = TrainingData.from_tables(interactions, products, start)
    model = Hybrid().fit(data)
    free = TwoStageRecommender(model.products, model.popularity, model.stage, model.session)
    rows = []
    for name, asked, bar in (("with limits", model, True), ("without", free, False)):
        changed, off = changed_places(asked, data)
        largest = visitors_largest(asked, data)
        task = next_click(interactions, products, start, most=POSITIONS)
        found = evaluate_next_click(asked, task, K)
        rows += [
            _row(f"{name}: places of {K} changed by a view", "3 to 6", f"{changed:.2f}", 3 <= changed <= 6, bar),
            _row(f"{name}: the same, view of a category not listed", "3 to 6", f"{off:.2f}", 3 <= off <= 6, bar),
            _row(f"{name}: largest category, visitor's first list", "<= 60 %", f"{largest:.0%}", largest <= 0.6, bar),
            _row(f"{name}: next click, HR@{K}", "", f"{found['hit_rate'].mean():.4f}", None, bar),
        ]
    return rows


def changed_places(model: TwoStageRecommender, data: TrainingData) -> tuple[float, float]:
    """Mean places changed by a view of any popular product off the list, and of one of a category not listed."""
    random, category = np.random.default_rng(0), model.generator.facts.category
    users = np.flatnonzero(np.bincount(data.user) >= LONG_HISTORY)
    users = np.sort(random.choice(users, min(SHOPPERS, len(users)), replace=False))
    histories = replace(data.histories_of(users), now=int(data.timestamp.max()) + 7_200)
    changed: list[list[int]] = [[], []]
    for row in range(len(histories)):
        one = histories.rows(row, row + 1)
        before = model.recommend(one, K).products[0]
        popular = model.popular_order[:POPULAR]
        off = popular[~np.isin(popular, before)]
        other = off[~np.isin(category[off], category[before])]
        for figures, choice in zip(changed, (off, other), strict=True):
            if len(choice):
                after = model.recommend(_with_view(one, int(random.choice(choice))), K).products[0]
                figures.append(K - len(np.intersect1d(before, after)))
    return float(np.mean(changed[0])), float(np.mean(changed[1]))


def visitors_largest(model: TwoStageRecommender, data: TrainingData) -> float:
    """Largest share of one category in the lists of visitors who viewed one popular product."""
    random, category = np.random.default_rng(1), model.generator.facts.category
    nobody = Histories(
        ("",),
        np.zeros(2, dtype=np.int64),
        np.empty(0, dtype=np.int32),
        np.empty(0, dtype=np.int8),
        np.empty(0, dtype=np.int64),
        data.as_of,
    )
    shares = []
    for product in random.choice(model.popular_order[:POPULAR], VISITORS, replace=False):
        listed: NDArray[np.int32] = model.recommend(_with_view(nobody, int(product)), K).products[0]
        shares.append(np.bincount(category[listed] + 1)[1:].max() / K)
    return float(max(shares))


def _with_view(history: Histories, product: int) -> Histories:
    """One shopper's history with a view five seconds before now."""
    return Histories(
        history.user_ids,
        history.indptr + np.array([0, 1]),
        np.append(history.products, np.int32(product)),
        np.append(history.types, np.int8(InteractionType.VIEW)),
        np.append(history.timestamps, history.now - 5),
        history.now,
    )


def _row(what: str, bar: str, measured: str, met: bool | None, judged: bool) -> Row:
    return {"what": what, "bar": bar if judged else "", "measured": measured, "met": met if judged else None}


def main() -> None:
    """Print the table."""
    print_rows("breadth of the hybrid's lists", run())


if __name__ == "__main__":
    main()
