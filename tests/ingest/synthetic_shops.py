"""Synthetic shops that the tests share, and how to read what happened in them."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig

START = date(2024, 4, 1)

SMALL: dict[str, Any] = {
    "start": START,
    "n_users": 120,
    "n_products": 60,
    "n_categories": 5,
    "n_brands": 8,
    "sessions_per_user_per_day": 1.0,
}
"""Few shoppers who come often: every mechanism is at work and a day costs milliseconds."""


def small_shop(**changes: Any) -> SyntheticShop:
    """A shop of the `SMALL` size with some settings changed."""
    return SyntheticShop(SyntheticShopConfig(**{**SMALL, **changes}))


def day_of(offset: int) -> date:
    """The day ``offset`` days after the start."""
    return START + timedelta(days=offset)


def noon(offset: int) -> datetime:
    """The middle of that day, UTC."""
    return datetime.combine(day_of(offset), datetime.min.time(), UTC) + timedelta(hours=12)


def events_of(shop: SyntheticShop, first: int, last: int) -> pa.Table:
    """Events of the days ``first <= offset < last``."""
    return pa.concat_tables([shop.day_events(day_of(offset)) for offset in range(first, last)])


def digest(table: pa.Table) -> str:
    """SHA-256 of the table as an Arrow stream: equal only when every byte is."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def gini(counts: NDArray[Any]) -> float:
    """Gini coefficient of non-negative counts: 0 all equal, near 1 all on one."""
    ordered = np.sort(counts.astype(float))
    rank = np.arange(1, len(ordered) + 1)
    return float(((2 * rank - len(ordered) - 1) * ordered).sum() / (len(ordered) * ordered.sum()))
