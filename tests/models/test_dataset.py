"""Training data: equal logs are equal data, in whatever order their rows came."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import InteractionType
from lambda_api.recommender.two_tower import NEWEST_EVENTS, newest
from recsys_assets.models import parameters
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.two_tower import TwoTower
from recsys_assets.schema import INTERACTIONS, PRODUCTS
from tests.models import hybrid_shop

AS_OF = hybrid_shop.AS_OF


def with_ties() -> pa.Table:
    """The small shop's log, in which one shopper also carts and views one product in one second, rows in that order,
    exactly where the towers stop reading."""
    interactions = hybrid_shop.shop()[0]
    tied = AS_OF - timedelta(days=5)
    later = [tied + timedelta(minutes=minute) for minute in range(1, NEWEST_EVENTS)]
    kinds = ["purchase", "add_to_cart", "view", *["view"] * len(later)]
    rows = pa.table(
        {
            "interaction_id": [f"tied{row}" for row in range(len(kinds))],
            "user_id": ["u_tied"] * len(kinds),
            "product_id": ["p1", "p2", "p2", *[f"p{number % 40}" for number in range(len(later))]],
            "interaction_type": kinds,
            "timestamp": pa.array([tied - timedelta(days=9), tied, tied, *later], type=pa.timestamp("us", tz="UTC")),
        }
    )
    return pa.concat_tables([interactions, INTERACTIONS.conform(rows)])


def log(rows: list[tuple[str, str, str, int]]) -> TrainingData:
    """Rows of (user, product, type, days before `AS_OF`)."""
    users, products, kinds, days = zip(*rows, strict=True)
    moments = [AS_OF - timedelta(days=day) for day in days]
    table = {
        "interaction_id": [str(row) for row in range(len(rows))],
        "user_id": users,
        "product_id": products,
        "interaction_type": kinds,
        "timestamp": pa.array(moments, pa.timestamp("us", tz="UTC")),
    }
    catalogue = pa.table({"product_id": [f"p{number}" for number in range(5)]})
    return TrainingData.from_tables(INTERACTIONS.conform(pa.table(table)), PRODUCTS.conform(catalogue), AS_OF)


rows = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w"]),
        st.sampled_from([f"p{number}" for number in range(5)]),
        st.sampled_from(["view", "purchase", "rating"]),
        st.integers(1, 400),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)
@given(rows, st.sampled_from([None, 7.0]), st.booleans())
def test_the_matrix_sums_decayed_weights_or_keeps_the_newest_decay(
    events: list[tuple[str, str, str, int]], half_life: float | None, binary: bool
) -> None:
    data = log(events)
    weights = {InteractionType.VIEW: 1.0, InteractionType.PURCHASE: 3.0}
    expected = np.zeros((len(data.users), 5))
    for user, product, kind, days in events:
        if kind == "rating":
            continue
        cell = int(data.users.indices([user])[0]), int(data.products.indices([product])[0])
        decay = 1.0 if half_life is None else 0.5 ** (days / half_life)
        if binary:
            expected[cell] = max(expected[cell], decay)
        else:
            expected[cell] += decay * (1.0 if kind == "view" else 3.0)
    found = data.matrix(weights, binary=binary, half_life_days=half_life).toarray()
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-30)


@settings(deadline=None)
@given(rows, st.integers(1, 6))
def test_the_newest_events_of_each_user_are_kept(events: list[tuple[str, str, str, int]], most: int) -> None:
    data = log(events)
    kept = data.newest_of_each_user(most)
    for user in range(len(data.users)):
        own = data.timestamp[data.user == user]
        assert kept.timestamp[kept.user == user].tolist() == own[-most:].tolist()


def test_a_robot_counts_with_its_newest_events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "EVENTS_PER_SHOPPER", 20)
    robot = [("robot", f"p{day % 5}", "view", 1 + day % 300) for day in range(2_000)]
    data = log([("u", "p1", "purchase", 3), ("u", "p2", "view", 4), *robot])
    model, capped = (ItemKnn().fit(some) for some in (data, data.newest_of_each_user(20)))
    assert np.array_equal(model.popularity, capped.popularity)
    assert model.popularity.sum() < 40


def test_the_order_of_rows_in_a_table_changes_nothing() -> None:
    interactions, products = with_ties(), hybrid_shop.shop()[1]
    turned = interactions.take(np.arange(len(interactions))[::-1])

    one, other = (TrainingData.from_tables(table, products, AS_OF) for table in (interactions, turned))
    for name in ("user", "product", "kind", "timestamp"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_training_reads_the_events_that_serving_reads() -> None:
    data = TrainingData.from_tables(with_ties(), hybrid_shop.shop()[1], AS_OF)
    user = int(data.users.indices(["u_tied"])[0])
    histories = data.histories_of(np.array([user]))
    assert len(histories.products) > NEWEST_EVENTS
    # Training takes the last events of a row as they stand.
    last = np.arange(len(histories.products))[-NEWEST_EVENTS:]
    assert np.array_equal(newest(histories, 0), last)
    # Fitting compares its own vectors with those of the graph that serves, and refuses what differs.
    TwoTower(size=8, heads=2, described_by=6, batch_size=64, epochs=1, patience=0).fit(data)
