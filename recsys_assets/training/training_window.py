"""Training input: validated interactions before a moment, and the catalogue as it was known at that moment."""

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

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
    paid = before.filter(pc.is_valid(before["price"]))
    medians = paid.group_by("product_id").aggregate([("price", "approximate_median")])
    position = pc.index_in(products["product_id"].combine_chunks(), medians["product_id"].combine_chunks())
    price = pc.coalesce(medians["price_approximate_median"].combine_chunks().take(position), products["price"])
    return products.set_column(products.column_names.index("price"), "price", price)


def catalogue_before(lake: Lake, moment: datetime, before: pa.Table) -> pa.Table:
    """`known_catalogue` at ``moment`` (aware, UTC), from the lake; ``before`` as `interactions_before` returns it."""
    days = lake.days("interactions")
    later_ids = pa.chunked_array([], pa.string())
    if days and days[-1] >= moment.date():
        later = lake.read("interactions", ("product_id", "timestamp"), start=moment.date())
        is_later = pc.greater_equal(later["timestamp"], pa.scalar(moment, later["timestamp"].type))
        later_ids = later.filter(is_later)["product_id"]
    return known_catalogue(lake.read("products"), before, later_ids)
