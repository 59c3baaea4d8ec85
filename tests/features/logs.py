"""Small random logs for feature tests: canonical tables with gaps of every kind, and the engine that reads them."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from lambda_api.interactions import INTERACTION_LABELS
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS

AS_OF = datetime(2024, 3, 10, tzinfo=UTC)
LOG_START = AS_OF - timedelta(days=60)

Rows = list[dict[str, Any]]


def random_rows(seed: int, events: int = 300, users: int = 12, products: int = 15) -> tuple[Rows, Rows, Rows]:
    """Interactions (a fifth of them at or after `AS_OF`), products and users as rows; every optional value is missing
    here and there, some products and users of events are in no table, and some in the tables have no events."""
    rng = random.Random(seed)

    def maybe(value: Any, chance: float = 0.7) -> Any:
        return value if rng.random() < chance else None

    interactions = []
    for number in range(events):
        offset = rng.uniform(-60, 0) if rng.random() < 0.8 else rng.uniform(0, 5)
        kind = rng.choices(INTERACTION_LABELS, [6, 2, 3, 1])[0]
        interactions.append(
            {
                "interaction_id": str(number),
                "user_id": f"u{min(rng.randrange(users), rng.randrange(users))}",
                "product_id": f"p{min(rng.randrange(products), rng.randrange(products))}",
                "interaction_type": kind,
                "timestamp": AS_OF + timedelta(microseconds=round(offset * 86_400e6)),
                "rating": rng.choice([1.0, 2.5, 4.0, 5.0]) if kind == "rating" else None,
                "price": maybe(round(rng.lognormvariate(2, 1), 2)),
                "quantity": maybe(float(rng.randint(1, 4))),
            }
        )
    # Exactly on the cut-off: the first event that must not count.
    interactions[0]["timestamp"] = AS_OF
    interactions[1]["timestamp"] = AS_OF - timedelta(microseconds=1)
    catalogue = [
        {
            "product_id": f"p{number}",
            "category": maybe(f"category {number % 3}", 0.8),
            "brand": maybe(f"brand {number % 4}", 0.8),
            "price": maybe(round(rng.lognormvariate(2, 1), 2), 0.6),
            "rating": 3.0,
            "num_reviews": 7,
        }
        for number in range(2, products + 3)
    ]
    shoppers = [
        {"user_id": f"u{number}", "join_date": maybe(date(2024, 3, 10) + timedelta(days=rng.randint(-80, 6)))}
        for number in range(1, users + 4)
    ]
    return interactions, catalogue, shoppers


def tables(interactions: Rows, products: Rows, users: Rows) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The rows as canonical Arrow tables."""
    contracts = (INTERACTIONS, PRODUCTS, USERS)
    return tuple(  # type: ignore[return-value]
        pa.Table.from_pylist(rows, schema=contract.schema)
        for rows, contract in zip((interactions, products, users), contracts, strict=True)
    )
