"""The temporal linear model beside the rows it is defined by, built one by one in dense arrays."""

import itertools
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import SparseWeights
from recsys_assets.models import cut_points, ridge
from recsys_assets.models.attributes import attribute_vectors
from recsys_assets.models.cut_points import moments, past_and_future
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.ease import Ease
from recsys_assets.models.parameters import by_type
from recsys_assets.models.temporal_linear import TemporalLinear
from recsys_assets.models.zoo import make_trainer
from recsys_assets.schema import INTERACTIONS, PRODUCTS

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
WEIGHTS = {"purchase": 1.0, "view": 0.25}
PLAIN: dict[str, Any] = {"trend_power": 0.0, "type_weights": WEIGHTS}

Row = tuple[str, str, str, float]
"""User, product, type, days before `AS_OF`."""


def shop(rows: list[Row], products: int = 6, **columns: list[Any]) -> TrainingData:
    table = pa.table(
        {
            "interaction_id": pa.array([str(row) for row in range(len(rows))], pa.string()),
            "user_id": pa.array([row[0] for row in rows], pa.string()),
            "product_id": pa.array([row[1] for row in rows], pa.string()),
            "interaction_type": pa.array([row[2] for row in rows], pa.string()),
            "timestamp": pa.array([AS_OF - timedelta(days=row[3]) for row in rows], pa.timestamp("us", tz="UTC")),
        }
    )
    catalogue = pa.table({"product_id": [f"p{product}" for product in range(products)], **columns})
    return TrainingData.from_tables(INTERACTIONS.conform(table), PRODUCTS.conform(catalogue), as_of=AS_OF)


