"""The catalogue as the lake knows it: products joined with the moment of their first event."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.recommender.catalogue import Catalogue
from recsys_assets.lake import Lake
from recsys_assets.schema import PRODUCTS, TIMESTAMP, with_column

DAYS_PER_BATCH: Final = 31
"""Days of the log that are held in memory together."""


def shop_catalogue(lake: Lake) -> pa.Table:
    """The canonical products table; a listed product without a value in ``available`` is available.

    After joining it to the products of the log, a null in ``available`` means that the product is no longer listed.
    """
    products = PRODUCTS.conform(lake.read("products"))
    return with_column(products, "available", pc.fill_null(products["available"], True))


def interaction_batches(lake: Lake, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    """The validated interactions, oldest first, `DAYS_PER_BATCH` days at a time."""
    days = lake.days("interactions")
    for first in range(0, len(days), DAYS_PER_BATCH):
        part = days[first : first + DAYS_PER_BATCH]
        yield lake.read("interactions", columns, part[0], part[-1] + timedelta(days=1))


def first_events(parts: Iterable[pa.Table]) -> pa.Table:
    """``product_id`` and ``first_seen`` (whole seconds since 1970 UTC) of every product in ``parts``."""
    found = pa.table({"product_id": pa.array([], pa.string()), "timestamp": pa.array([], TIMESTAMP)})
    for part in parts:
        both = pa.concat_tables([found, part.select(found.column_names).cast(found.schema)])
        earliest = both.group_by("product_id").aggregate([("timestamp", "min")])
        found = earliest.rename_columns({"timestamp_min": "timestamp"}).select(found.column_names)
    seconds = pc.floor_temporal(found["timestamp"], unit="second").cast(pa.timestamp("s", tz="UTC")).cast(pa.int64())
    return pa.table({"product_id": found["product_id"], "first_seen": seconds})


def catalogue_of(products: pa.Table, first_seen: pa.Table) -> Catalogue:
    """Join products as `shop_catalogue` gives them with `first_events`."""
    joined = products.select(("product_id", "name", "category", "brand", "price", "available")).join(
        first_seen, "product_id", join_type="full outer"
    )
    # Validation refuses a catalogue with a negative price.
    return Catalogue.from_columns(
        product_ids=joined["product_id"].to_pylist(),
        names=joined["name"].to_pylist(),
        categories=joined["category"].to_pylist(),
        brands=joined["brand"].to_pylist(),
        prices=joined["price"].to_pylist(),
        available=joined["available"].fill_null(False).to_pylist(),
        first_seen=joined["first_seen"].to_pylist(),
    )
