"""Pairs, the holdout in time, and negatives."""

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.interactions import InteractionType
from recsys_assets.models.dataset import DEFAULT_TYPE_WEIGHTS, TrainingData
from recsys_assets.models.positives import NegativeSampler, Positives, hold_out_latest
from recsys_assets.schema import INTERACTIONS

Rows = list[tuple[int, int, InteractionType, int]]
"""User, product, kind, second."""

interactions = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 8), st.sampled_from(list(InteractionType)), st.integers(0, 1000)),
    min_size=1,
    max_size=60,
)


def training_data(rows: Rows, products: int = 9) -> TrainingData:
    table = pa.table(
        {
            "interaction_id": [str(row) for row in range(len(rows))],
            "user_id": [f"u{user}" for user, _, _, _ in rows],
            "product_id": [f"p{product}" for _, product, _, _ in rows],
            "interaction_type": [kind.label for _, _, kind, _ in rows],
            "timestamp": pa.array([second * 1_000_000 for *_, second in rows], pa.timestamp("us", tz="UTC")),
        }
    )
    catalogue = pa.table({"product_id": [f"p{product}" for product in range(products)]})
    return TrainingData.from_tables(INTERACTIONS.conform(table), catalogue, datetime(2000, 1, 1, tzinfo=UTC))


def test_a_pair_weighs_the_logarithm_of_its_events() -> None:
    data = training_data(
        [
            (0, 0, InteractionType.VIEW, 1),
            (0, 0, InteractionType.PURCHASE, 2),
            (0, 1, InteractionType.VIEW, 3),
            (1, 1, InteractionType.RATING, 4),
        ]
    )
    weights = {InteractionType.VIEW: 1.0, InteractionType.PURCHASE: 4.0}
    positives = Positives.from_data(data, weights)
    user, products = int(data.users.indices(["u0"])[0]), data.products.indices(["p0", "p1"])
    mean = (math.log(6) + math.log(2)) / 2
    expected = {int(products[0]): math.log(6) / mean, int(products[1]): math.log(2) / mean}
    assert positives.user.tolist() == [user, user]
    assert dict(zip(positives.product.tolist(), positives.weight.tolist(), strict=True)) == pytest.approx(expected)


@given(interactions, st.floats(0.05, 0.5))
def test_the_holdout_lies_after_everything_trained_on(rows: Rows, share: float) -> None:
    data = training_data(rows)
    holdout = hold_out_latest(data, DEFAULT_TYPE_WEIGHTS, share)
    first: dict[tuple[int, int], int] = {}
    for user, product, moment in zip(data.user.tolist(), data.product.tolist(), data.timestamp.tolist(), strict=True):
        first[user, product] = min(moment, first.get((user, product), moment))
    trained = set(zip(holdout.train.user.tolist(), holdout.train.product.tolist(), strict=True))
    held_out = set(zip(holdout.user.tolist(), holdout.product.tolist(), strict=True))
    known_users, known_products = {user for user, _ in trained}, {product for _, product in trained}
    assert trained == {pair for pair, moment in first.items() if moment < holdout.since}
    assert held_out == {
        pair
        for pair, moment in first.items()
        if moment >= holdout.since and pair[0] in known_users and pair[1] in known_products
    }
    assert (data.timestamp >= holdout.since).sum() >= 1


@given(interactions, st.sampled_from(("uniform", "popularity")), st.integers(1, 5), st.integers(0, 2**32))
def test_negatives_were_never_observed(rows: Rows, sampling: str, count: int, seed: int) -> None:
    data = training_data(rows)
    positives = Positives.from_data(data, DEFAULT_TYPE_WEIGHTS)
    sampler = NegativeSampler(positives, sampling)  # type: ignore[arg-type]
    users = np.arange(len(data.users), dtype=np.int32).repeat(3)
    drawn = sampler.sample(np.random.default_rng(seed), users, count)
    sold = set(positives.product.tolist())
    for user, row in zip(users.tolist(), drawn.tolist(), strict=True):
        observed = set(positives.product[positives.user == user].tolist())
        if observed == sold:
            assert set(row) == {-1}
        else:
            assert set(row) <= sold - observed


@pytest.mark.parametrize("sampling", ("uniform", "popularity"))
def test_negatives_follow_their_distribution(sampling: str) -> None:
    """User 0 saw product 0 only; of the others, product ``p`` sold to ``p ** 2`` users."""
    rows = [(0, 0, InteractionType.VIEW, 1)]
    for product in (1, 2, 3, 4):
        rows += [(10 * product + buyer, product, InteractionType.VIEW, 1) for buyer in range(product**2)]
    data = training_data(rows)
    positives = Positives.from_data(data, DEFAULT_TYPE_WEIGHTS)
    users = np.full(40_000, int(data.users.indices(["u0"])[0]), dtype=np.int32)
    drawn = NegativeSampler(positives, sampling).sample(np.random.default_rng(1), users, 1)  # type: ignore[arg-type]
    counts = np.bincount(drawn[:, 0], minlength=9)[data.products.indices([f"p{product}" for product in range(9)])]
    weights = np.array([0, 1, 4, 9, 16, 0, 0, 0, 0]) ** 0.75
    if sampling == "uniform":
        weights = (weights > 0).astype(float)
    expected = weights / weights.sum()
    error = np.sqrt(expected * (1 - expected) / len(users))
    assert (np.abs(counts / len(users) - expected) <= 5 * error).all()
