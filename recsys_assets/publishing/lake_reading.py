"""What publishing reads of the lake, and how it understands it.

Put reading that two assets of this stage share here. Keep what each makes of it in its own module.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.lake import Lake
from recsys_assets.schema import PRODUCTS

DAYS_AT_ONCE: Final = 31
"""Days of a large log held in memory together."""


def shop_catalogue(lake: Lake) -> pa.Table:
    """The canonical products table; a product that is listed without a word on its availability is available.

    So a null in ``available``, after joining this to products of the log, means: not listed any more.
    """
    products = PRODUCTS.conform(lake.read("products"))
    place = products.column_names.index("available")
    return products.set_column(place, "available", pc.fill_null(products["available"], True))


def months(lake: Lake, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    """The validated interactions, oldest first, a few weeks at a time."""
    days = lake.days("interactions")
    for first in range(0, len(days), DAYS_AT_ONCE):
        part = days[first : first + DAYS_AT_ONCE]
        yield lake.read("interactions", columns, part[0], part[-1] + timedelta(days=1))
