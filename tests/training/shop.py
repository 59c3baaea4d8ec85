"""A small shop with groups of shoppers and products, and fits on it."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_assets.lake import Lake
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import make_trainer
from recsys_assets.schema import INTERACTIONS, PRODUCTS
from recsys_assets.training.fitting import Fit
from recsys_assets.training.training_window import catalogue_before, interactions_before

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
TEST_START = datetime(2024, 2, 20, tzinfo=UTC)
GROUPS, USERS, ITEMS = 4, 80, 60

TINY_NCF: dict[str, Any] = {
    "gmf_size": 4,
    "mlp_size": 4,
    "mlp_layers": [8, 4],
    "negatives": 2,
    "batch_size": 128,
    "learning_rate": 0.02,
    "epochs": 4,
}


@lru_cache
def tables(seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Canonical interactions of 60 days before `AS_OF` and the catalogue.

    Shopper ``u`` mostly wants products ``p`` with ``p % 4 == u % 4``; a few products are popular with everybody.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        own = [item for item in range(ITEMS) if item % GROUPS == user % GROUPS]
        wanted = [*rng.choice(own, 10, replace=False), *rng.choice(ITEMS // 10, 3, replace=False)]
        for item in rng.permutation(wanted):
            moment = AS_OF - timedelta(minutes=int(rng.integers(1, 60 * 24 * 60)))
            kind = "purchase" if rng.random() < 0.5 else "view"
            rows.append((f"event-{len(rows)}", f"user-{user}", f"item-{item}", kind, moment))
    names = ("interaction_id", "user_id", "product_id", "interaction_type", "timestamp")
    columns: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True))
    columns["timestamp"] = pa.array(columns["timestamp"], pa.timestamp("us", tz="UTC"))
    products = pa.table(
        {
            "product_id": [f"item-{item}" for item in range(ITEMS)],
            "name": [f"thing {item} of group {item % GROUPS}" for item in range(ITEMS)],
            "category": [f"group {item % GROUPS}" for item in range(ITEMS)],
        }
    )
    return INTERACTIONS.conform(pa.table(columns)), PRODUCTS.conform(products)


def fit_of(model: str = "popularity", **parameters: Any) -> Fit:
    """A fit on the small shop; NCF gets its tiny parameters."""
    return Fit(make_trainer(model, {**(TINY_NCF if model == "ncf" else {}), **parameters}), *tables(), AS_OF)


def training_data_before(lake: Lake, moment: datetime) -> TrainingData:
    """The training data of a lake at ``moment``."""
    before = interactions_before(lake, moment)
    return TrainingData.from_tables(before, catalogue_before(lake, moment, before), moment)
