"""Training data: equal logs are equal data, in whatever order their rows came."""

from datetime import timedelta

import numpy as np
import pyarrow as pa

from lambda_api.recommender.two_tower import NEWEST_EVENTS, newest
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.two_tower import TwoTower
from recsys_assets.schema import INTERACTIONS
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
