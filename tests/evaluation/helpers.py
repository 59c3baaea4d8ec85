"""Small shops, stub recommenders and an independent reader of Online Retail for the tests of evaluation."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.recommender.contract import Recommendations, Recommender, ScoreArray
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS

DAY = 86_400
START = datetime(2024, 3, 1, tzinfo=UTC)
END = datetime(2024, 3, 8, tzinfo=UTC)

Event = tuple[str, str, str, float]
"""User, product, interaction type, days after `START` (negative: before)."""


def interactions(events: Sequence[Event], ratings: Mapping[int, float] | None = None) -> pa.Table:
    """A canonical table of ``events``; ``ratings`` by position."""
    moments = [datetime.fromtimestamp(START.timestamp() + event[3] * DAY, UTC) for event in events]
    table = pa.table(
        {
            "interaction_id": [f"e{place}" for place in range(len(events))],
            "user_id": [event[0] for event in events],
            "product_id": [event[1] for event in events],
            "interaction_type": [event[2] for event in events],
            "timestamp": moments,
            "rating": pa.array([(ratings or {}).get(place) for place in range(len(events))], pa.float64()),
        }
    )
    return INTERACTIONS.conform(table)


def catalogue(products: Sequence[str], **columns: Sequence[Any]) -> pa.Table:
    """A canonical products table with the given optional columns."""
    return PRODUCTS.conform(pa.table({"product_id": list(products), **{k: list(v) for k, v in columns.items()}}))


def people(users: Sequence[str], **columns: Sequence[Any]) -> pa.Table:
    """A canonical users table with the given optional columns."""
    return USERS.conform(pa.table({"user_id": list(users), **{k: list(v) for k, v in columns.items()}}))


def ragged(*rows: Sequence[int]) -> Ragged:
    return Ragged.from_rows([np.array(row, dtype=np.int32) for row in rows])


def lists(*rows: Sequence[int]) -> IndexArray:
    return np.array(rows, dtype=np.int32)


class ScriptedRecommender(Recommender):
    """Scores every product for every shopper by a table: score of (user id, product id), 0 where there is none.

    It remembers the histories it was shown, so that tests can see what a recommender gets to see.
    """

    kind = "scripted"

    def __init__(self, product_ids: Sequence[str], scores: Mapping[str, Mapping[str, float]]) -> None:
        products = IdMap.from_ids(product_ids)
        super().__init__(products, np.zeros(len(products), dtype=np.float32))
        self.scores = scores
        self.shown: dict[str, list[tuple[str, int, int]]] = {}
        self.now: int | None = None

    def knows(self, histories: Histories) -> NDArray[np.bool_]:
        return np.ones(len(histories), dtype=bool)

    def score_all(self, histories: Histories) -> ScoreArray:
        answer = np.zeros((len(histories), len(self.products)), dtype=np.float32)
        self.now = histories.now
        for row, user in enumerate(histories.user_ids):
            own = slice(histories.indptr[row], histories.indptr[row + 1])
            names = self.products.external(histories.products[own])
            seen = zip(names, histories.types[own].tolist(), histories.timestamps[own].tolist(), strict=True)
            self.shown[user] = list(seen)
            for product, score in self.scores.get(user, {}).items():
                answer[row, self.products.indices([product])[0]] = score
        return answer

    def similar_items(self, products: IndexArray, k: int) -> Recommendations:
        raise NotImplementedError

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def parameters(self) -> dict[str, Any]:
        return {}

    @classmethod
    def restore(cls, *_: Any, **__: Any) -> Self:
        raise NotImplementedError


def online_retail(root: Path) -> pd.DataFrame:
    """The shop's purchases after the usual cleaning, read with pandas alone.

    Independent on purpose of the project's own source: columns user, product, name, time (UTC), country, invoice.
    """
    text = {"InvoiceNo": str, "StockCode": str, "CustomerID": str}
    frames = [pd.read_csv(path, dtype=text) for path in sorted((root / "online_retail").glob("*.csv"))]
    raw = pd.concat(frames, ignore_index=True)
    kept = raw["CustomerID"].notna() & (raw["Quantity"] > 0) & (raw["UnitPrice"] > 0)
    kept &= ~raw["InvoiceNo"].str.startswith("C")
    # A product's code begins with five digits; POST, M, DOT, C2, BANK CHARGES, PADS and gift vouchers do not.
    kept &= raw["StockCode"].str.match(r"\d{5}")
    clean = raw[kept]
    return pd.DataFrame(
        {
            "user": clean["CustomerID"],
            "product": clean["StockCode"],
            "name": clean["Description"],
            "time": pd.to_datetime(clean["InvoiceDate"], utc=True),
            "country": clean["Country"],
            "invoice": clean["InvoiceNo"],
        }
    ).reset_index(drop=True)


def retail_tables(frame: pd.DataFrame) -> tuple[pa.Table, pa.Table]:
    """The frame of `online_retail` as canonical interactions and products."""
    log = pa.table(
        {
            "interaction_id": [f"r{place}" for place in range(len(frame))],
            "user_id": frame["user"].to_list(),
            "product_id": frame["product"].to_list(),
            "interaction_type": ["purchase"] * len(frame),
            "timestamp": pa.array(frame["time"].to_list(), pa.timestamp("us", tz="UTC")),
        }
    )
    names = frame.groupby("product")["name"].first()
    return INTERACTIONS.conform(log), catalogue(names.index.to_list(), name=names.to_list())