def random_shop(seed: int, users: int = 12, products: int = 6, **columns: list[Any]) -> TrainingData:
    """Baskets, repeats, views, shoppers with a single moment, and a product (the last) nobody touches."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for user in range(users):
        days = rng.choice(np.arange(1, 60) / 2, size=rng.integers(1, 8), replace=False)
        for day in days:
            for product in rng.choice(products - 1, size=rng.integers(1, 4), replace=False):
                rows.append((f"u{user}", f"p{product}", rng.choice(["purchase", "view"], p=[0.7, 0.3]), float(day)))
    return shop(rows, products, **columns)


def brute_force(
    data: TrainingData,
    clock: str,
    delta_past: float,
    delta_future: float,
    newest: int | None = None,
    half_life_days: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """``S`` and ``T``, a dense row per cut times the root of its weight, event by event from the definition."""
    weight = {kind: value for kind, value in by_type(WEIGHTS).items() if value > 0}
    past_rows, future_rows = [], []
    for user in range(len(data.users)):
        events = [
            (int(data.timestamp[at]), int(data.product[at]), weight[data.kind[at]])
            for at in np.flatnonzero(data.user == user)
            if data.kind[at] in weight
        ]
        times = sorted({time for time, _, _ in events})[-(newest or 10**9) :]
        clock_of = {time: float(step) if clock == "steps" else time / 86_400 for step, time in enumerate(times)}
        for now, following in itertools.pairwise(times):
            past, future = np.zeros(len(data.products)), np.zeros(len(data.products))
            for time, product, value in events:
                if time not in clock_of:
                    continue
                if time <= now:
                    past[product] += value * math.exp(-(clock_of[now] - clock_of[time]) / delta_past)
                else:
                    future[product] += value * math.exp(-(clock_of[time] - clock_of[following]) / delta_future)
            age = (data.as_of - now) / 86_400
            root = 1.0 if half_life_days is None else math.sqrt(0.5 ** (age / half_life_days))
            past_rows.append(root * past)
            future_rows.append(root * future)
    return np.array(past_rows), np.array(future_rows)


@pytest.mark.parametrize("clock", ["steps", "days"])
@pytest.mark.parametrize("newest", [None, 3])
@pytest.mark.parametrize("terms", [1, 10**9], ids=["a shopper at a time", "all at once"])
def test_weights_are_the_regression_of_the_rows(
    clock: Any, newest: int | None, terms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_points, "TERMS_PER_CHUNK", terms)
    data = random_shop(seed=3)
    past, future = brute_force(data, clock, 1.5, 4.0, newest)
    history = moments(data, by_type(WEIGHTS), clock, newest)
    assert history.cuts == len(past) > 15
    gramian, cross = past_and_future(history, 1.5, 4.0)
    np.testing.assert_allclose(gramian, past.T @ past, rtol=0, atol=1e-10)
    np.testing.assert_allclose(cross.toarray(), past.T @ future, rtol=0, atol=1e-10)
    expected = np.linalg.solve(past.T @ past + 2.0 * np.eye(6), past.T @ future)
    solved = ridge.regression(gramian, cross, 2.0, "temporal_linear", np.float64)
    np.testing.assert_allclose(solved, expected, rtol=0, atol=1e-8)
    trainer = TemporalLinear(
        clock=clock, delta_past=1.5, delta_future=4.0, l2=2.0, newest_moments=newest or 200, **PLAIN
    )
    np.testing.assert_allclose(dense(trainer.fit(data)), expected, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    clock=st.sampled_from(["steps", "days"]),
    delta_past=st.floats(0.05, 50),
    delta_future=st.floats(0.05, 50),
    half_life_days=st.sampled_from([None, 3.0, 100.0]),
    newest=st.sampled_from([None, 2]),
)
def test_sums_over_cuts_equal_their_rows(
    seed: int,
    clock: Any,
    delta_past: float,
    delta_future: float,
    half_life_days: float | None,
    newest: int | None,
) -> None:
    data = random_shop(seed, users=4)
    past, future = brute_force(data, clock, delta_past, delta_future, newest, half_life_days)
    history = moments(data, by_type(WEIGHTS), clock, newest, half_life_days)
    gramian, cross = past_and_future(history, delta_past, delta_future)
    if len(past) == 0:
        assert not gramian.any() and cross.nnz == 0
        return
    np.testing.assert_allclose(gramian, past.T @ past, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cross.toarray(), past.T @ future, rtol=1e-9, atol=1e-9)


def test_two_shoppers_by_hand() -> None:
    data = shop([("u", "p0", "purchase", 3), ("u", "p1", "purchase", 2), ("u", "p2", "purchase", 1)], 3)
    half = math.log(2.0)
    past, future = np.array([[1, 0, 0], [0.5, 1, 0]]), np.array([[0, 1, 0.5], [0, 0, 1]])
    gramian, cross = past_and_future(moments(data, by_type(WEIGHTS), "steps"), 1 / half, 1 / half)
    order = data.products.indices(["p0", "p1", "p2"])
    assert gramian[np.ix_(order, order)] == pytest.approx(past.T @ past)
    assert cross.toarray()[np.ix_(order, order)] == pytest.approx(past.T @ future)


@pytest.mark.parametrize("clock", ["steps", "days"])
def test_shoppers_are_scored_by_the_last_row_of_the_same_form(clock: Any) -> None:
    data = random_shop(seed=5)
    model = TemporalLinear(clock=clock, delta_serving=2.5, l2=2.0, **PLAIN).fit(data)
    weights = dense(model).astype(np.float64)
    scores = model.score_all(data.histories())
    for user in range(len(data.users)):
        own = data.user == user
        counted = own & np.isin(data.kind, [int(kind) for kind in by_type(WEIGHTS)])
        times = np.unique(data.timestamp[counted])
        profile = np.zeros(len(data.products))
        for at in np.flatnonzero(counted):
            distance = (
                len(times) - 1 - np.searchsorted(times, data.timestamp[at])
                if clock == "steps"
                else (times[-1] - data.timestamp[at]) / 86_400
            )
            profile[data.product[at]] += by_type(WEIGHTS)[data.kind[at]] * math.exp(-distance / 2.5)
        assert scores[user] == pytest.approx(profile @ weights, abs=1e-5)


def test_lines_of_one_basket_have_no_order() -> None:
    rows = [(f"u{user}", f"p{product}", "purchase", 5.0) for user in range(4) for product in (0, 1)]
    with pytest.raises(ValueError, match=r"temporal_linear has no past and future .* none of 4 shoppers"):
        TemporalLinear(**PLAIN).fit(shop(rows))
    later = [(f"u{user}", "p2", "purchase", 1.0) for user in range(4)]
    data = shop(rows + later)
    weights = dense(TemporalLinear(l2=1.0, **PLAIN).fit(data))
    first, second, third = data.products.indices(["p0", "p1", "p2"])
    assert weights[first, second] == weights[second, first] == 0
    assert weights[first, third] == pytest.approx(4 / 9)
    assert weights[second, third] == pytest.approx(4 / 9)


def test_terms_add_up() -> None:
    categories = ["a|b", "b", "a > c", "c", None, "a|b|c"]
    brands = ["x", None, "x", "y", None, "y"]
    data = random_shop(seed=8, category=categories, brand=brands)
    settings_ = {"l2": 3.0, "delta_past": 1.5, **PLAIN}
    alone = dense(TemporalLinear(**settings_).fit(data))
    ease = dense(Ease(l2=7.0, half_life_days=None, **PLAIN).fit(data))
    sets = {
        f"p{row}": {part.strip() for part in (category or "").replace(">", "|").split("|") if part}
        | ({f"brand {brand}"} if brand else set())
        for row, (category, brand) in enumerate(zip(categories, brands, strict=True))
    }
    names = data.products.external(np.arange(6))
    held_by = Counter(attribute for held in sets.values() for attribute in held)
    rarity = {attribute: 1 + math.log(7 / (1 + count)) for attribute, count in held_by.items()}
    length = {name: math.sqrt(sum(rarity[attribute] ** 2 for attribute in held)) for name, held in sets.items()}
    cosine = np.zeros((6, 6))
    for row, column in permutations(range(6), 2):
        shared = sets[names[row]] & sets[names[column]]
        if shared:
            dot = sum(rarity[attribute] ** 2 for attribute in shared)
            cosine[row, column] = dot / (length[names[row]] * length[names[column]])
    combined = TemporalLinear(**settings_, ease_weight=0.3, ease_l2=7.0, content_weight=0.02, name_weight=0.0)
    np.testing.assert_allclose(dense(combined.fit(data)), alone + 0.3 * ease + 0.02 * cosine, rtol=0, atol=1e-6)


def test_names_are_described_too() -> None:
    data = shop([], 4, name=["red lamp", "red lamp", "red sofa", None], category=["light", None, "light", None])
    order = data.products.indices(["p0", "p1", "p2", "p3"])
    vectors = attribute_vectors(data.catalogue)[order]
    assert np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel() == pytest.approx([1, 1, 1, 0])
    likeness = (vectors @ vectors.T).toarray()
    assert likeness[0, 1] == pytest.approx(math.sqrt(0.5)), "one of two blocks is shared, all of it"
    assert likeness[0, 2] > 0.5 > likeness[1, 2] > 0


def test_pruning_keeps_the_largest_positive_weights() -> None:
    data = random_shop(seed=9)
    whole = dense(TemporalLinear(l2=2.0, **PLAIN).fit(data))
    pruned = dense(TemporalLinear(l2=2.0, top_neighbours=2, **PLAIN).fit(data))
    for full, kept in zip(whole, pruned, strict=True):
        best = np.argsort(-full, kind="stable")[:2]
        expected = np.zeros_like(full)
        expected[best] = np.maximum(full[best], 0)
        assert (kept == expected).all()


@pytest.mark.parametrize("density", [0.01, 0.5])
@pytest.mark.parametrize("block", [3, 512])
def test_regression_in_blocks(density: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "ROWS_PER_BLOCK", block)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 20))
    cross = sparse.random(20, 20, density=density, random_state=1, format="csr")
    gramian = rows.T @ rows
    inverted = ridge.inverse(gramian.copy(), 0.5, "a model")
    assert (inverted == inverted.T).all()
    np.testing.assert_allclose(inverted, np.linalg.inv(gramian + 0.5 * np.eye(20)), rtol=0, atol=1e-10)
    expected = np.linalg.solve(gramian + 0.5 * np.eye(20), cross.toarray())
    np.testing.assert_allclose(
        ridge.regression(gramian.copy(), cross, 0.5, "a model", np.float64), expected, rtol=0, atol=1e-10
    )
    with pytest.raises(ValueError, match=r"a model: .* not positive definite .* raise l2"):
        ridge.inverse(-np.eye(4), 0.5, "a model")


def test_says_how_much_memory_it_needs() -> None:
    rows = [(f"u{index % 7}", f"p{index}", "view", float(index + 1)) for index in range(1000)]
    data = shop(rows, 2000)
    with pytest.raises(
        ValueError, match=r"temporal_linear would need 0\.0 GB for 1,000 products .*\(of 2,000\).*top_n"
    ):
        TemporalLinear(max_memory_gb=0.03).fit(data)
    assert len(TemporalLinear(max_memory_gb=0.03, top_neighbours=5).fit(data).products) == 2000
    # Of a large catalogue only the most touched products are solved for.
    few = TemporalLinear(max_memory_gb=0.03, max_products=300).fit(data).weights
    assert isinstance(few, SparseWeights) and len(few) == 2000
    solved = np.unique(few.indices)
    assert 100 < len(solved) <= 300


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clock": "weeks"}, "clock must be 'steps' or 'days', not 'weeks'"),
        ({"delta_past": 0}, "delta_past must be greater than 0, not 0"),
        ({"delta_future": float("inf")}, "delta_future"),
        ({"delta_serving": None}, "delta_serving must be a valid number, not None"),
        ({"l2": -1}, "l2"),
        ({"ease_weight": -0.1}, "ease_weight"),
        ({"content_weight": 1.0, "name_weight": 0.0, "attribute_weight": 0.0}, "content_weight needs name_weight or"),
        ({"top_neighbours": 0}, "top_neighbours"),
        ({"newest_moments": 1.5}, "newest_moments"),
    ],
)
def test_values_out_of_range_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer("temporal_linear", parameters)


def dense(model: ItemToItemRecommender) -> np.ndarray:
    return model.weights.rows(np.arange(len(model.products), dtype=np.int32))
