"""No model of the zoo knows what it cannot know: two checks on the synthetic shop that a leak would fail."""

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lambda_api.recommender.histories import Ragged
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.measurement.bootstrap import paired_comparison
from recsys_assets.measurement.metrics import ranking_metrics
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, ModelEvaluation, build_task, evaluate
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import TRAINERS, make_trainer
from recsys_assets.schema import INTERACTIONS

DAYS, TEST_DAYS, REMOVED_DAYS = 84, 14, 7
SHOP = SyntheticShopConfig(seed=5, days=DAYS, n_users=600, n_products=160, n_categories=8, n_brands=12)
TEST_START = datetime.combine(SHOP.start, time(), UTC) + timedelta(days=DAYS - TEST_DAYS)

SMALL: dict[str, dict[str, Any]] = {
    "ncf": {"gmf_size": 8, "mlp_size": 8, "mlp_layers": [16, 8], "patience": 0, "epochs": 3},
    "two_tower": {"size": 16, "heads": 2, "most_samples": 3_000, "patience": 0, "epochs": 4},
    "hybrid": {"trees": 40, "leaf_rows": 20, "threads": 1},
}
"""Parameters that keep the slow models quick; the others have their defaults."""


@lru_cache
def tables() -> tuple[pa.Table, pa.Table]:
    """The shop's log and catalogue."""
    shop = SyntheticShop(SHOP)
    days = [INTERACTIONS.conform(shop.day_events(SHOP.start + timedelta(days=day))) for day in range(DAYS)]
    return pa.concat_tables(days), shop.products()


@lru_cache
def task() -> EvaluationTask:
    """Everybody who bought something new in the last two weeks."""
    return build_task(*tables(), EvaluationWindow(TEST_START, TEST_START + timedelta(days=TEST_DAYS)))


@lru_cache
def judged(name: str, learned_until: datetime) -> ModelEvaluation:
    """The model, fitted on what lies before ``learned_until``, on the last two weeks; histories reach up to them."""
    data = TrainingData.from_tables(*tables(), as_of=learned_until)
    return evaluate(name, make_trainer(name, SMALL.get(name)).fit(data), task())


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TRAINERS))
def test_with_shuffled_labels_nothing_beats_popularity(name: str) -> None:
    order = np.random.default_rng(11).permutation(len(task()))
    assert len(order) > 150
    shuffled = Ragged.from_rows([task().truth.row(row) for row in order])
    floor = ranking_metrics(judged("popularity", TEST_START).recommended, shuffled, 10)["ndcg"]
    lost = ranking_metrics(judged(name, TEST_START).recommended, shuffled, 10)["ndcg"]
    assert floor.mean() > 0
    assert paired_comparison(lost, floor).low <= 0, f"{lost.mean():.4f} against {floor.mean():.4f} of popularity"


@pytest.mark.parametrize("name", list(TRAINERS))
def test_the_last_week_of_learning_is_no_loss_to_anybody(name: str) -> None:
    whole = judged(name, TEST_START).metrics["ndcg"]
    without = judged(name, TEST_START - timedelta(days=REMOVED_DAYS)).metrics["ndcg"]
    gained = paired_comparison(without, whole)
    assert gained.low <= 0, f"{without.mean():.4f} without the last week, {whole.mean():.4f} with it"


def test_learning_from_the_test_window_is_noticed() -> None:
    """A check that a leak passes checks nothing: the same comparison tells a model that has seen the answers."""
    ahead = judged("item_knn", TEST_START + timedelta(days=TEST_DAYS)).metrics["ndcg"]
    assert paired_comparison(ahead, judged("item_knn", TEST_START).metrics["ndcg"]).low > 0
