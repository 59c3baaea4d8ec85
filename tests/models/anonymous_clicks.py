"""A click log of shoppers who are seen once."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from recsys_assets.schema import INTERACTIONS, PRODUCTS

START = datetime(2024, 5, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=8)
GAP, DAY = 1_800, 86_400


def anonymous_clicks(seed: int = 0, sessions: int = 2_400, kinds: tuple[str, ...] = ("view",)) -> pa.Table:
    """Visits of shoppers seen once: a walk over a ring of 60 products, mostly one or two steps on, sometimes back."""
    rng = np.random.default_rng(seed)
    rows = []
    for session in range(sessions):
        moment = START + timedelta(seconds=float(rng.uniform(0, 9 * DAY)))
        product = int(rng.integers(60))
        for _ in range(int(rng.integers(2, 7))):
            kind = kinds[int(rng.integers(len(kinds)))]
            rows.append((f"v{session}", f"p{product}", kind, moment))
            product = (product + int(rng.choice([1, 2, -1, 0], p=[0.6, 0.25, 0.1, 0.05]))) % 60
            moment += timedelta(seconds=float(rng.choice([20, 200, 2_400], p=[0.5, 0.45, 0.05])))
    columns = list(zip(*rows, strict=True))
    table = {
        "interaction_id": [str(row) for row in range(len(rows))],
        "user_id": columns[0],
        "product_id": columns[1],
        "interaction_type": columns[2],
        "timestamp": pa.array(columns[3], type=pa.timestamp("us", tz="UTC")),
    }
    return INTERACTIONS.conform(pa.table(table))


PRODUCTS_OF_RING = PRODUCTS.conform(pa.table({"product_id": [f"p{number}" for number in range(60)]}))
