"""Features of shopper-product pairs that have events: their history, and how the product fits the shopper's taste.

The table has millions of rows, so it holds only what depends on both ids.
"""

from datetime import datetime

import ibis.expr.types as ir

from recsys_assets.features.columns import USER_PRODUCT_FEATURES, select_columns
from recsys_assets.features.shared import activity, affinity, events_before, price_levels, shares
from recsys_assets.features.user import user_price_levels


def user_product_features(interactions: ir.Table, products: ir.Table, users: ir.Table, as_of: datetime) -> ir.Table:
    """One row per shopper and product with an event before ``as_of``.

    Columns of `USER_PRODUCT_FEATURES`; parameters as of `FeatureExpression`, ``users`` is not used.
    """
    del users
    events = events_before(interactions, products, as_of)
    joined = activity(events, ["user_id", "product_id"], mean_rating=events.rating.mean())
    facts = products.select("product_id", "category", "brand")
    joined = joined.left_join(facts, "product_id").drop("product_id_right")
    for fact in ("category", "brand"):
        part = _affinities(events, fact)
        joined = joined.left_join(part, ["user_id", fact]).drop("user_id_right", f"{fact}_right")
    levels = price_levels(events, products)
    joined = joined.left_join(levels.select("product_id", "price_level"), "product_id").drop("product_id_right")
    usual = user_price_levels(interactions, levels, as_of).rename(usual_level="price_level")
    joined = joined.left_join(usual, "user_id").drop("user_id_right")
    return select_columns(joined.mutate(price_level_gap=joined.price_level - joined.usual_level), USER_PRODUCT_FEATURES)


def _affinities(events: ir.Table, fact: str) -> ir.Table:
    counts, shoppers, values = shares(events, fact)
    joined = counts.join(shoppers, "user_id").join(values, fact)
    share = affinity(joined.events, joined.shopper_events, joined.prior_share)
    return joined.select("user_id", fact, **{f"{fact}_affinity": share})
