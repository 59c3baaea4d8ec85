"""The cleaned Online Retail shop as canonical tables and training data, by pandas alone.

Independent of ``recsys_assets.ingest``, so that each checks the other.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from lambda_api.recommender.histories import Histories, Ragged
from recsys_assets.models.dataset import TrainingData
from recsys_assets.schema import INTERACTIONS, PRODUCTS

VALIDATION_START = datetime(2011, 11, 1, tzinfo=UTC)
TEST_START = datetime(2011, 11, 20, tzinfo=UTC)
LAST_MOMENT = datetime(2012, 1, 1, tzinfo=UTC)
NOT_PRODUCTS = {"POST", "M", "m", "D", "DOT", "BANK CHARGES", "PADS", "CRUK", "C2", "AMAZONFEE", "S", "B"}


@dataclass(frozen=True)
class ShopSplit:
    """Training data up to a moment and the truth after it.

    Attributes:
        data: everything before ``start``.
        histories: the ``U`` shoppers judged: with history and at least one relevant product.
        seen: what each of them bought before, row-aligned.
        relevant: bool sparse ``[U, n_products]``: bought in the window and new to the shopper (or, where repeats are
            allowed, all). Products unknown before ``start`` have no column but count in ``relevant_count``.
        relevant_count: int ``[U]``.
        users: row of each judged shopper in ``data.users``.
    """

    data: TrainingData
    histories: Histories
    seen: Ragged
    relevant: sparse.csr_matrix
    relevant_count: np.ndarray
    users: np.ndarray


@lru_cache(maxsize=2)
def purchases(folder: Path) -> pd.DataFrame:
    """Cleaned purchases: user_id, product_id, name, quantity, price, timestamp (UTC), in file order."""
    files = sorted(folder.glob("*.csv"))
    frame = pd.concat((pd.read_csv(file, dtype=str) for file in files), ignore_index=True)
    frame["Quantity"] = frame["Quantity"].astype(float)
    frame["UnitPrice"] = frame["UnitPrice"].astype(float)
    frame = frame[
        frame["CustomerID"].notna()
        & (frame["Quantity"] > 0)
        & (frame["UnitPrice"] > 0)
        & ~frame["InvoiceNo"].str.startswith("C")
        & ~frame["StockCode"].isin(NOT_PRODUCTS)
        & ~frame["StockCode"].str.lower().str.startswith("gift")
    ].reset_index(drop=True)
    return pd.DataFrame(
        {
            "user_id": frame["CustomerID"].str.replace(r"\.0$", "", regex=True),
            "product_id": frame["StockCode"],
            "name": frame["Description"].str.strip(),
            "quantity": frame["Quantity"],
            "price": frame["UnitPrice"],
            "timestamp": pd.to_datetime(frame["InvoiceDate"]).dt.tz_localize("UTC"),
        }
    )


def tables(frame: pd.DataFrame, before: datetime) -> tuple[pa.Table, pa.Table]:
    """Canonical interactions and the catalogue as known ``before`` (latest name, median price)."""
    frame = frame[frame["timestamp"] < before]
    interactions = pa.table(
        {
            "interaction_id": [str(row) for row in frame.index],
            "user_id": frame["user_id"].tolist(),
            "product_id": frame["product_id"].tolist(),
            "interaction_type": ["purchase"] * len(frame),
            "timestamp": pa.array(frame["timestamp"].dt.tz_convert(None).to_numpy().astype("datetime64[us]"))
            .cast(pa.timestamp("us"))
            .cast(pa.timestamp("us", tz="UTC")),
            "price": frame["price"].tolist(),
            "quantity": frame["quantity"].tolist(),
        }
    )
    grouped = frame.groupby("product_id").agg(name=("name", "last"), price=("price", "median")).reset_index()
    products = pa.table({column: grouped[column].tolist() for column in ("product_id", "name", "price")})
    return INTERACTIONS.conform(interactions), PRODUCTS.conform(products)


@lru_cache(maxsize=4)
def split(
    folder: Path, start: datetime = TEST_START, stop: datetime = LAST_MOMENT, *, repeats: bool = False
) -> ShopSplit:
    """The global split in time at ``start``; truth up to ``stop``."""
    frame = purchases(folder)
    data = TrainingData.from_tables(*tables(frame, start), as_of=start)
    later = frame[(frame["timestamp"] >= start) & (frame["timestamp"] < stop)][["user_id", "product_id"]]
    later = later.drop_duplicates()
    later["user"] = data.users.indices(later["user_id"].tolist())
    later["product"] = data.products.indices(later["product_id"].tolist())
    later = later[later["user"] >= 0]
    if not repeats:
        bought = data.matrix(binary=True).tocsr()
        known = later["product"] >= 0
        again = np.zeros(len(later), dtype=bool)
        again[known.to_numpy()] = np.asarray(bought[later["user"][known], later["product"][known]]).ravel() > 0
        later = later[~again]
    users = np.sort(later["user"].unique())
    row = np.searchsorted(users, later["user"])
    inside = (later["product"] >= 0).to_numpy()
    relevant = sparse.csr_matrix(
        (np.ones(inside.sum(), dtype=bool), (row[inside], later["product"].to_numpy()[inside])),
        shape=(len(users), len(data.products)),
    )
    histories = some_rows(data.histories(), users)
    return ShopSplit(
        data=data,
        histories=histories,
        seen=histories.distinct_products(),
        relevant=relevant,
        relevant_count=np.bincount(row, minlength=len(users)),
        users=users,
    )


def some_rows(histories: Histories, rows: np.ndarray) -> Histories:
    """The shoppers ``rows`` of a batch, in that order."""
    lengths = histories.lengths[rows]
    events = np.concatenate([np.arange(histories.indptr[row], histories.indptr[row + 1]) for row in rows])
    return Histories(
        user_ids=tuple(histories.user_ids[row] for row in rows),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        products=histories.products[events],
        types=histories.types[events],
        timestamps=histories.timestamps[events],
        now=histories.now,
    )


def ndcg(lists: np.ndarray, shop: ShopSplit, k: int = 10) -> np.ndarray:
    """NDCG@k per judged shopper: ideal over ``min(k, relevant)``; ``lists`` int ``[U, >= k]``, padded by -1."""
    lists = np.asarray(lists)[:, :k]
    dense = np.asarray(shop.relevant.todense())
    hits = np.take_along_axis(dense, np.maximum(lists, 0), axis=1) & (lists >= 0)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(shop.relevant_count, k) - 1]
    return (hits * discount[: lists.shape[1]]).sum(axis=1) / ideal
