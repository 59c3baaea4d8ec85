"""A shop whose right answers are known, and the models that must find them."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.histories import Histories, Ragged
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import make_trainer
from recsys_assets.schema import INTERACTIONS, PRODUCTS

SHOPPERS, PRODUCTS_SOLD, COLOURS = 36, 30, ("amber", "black", "coral")
COLD_PRODUCT = "cold-coral"
AS_OF = datetime(2024, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """A model to hold to the contract.

    Attributes:
        name: in the zoo.
        parameters: small enough for a small shop.
        personal: whether lists follow the shopper's history (else everyone gets popular products).
        reaches_cold: whether a product nobody has touched can rank among the shopper's own.
        by_id: whether a shopper is known by id (a trained embedding) rather than by history.
        explains: whether `contributions` account for scores.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    personal: bool = True
    reaches_cold: bool = False
    by_id: bool = False
    explains: bool = True
    label: str = ""

    def __str__(self) -> str:
        return self.label or self.name


CASES = [
    Case("popularity", personal=False, explains=False),
    Case("own_history"),
    Case("item_knn", {"neighbours": 20}),
    Case("item_knn", {"scheme": "tfidf", "half_life_days": None, "step_decay": 0.9}, label="item_knn-tfidf"),
    Case("item_knn", {"scheme": "cosine", "binary": False, "trend_power": 0.0}, label="item_knn-cosine"),
    Case("ease", {"l2": 5.0}),
    Case("ease", {"l2": 5.0, "top_neighbours": 12}, label="ease-pruned"),
    Case("temporal_linear", {"l2": 1.0}),
    Case("temporal_linear", {"l2": 1.0, "top_neighbours": 12, "clock": "days"}, label="temporal_linear-pruned"),
    Case(
        "temporal_linear",
        {"l2": 1.0, "ease_weight": 0.3, "ease_l2": 5.0, "content_weight": 0.02, "name_weight": 0.0},
        reaches_cold=True,
        label="temporal_linear-hybrid",
    ),
    Case("matrix_factorisation", {"factors": 8, "regularisation": 1.0, "alpha": 10.0}),
    Case("session_knn", {"gap_hours": 1e4, "step_decay": 1.0, "match_decay": 1.0, "reach": 1e4}),
    Case("content", {"neighbours": 20}, reaches_cold=True),
    Case(
        "ncf",
        {"gmf_size": 8, "mlp_size": 8, "mlp_layers": [16, 8], "batch_size": 64, "patience": 0, "learning_rate": 0.01},
        by_id=True,
        explains=False,
    ),
    Case(
        "two_tower",
        {"size": 16, "heads": 2, "batch_size": 32, "patience": 0, "epochs": 12, "learning_rate": 0.01},
        reaches_cold=True,
        explains=False,
    ),
    Case(
        "hybrid",
        {
            "neighbours": 20,
            "leaf_rows": 5,
            "leaves": 4,
            "window_days": 7.0,
            "threads": 1,
            "category_share": 1.0,  # on the checkerboard a list of one category is the right answer
        },
        reaches_cold=True,
    ),
]


@dataclass(frozen=True)
class Board:
    """The shop. Shopper ``u`` likes colour ``u % 3`` and bought its products, except the held-out ones.

    Attributes:
        data: the interactions; its map holds one product nobody touched, `COLD_PRODUCT`.
        histories: of every shopper, row ``u`` for user index ``u``.
        seen: products each shopper touched.
        held_out: products of the shopper's colour that the shopper has not touched, without the cold one.
        colour: int ``[n_products]``.
    """

    data: TrainingData
    histories: Histories
    seen: Ragged
    held_out: list[set[int]]
    colour: np.ndarray


@lru_cache
def board(flipped: bool = False) -> Board:
    """The checkerboard; ``flipped`` gives another shop over the same ids, in which nobody wants coral."""
    rows: list[tuple[str, str, str, datetime]] = []
    for shopper in range(SHOPPERS):
        for product in range(PRODUCTS_SOLD):
            if _colour(product) != shopper % 3 or (flipped and _colour(product) == 2):
                continue
            if (shopper // 3 + product // 3) % 5 == 0:
                continue
            moment = AS_OF - timedelta(days=1 + (7 * shopper + 3 * product) % 40, minutes=product)
            rows.append((_user(shopper), _product(product), "purchase", moment))
            if (shopper + product) % 2:
                rows.append((_user(shopper), _product(product), "view", moment - timedelta(hours=2)))
    data = TrainingData.from_tables(_interactions(rows), _catalogue(), as_of=AS_OF)
    names = data.products.external(np.arange(len(data.products)))
    colour = np.array([2 if name == COLD_PRODUCT else _colour(int(name.split("-")[1])) for name in names])
    histories = data.histories()
    seen = histories.distinct_products()
    cold = int(data.products.indices([COLD_PRODUCT])[0])
    held_out = []
    for row, user_id in enumerate(histories.user_ids):
        own = set(np.flatnonzero(colour == int(user_id.split("-")[1]) % 3).tolist())
        held_out.append(own - set(seen.row(row).tolist()) - {cold})
    return Board(data, histories, seen, held_out, colour)


@lru_cache
def fitted(case_index: int, flipped: bool = False) -> Recommender:
    """The model of a case, fitted once per test process."""
    case = CASES[case_index]
    return make_trainer(case.name, case.parameters).fit(board(flipped).data)


def strangers(histories: Histories) -> Histories:
    """The same shoppers without a single event and under ids no model has met."""
    empty = np.empty(0)
    return replace(
        histories,
        user_ids=tuple(f"stranger-{row}" for row in range(len(histories))),
        indptr=np.zeros(len(histories) + 1, dtype=np.int64),
        products=empty.astype(np.int32),
        types=empty.astype(np.int8),
        timestamps=empty.astype(np.int64),
    )


def permuted(histories: Histories, order: np.ndarray) -> Histories:
    """The shoppers in another order."""
    events = [np.arange(histories.indptr[row], histories.indptr[row + 1]) for row in order]
    flat = np.concatenate(events)
    return replace(
        histories,
        user_ids=tuple(histories.user_ids[row] for row in order),
        indptr=np.concatenate([[0], np.cumsum([len(part) for part in events])]).astype(np.int64),
        products=histories.products[flat],
        types=histories.types[flat],
        timestamps=histories.timestamps[flat],
    )


def _colour(product: int) -> int:
    return product % 3


def _user(shopper: int) -> str:
    return f"shopper-{shopper:02d}"


def _product(product: int) -> str:
    return f"product-{product:02d}"


def _interactions(rows: list[tuple[str, str, str, datetime]]) -> pa.Table:
    users, products, kinds, moments = zip(*rows, strict=True)
    return INTERACTIONS.conform(
        pa.table(
            {
                "interaction_id": [str(row) for row in range(len(rows))],
                "user_id": users,
                "product_id": products,
                "interaction_type": kinds,
                "timestamp": pa.array(moments, type=pa.timestamp("us", tz="UTC")),
            }
        )
    )


def _catalogue() -> pa.Table:
    ids = [_product(product) for product in range(PRODUCTS_SOLD)] + [COLD_PRODUCT]
    colours = [COLOURS[_colour(product)] for product in range(PRODUCTS_SOLD)] + ["coral"]
    return PRODUCTS.conform(
        pa.table(
            {
                "product_id": ids,
                "name": [f"{colour} lamp no {row % 4}" for row, colour in enumerate(colours)],
                "category": colours,
                "price": [5.0 + row % 3 for row in range(len(ids))],
            }
        )
    )
