"""Training input: validated interactions before a moment, and the catalogue as it was known at that moment."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.recommender.csr import offsets, run_starts
from recsys_assets.data_gate import require_open
from recsys_assets.lake import Lake
from recsys_assets.schema import PRODUCTS

TRAINING_COLUMNS = ("user_id", "product_id", "interaction_type", "timestamp", "rating", "price")
"""The columns of an interaction that models and their evaluation use."""


def interactions_before(lake: Lake, moment: datetime) -> pa.Table:
    """Validated interactions strictly before ``moment`` (aware, UTC); later days are not even opened.

    Raises:
        GateClosed: a day, the catalogue or the users table is poisoned.
        LakeError: there are no interactions at all.
    """
    require_open(lake)
    end = (moment + timedelta(days=1) - timedelta(microseconds=1)).date()
    table = lake.read("interactions", TRAINING_COLUMNS, end=end)
    return table.filter(pc.less(table["timestamp"], pa.scalar(moment, table["timestamp"].type)))


def known_catalogue(products: pa.Table, before: pa.Table, later_product_ids: pa.ChunkedArray) -> pa.Table:
    """The catalogue without hindsight.

    A product whose first event comes later is left out: the log cannot show that the shop already listed it, and its
    presence alone would tell a model that it is going to sell. A price is the median of those paid before, where any
    was: a catalogue derived from the log would otherwise carry later prices back.

    Args:
        products: canonical products table.
        before: interactions before the moment (``product_id``, ``price``).
        later_product_ids: product ids of the interactions after it.

    Returns:
        A canonical products table; products that no event mentions stay, as candidates for content models.
    """
    products = PRODUCTS.conform(products)
    sold_before = pc.unique(before["product_id"])
    only_later = pc.and_(
        pc.is_in(products["product_id"], pc.unique(later_product_ids)),
        pc.invert(pc.is_in(products["product_id"], sold_before)),
    )
    products = products.filter(pc.invert(only_later))
    ids, medians = _median_prices(before)
    position = pc.index_in(products["product_id"].combine_chunks(), ids)
    price = pc.coalesce(medians.take(position), products["price"])
    return products.set_column(products.column_names.index("price"), "price", price)


def _median_prices(interactions: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Products that a price was paid for, and the median of their prices; two arrays ``[n]``."""
    # Arrow's own medians keep a sketch of 11 kB per product, two gigabytes for 200,000.
    paid = interactions.filter(pc.is_valid(interactions["price"]))
    counts = paid.group_by(["product_id", "price"]).aggregate([([], "count_all")])
    counts = counts.sort_by([("product_id", "ascending"), ("price", "ascending")]).combine_chunks()
    encoded = counts["product_id"].combine_chunks().dictionary_encode()
    product, count = encoded.indices.to_numpy(), counts["count_all"].to_numpy()
    total = np.bincount(product, weights=count, minlength=len(encoded.dictionary)).astype(np.int64)
    twice_up_to_here = 2 * (np.cumsum(count) - offsets(total)[product])
    # The two prices in the middle, which are one where their number is odd.
    middle = [
        np.flatnonzero(reached) for reached in (twice_up_to_here >= total[product], twice_up_to_here > total[product])
    ]
    low, high = (counts["price"].to_numpy()[rows[run_starts(product[rows])]] for rows in middle)
    return encoded.dictionary, pa.array((low + high) / 2)


def catalogue_before(lake: Lake, moment: datetime, before: pa.Table) -> pa.Table:
    """`known_catalogue` at ``moment`` (aware, UTC), from the lake; ``before`` as `interactions_before` returns it."""
    days = lake.days("interactions")
    later_ids = pa.chunked_array([], pa.string())
    if days and days[-1] >= moment.date():
        later = lake.read("interactions", ("product_id", "timestamp"), start=moment.date())
        is_later = pc.greater_equal(later["timestamp"], pa.scalar(moment, later["timestamp"].type))
        later_ids = later.filter(is_later)["product_id"]
    return known_catalogue(lake.read("products"), before, later_ids)
