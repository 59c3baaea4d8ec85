"""Features of products: popularity with decay, number of shoppers, conversion, rating and price level.

The catalogue's ``rating`` and ``num_reviews`` are not used: they count reviews that were written after the cut-off.
"""

from datetime import datetime

import ibis
import ibis.expr.types as ir

from lambda_api.interactions import InteractionType
from recsys_assets.features.columns import PRODUCT_FEATURES, select_columns
from recsys_assets.features.shared import (
    ACTIVITY_ZERO_WITHOUT_EVENTS,
    HALF_LIVES_DAYS,
    RATING_PRIOR_STRENGTH,
    activity,
    beta_prior,
    decayed,
    events_before,
    of_type,
    pairs,
    price_levels,
    smoothed,
)


def product_features(interactions: ir.Table, products: ir.Table, users: ir.Table, as_of: datetime) -> ir.Table:
    """One row per product of the catalogue or with an event before ``as_of``.

    Columns of `PRODUCT_FEATURES`; parameters as of `FeatureExpression`, ``users`` is not used.
    """
    del users
    events = events_before(interactions, products, as_of)
    met = pairs(events)
    reach = met.group_by("product_id").aggregate(distinct_users=met.count(), buyers=met.bought.sum())
    bought = of_type(events, InteractionType.PURCHASE)
    more = {f"decayed_purchases_{days}d": decayed(events, days, where=bought) for days in HALF_LIVES_DAYS}
    acted = activity(events, ["product_id"], rated=events.rating.count(), rating_sum=events.rating.sum(), **more)
    # Prices cover the catalogue and every product with events, so they are the table of all products.
    joined = price_levels(events, products)
    for part in (acted, reach):
        joined = joined.left_join(part, "product_id").drop("product_id_right")
    joined = joined.cross_join(beta_prior(reach, "buyers", "distinct_users"))
    joined = joined.cross_join(events.aggregate(all_ratings_mean=events.rating.mean()))
    counts = (*ACTIVITY_ZERO_WITHOUT_EVENTS, *more, "distinct_users", "buyers", "rated", "rating_sum")
    filled = joined.mutate(**{name: joined[name].fill_null(0) for name in counts})
    return select_columns(
        filled.mutate(
            conversion_rate=smoothed(filled.buyers, filled.distinct_users, filled.prior_mean, filled.prior_strength),
            smoothed_rating=smoothed(
                filled.rating_sum, filled.rated, filled.all_ratings_mean, ibis.literal(RATING_PRIOR_STRENGTH)
            ),
        ),
        PRODUCT_FEATURES,
    )
