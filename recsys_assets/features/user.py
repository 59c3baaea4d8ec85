"""Features of shoppers: recency, frequency and spend; preferred categories, brands and prices; conversion."""

from datetime import datetime, timedelta

import ibis
import ibis.expr.types as ir

from lambda_api.interactions import InteractionType
from recsys_assets.features.columns import USER_FEATURES, select_columns
from recsys_assets.features.shared import (
    ACTIVITY_ZERO_WITHOUT_EVENTS,
    EPOCH,
    activity,
    affinity,
    before,
    beta_prior,
    events_before,
    flat,
    of_type,
    pairs,
    price_levels,
    shares,
    smoothed,
    utc,
)


def user_features(interactions: ir.Table, products: ir.Table, users: ir.Table, as_of: datetime) -> ir.Table:
    """One row per shopper with an event before ``as_of``, or known without an event and not joining later.

    Columns of `USER_FEATURES`; parameters as of `FeatureExpression`.
    """
    events = events_before(interactions, products, as_of)
    met = pairs(events)
    reach = met.group_by("user_id").aggregate(distinct_products=met.count(), bought_products=met.bought.sum())
    parts = (
        activity(events, ["user_id"], mean_rating=events.rating.mean()),
        _days(events),
        reach,
        user_price_levels(interactions, price_levels(events, products), as_of),
        _favourite(events, "category"),
        _favourite(events, "brand"),
    )
    joined = _everyone(events, users, as_of)
    for part in parts:
        joined = joined.left_join(part, "user_id").drop("user_id_right")
    joined = joined.cross_join(beta_prior(reach, "bought_products", "distinct_products"))
    zeroes = (*ACTIVITY_ZERO_WITHOUT_EVENTS, "active_days", "purchase_days", "distinct_products", "bought_products")
    counts = (*zeroes, "distinct_category_count", "distinct_brand_count")
    filled = joined.mutate(**{name: joined[name].fill_null(0) for name in counts})
    rate = smoothed(filled.bought_products, filled.distinct_products, filled.prior_mean, filled.prior_strength)
    return select_columns(filled.mutate(conversion_rate=rate), USER_FEATURES)


def user_price_levels(interactions: ir.Table, levels: ir.Table, as_of: datetime) -> ir.Table:
    """``user_id, price_level``: mean over the shopper's events before ``as_of`` of their products' `price_levels`."""
    # A second, narrow pass over the log: levels need the first pass to end, and holding its wide rows costs more.
    ids = before(interactions.select("user_id", "product_id", "timestamp"), as_of)
    known = ids.join(levels.select("product_id", "price_level"), "product_id")
    return known.group_by("user_id").aggregate(price_level=known.price_level.mean())


def _everyone(events: ir.Table, users: ir.Table, as_of: datetime) -> ir.Table:
    # Whole days and a plain number: a date cast to a moment would take the session's time zone.
    join_day = users.join_date.delta(ibis.literal(EPOCH.date()), unit="day")
    age = (utc(as_of) - EPOCH) / timedelta(days=1) - join_day
    known = users.select("user_id", account_age_days=age)
    known = known.filter(known.account_age_days.isnull() | (known.account_age_days > 0.0))
    active = events.select("user_id").distinct()
    either = flat(known.outer_join(active, "user_id"))
    return either.select("account_age_days", user_id=ibis.coalesce(either.user_id, either.user_id_right))


def _days(events: ir.Table) -> ir.Table:
    bought = of_type(events, InteractionType.PURCHASE).cast("int64").max()
    days = events.group_by(["user_id", "day"]).aggregate(bought=bought)
    return days.group_by("user_id").aggregate(active_days=days.count(), purchase_days=days.bought.sum())


def _favourite(events: ir.Table, fact: str) -> ir.Table:
    counts, shoppers, values = shares(events, fact)
    # Compares whole numbers and then names: a total order, so every engine picks the same value.
    leading = flat(counts.join(shoppers, "user_id"))
    leading = leading.filter(leading.events == leading.most_events)
    top = leading.group_by("user_id").aggregate(top=leading[fact].min())
    joined = shoppers.join(top, "user_id").join(values, ibis._.top == values[fact])
    return joined.select(
        "user_id",
        **{
            f"top_{fact}": joined.top,
            f"top_{fact}_affinity": affinity(joined.most_events, joined.shopper_events, joined.prior_share),
            f"distinct_{fact}_count": joined.distinct_values,
        },
    )
