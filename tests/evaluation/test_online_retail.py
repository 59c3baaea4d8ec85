"""The whole evaluator on a real shop: a deterministic baseline whose result an independent computation gives."""

import math
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lambda_api.recommender.ids import IdMap, id_digest
from lambda_api.recommender.popularity import PopularityRecommender
from recsys_assets.measurement.protocol import EvaluationWindow, build_task, evaluate
from tests.evaluation.helpers import online_retail, retail_tables

START, END = datetime(2011, 11, 20, tzinfo=UTC), datetime(2011, 12, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def purchases(shared_data: Path) -> pd.DataFrame:
    return online_retail(shared_data)


def all_time_popularity(purchases: pd.DataFrame) -> "pd.Series[int]":
    """Baskets that held each product before the test window."""
    past = purchases[purchases["time"] < START]
    return past.drop_duplicates(["invoice", "product"])["product"].value_counts()


def by_hand(purchases: pd.DataFrame, repeats: bool) -> dict[str, tuple[float, int]]:
    """NDCG@10 and number of relevant products per user, with sets and loops only."""
    counts = all_time_popularity(purchases)
    order = sorted(counts.index, key=lambda product: (-counts[product], id_digest(product)))
    past, test = (
        purchases[purchases["time"] < START],
        purchases[(purchases["time"] >= START) & (purchases["time"] < END)],
    )
    owned = past.groupby("user")["product"].agg(set)
    results = {}
    for user, wanted in test.groupby("user")["product"].agg(set).items():
        if user not in owned.index:
            continue
        relevant = wanted if repeats else wanted - owned[user]
        if not relevant:
            continue
        listed = list(islice((product for product in order if repeats or product not in owned[user]), 10))
        gain = sum(1 / math.log2(rank + 2) for rank, product in enumerate(listed) if product in relevant)
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(10, len(relevant))))
        results[str(user)] = (gain / ideal, len(relevant))
    return results


@pytest.mark.parametrize(
    ("repeats", "users", "relevant", "ndcg"), [(False, 962, "17.9", "0.025"), (True, 1064, "30.3", "0.079")]
)
def test_most_popular_all_time(purchases: pd.DataFrame, repeats: bool, users: int, relevant: str, ndcg: str) -> None:
    task = build_task(*retail_tables(purchases), EvaluationWindow(START, END, allow_repeats=repeats))
    counts = all_time_popularity(purchases)
    products = IdMap.from_ids(counts.index)
    popularity = counts[products.external(np.arange(len(products)))].to_numpy(np.float32)
    measured = evaluate("popularity", PopularityRecommender(products, popularity), task, k=10)
    expected = by_hand(purchases, repeats)
    assert set(task.user_ids) == set(expected)
    np.testing.assert_allclose(
        measured.metrics["ndcg"], [expected[user][0] for user in task.user_ids], rtol=1e-12, atol=0
    )
    np.testing.assert_array_equal(np.diff(task.truth.indptr), [expected[user][1] for user in task.user_ids])
    # The published figures of this shop under this protocol.
    assert len(task) == users
    assert f"{len(task.truth.values) / len(task):.1f}" == relevant
    assert f"{measured.metrics['ndcg'].mean():.3f}" == ndcg
