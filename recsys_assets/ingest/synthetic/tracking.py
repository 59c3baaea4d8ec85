"""Damaged events, as a faulty event pipeline would deliver them. What shoppers really did stays in ``behaviour``."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.schema import with_column

UNDEFINED = "undefined"
"""What a broken client sends in place of an id or a type."""


def damage_events(events: pa.Table, strength: float, rng: np.random.Generator) -> pa.Table:
    """Damage a share ``strength`` of the rows, each in one way, all ways equally often; other rows stay as they are.

    A row loses its user, has an undefined product or type or a negative price, or is sent twice.
    """
    values = (
        ("user_id", pa.scalar(None, pa.string())),
        ("product_id", pa.scalar(UNDEFINED)),
        ("interaction_type", pa.scalar(UNDEFINED)),
        ("price", pc.negate(events["price"])),
    )
    damaged = rng.random(events.num_rows) < strength
    way = rng.integers(0, len(values) + 1, events.num_rows)
    for number, (column, value) in enumerate(values):
        hit = pa.array(damaged & (way == number))
        events = with_column(events, column, pc.if_else(hit, value, events[column]))
    times = 1 + (damaged & (way == len(values)))
    return events.take(np.repeat(np.arange(events.num_rows), times))
