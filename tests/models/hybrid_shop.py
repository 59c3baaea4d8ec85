"""A small shop with tastes, trends and two kinds of event, for tests of the two-stage recommender.

The checks are in the test modules.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from recsys_assets.models.dataset import TrainingData
from recsys_assets.schema import INTERACTIONS, PRODUCTS

AS_OF = datetime(2024, 5, 1, tzinfo=UTC)
DAYS, TASTES, PER_TASTE, SHOPPERS = 70, 8, 12, 240

SMALL = {
    "neighbours": 30,
    "limit": 60,
    "leaf_rows": 20,
    "leaves": 8,
    "trees": 60,
    "window_days": 10.0,
    "windows": 3,
    "threads": 1,
}
"""Hyper-parameters for a shop of this size."""


def shop(seed: int = 0, columns: tuple[str, ...] = ("name", "category", "brand", "price")) -> tuple[pa.Table, pa.Table]:
    """Canonical interactions (until ten days after `AS_OF`) and products with only these ``columns`` known."""
    rng = np.random.default_rng(seed)
    start = AS_OF - timedelta(days=DAYS)
    taste_of = rng.integers(0, TASTES, SHOPPERS)
    rows: list[tuple[str, str, str, datetime]] = []
    for shopper in range(SHOPPERS):
        for _ in range(int(rng.integers(4, 9))):
            moment = start + timedelta(minutes=float(rng.uniform(0, (DAYS + 10) * 1440)))
            for _ in range(int(rng.integers(1, 4))):
                taste = taste_of[shopper] if rng.random() < 0.85 else rng.integers(0, TASTES)
                product = f"p{taste * PER_TASTE + int(PER_TASTE * rng.random() ** 1.7)}"
                if rng.random() < 0.6:
                    rows.append((f"u{shopper}", product, "view", moment - timedelta(minutes=4)))
                rows.append((f"u{shopper}", product, "purchase", moment))
    interactions = pa.table(
        {
            "interaction_id": [str(row) for row in range(len(rows))],
            "user_id": [row[0] for row in rows],
            "product_id": [row[1] for row in rows],
            "interaction_type": [row[2] for row in rows],
            "timestamp": pa.array([row[3] for row in rows], type=pa.timestamp("us", tz="UTC")),
        }
    )
    numbers = range(TASTES * PER_TASTE)
    described = {
        "name": [f"taste{number // PER_TASTE} thing{number}" for number in numbers],
        "category": [f"c{number // PER_TASTE // 2}" for number in numbers],
        "brand": [f"b{number % 5}" for number in numbers],
        "price": [1.0 + number % 7 for number in numbers],
    }
    products = pa.table(
        {"product_id": [f"p{number}" for number in numbers], **{name: described[name] for name in columns}}
    )
    return INTERACTIONS.conform(interactions), PRODUCTS.conform(products)


def training_data(as_of: datetime = AS_OF, seed: int = 0, **kwargs: tuple[str, ...]) -> TrainingData:
    """The shop as a trainer sees it at ``as_of``."""
    return TrainingData.from_tables(*shop(seed, **kwargs), as_of=as_of)
