"""Damaged events, as a faulty event pipeline would deliver them. What shoppers really did stays in ``behaviour``."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.synthetic.streams import BoolArray
from recsys_assets.schema import with_column

UNDEFINED = "undefined"
"""What a broken client sends in place of an id or a type."""


def _user_missing(events: pa.Table, hit: pa.Array) -> pa.Table:
    return _put(events, "user_id", hit, pa.scalar(None, pa.string()))


def _undefined_product(events: pa.Table, hit: pa.Array) -> pa.Table:
    return _put(events, "product_id", hit, pa.scalar(UNDEFINED))


def _undefined_type(events: pa.Table, hit: pa.Array) -> pa.Table:
    return _put(events, "interaction_type", hit, pa.scalar(UNDEFINED))


def _negative_price(events: pa.Table, hit: pa.Array) -> pa.Table:
    return _put(events, "price", hit, pc.negate(events["price"]))


def _sent_twice(events: pa.Table, hit: pa.Array) -> pa.Table:
    times = 1 + np.asarray(hit).astype(np.int64)
    return events.take(np.repeat(np.arange(events.num_rows), times))


DAMAGES: tuple[Callable[[pa.Table, pa.Array], pa.Table], ...] = (
    _user_missing,
    _undefined_product,
    _undefined_type,
    _negative_price,
    _sent_twice,
)
"""Each damages the marked rows. The last one repeats rows, so it must stay last."""


def damage_events(events: pa.Table, strength: float, rng: np.random.Generator) -> pa.Table:
    """Damage a share ``strength`` of the rows, each in one way, all ways equally often; other rows stay as they are."""
    damaged: BoolArray = rng.random(events.num_rows) < strength
    way = rng.integers(0, len(DAMAGES), events.num_rows)
    for number, damage in enumerate(DAMAGES):
        events = damage(events, pa.array(damaged & (way == number)))
    return events


def _put(events: pa.Table, column: str, hit: pa.Array, value: pa.Scalar | pa.ChunkedArray) -> pa.Table:
    return with_column(events, column, pc.if_else(hit, value, events[column]))
