"""Every kind of recommender learned from one small shop, its catalogue, and questions of its shoppers."""

from functools import lru_cache
from typing import Any

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.catalogue import Catalogue
from lambda_api.recommender.contract import Recommender
from lambda_api.serving.question import Question
from recsys_assets.models.zoo import make_trainer
from tests.models.hybrid_shop import SMALL, shop, training_data

MODELS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "item_knn": {"neighbours": 30},
    "ease": {"l2": 5.0},
    "temporal_linear": {"l2": 1.0},
    "content": {"neighbours": 30},
    "session_knn": {"gap_hours": 1e4},
    "matrix_factorisation": {"factors": 8, "regularisation": 1.0, "alpha": 10.0},
    "ncf": {"gmf_size": 8, "mlp_size": 8, "mlp_layers": [16, 8], "batch_size": 256, "patience": 0, "epochs": 2},
    "two_tower": {"size": 16, "heads": 2, "batch_size": 64, "patience": 0, "epochs": 2},
    "hybrid": SMALL,
}
"""Of every kind at least one, and hyper-parameters for a shop of this size."""

NOW = training_data().as_of
FIRST_SEEN = NOW - 200 * 86_400


@lru_cache
def learned(name: str) -> Recommender:
    """A model of the zoo, fitted once per test process."""
    return make_trainer(name, MODELS[name]).fit(training_data())


@lru_cache
def catalogue(new: bool = False) -> Catalogue:
    """The shop's catalogue; ``new`` adds two products younger than any model. Every ninth is not available."""
    rows = shop()[1].to_pylist()
    known = [
        (row["product_id"], row["name"], row["category"], row["brand"], row["price"], at % 9 != 0, FIRST_SEEN)
        for at, row in enumerate(rows)
    ]
    if new:
        known.append(("new-near", "taste3 thing999", "c1", "b9", 5.0, True, NOW - 86_400))
        known.append(("new-far", "unheard gadget", "c1", "b9", 5.0, True, NOW - 86_400))
    return Catalogue.from_columns(*(list(column) for column in zip(*known, strict=True)))


@lru_cache
def _rows() -> list[dict[str, Any]]:
    return shop()[0].to_pylist()


def shopper_events(user_id: str) -> tuple[Event, ...]:
    """What a shopper of the shop did before `NOW`, oldest first."""
    rows = [row for row in _rows() if row["user_id"] == user_id]
    events = [
        Event(row["product_id"], InteractionType.from_label(row["interaction_type"]), int(row["timestamp"].timestamp()))
        for row in rows
    ]
    return tuple(sorted((event for event in events if event.timestamp < NOW), key=lambda event: event.timestamp))


def question(user_id: str, k: int = 10, **given: Any) -> Question:
    """A question of one of the shop's shoppers, with the whole history unless ``events`` are given."""
    return Question(**{"user_id": user_id, "events": shopper_events(user_id), "now": NOW, "k": k, **given})
