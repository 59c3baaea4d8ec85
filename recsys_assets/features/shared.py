"""Ibis expressions that several feature tables use: events before the cut-off, ages, decay, priors and price levels.

The expressions run on DuckDB and Spark with equal results. So ages come from ``delta`` in microseconds
(``epoch_seconds`` keeps fractions in DuckDB and drops them in Spark), every divisor that can be zero goes through
`ratio` (Spark in ANSI mode raises an error, DuckDB returns infinity), and nothing ranks by a sum of floats (engines add
in different orders, so ties would differ).
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import ibis
import ibis.expr.types as ir

from lambda_api.interactions import InteractionType

FeatureExpression = Callable[[ir.Table, ir.Table, ir.Table, datetime], ir.Table]
"""``(interactions, products, users, as_of) -> features``.

The tables are canonical, with one row per product and one per user. Only interactions strictly earlier than ``as_of``
(aware) count; facts about products are taken as timeless. Raises ``ValueError`` for a naive ``as_of``.
"""

HALF_LIVES_DAYS = (1, 7, 30)
"""Half-lives of decayed counts in days: short, medium and long term."""

SHARE_PRIOR_STRENGTH = 5.0
"""Pseudo-events in a category or brand share: after five events a shopper's own share weighs more than the shop's."""

RATING_PRIOR_STRENGTH = 5.0
"""Pseudo-ratings in a product's mean rating."""

UNDEFINED_RATE_STRENGTH = 10.0
"""Pseudo-trials in a rate when the log does not show how much rates differ (see `beta_prior`)."""

RATE_STRENGTH_BOUNDS = (1.0, 1000.0)
"""Bounds of an estimated prior strength, so every rate is smoothed a little and none is replaced by the mean."""

MICROSECONDS_PER_DAY = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NO_CATEGORY = ""
"""Group of the products without a category in price comparisons. Never stored."""


def utc(as_of: datetime) -> datetime:
    """``as_of`` in UTC. Raises ``ValueError`` for a datetime without a time zone."""
    if as_of.tzinfo is None:
        raise ValueError(
            f"as_of {as_of.isoformat()} has no time zone; pass an aware datetime, for example with tzinfo=UTC"
        )
    return as_of.astimezone(UTC)


def ratio(numerator: ir.NumericValue, denominator: ir.NumericValue) -> ir.NumericValue:
    """``numerator / denominator``, null where the denominator is zero."""
    return numerator.cast("float64") / denominator.cast("float64").nullif(0.0)


def flat(joined: ir.Table) -> ir.Table:
    """A join as a plain table: Ibis refuses a later join on a column that was computed inside a join."""
    return joined.select(joined.columns)


def before(interactions: ir.Table, as_of: datetime) -> ir.Table:
    """The rows strictly earlier than ``as_of``. Every feature takes its events from here."""
    return interactions.filter(interactions.timestamp < ibis.literal(utc(as_of)))


def events_before(interactions: ir.Table, products: ir.Table, as_of: datetime) -> ir.Table:
    """Events strictly earlier than ``as_of`` with the facts of their product.

    Returns columns ``user_id, product_id, interaction_type, rating, age_days`` (days before ``as_of``, > 0), ``day``
    (UTC days since 1970), ``paid`` (unit price on the event, null unless positive), ``spend`` (unit price x quantity
    of a purchase; the catalogue's price where the event has none, one piece where the quantity is missing; null for
    other types and unknown prices), ``category`` and ``brand``. A product outside the catalogue has neither.
    """
    facts = products.select(
        "product_id", "category", "brand", catalogue_price=_positive(products.price.cast("float64"))
    )
    joined = before(interactions, as_of).left_join(facts, "product_id")
    paid = _positive(joined.price.cast("float64"))
    price = ibis.coalesce(paid, joined.catalogue_price)
    bought = joined.interaction_type == InteractionType.PURCHASE.label
    # Computed once per event, because it is the slowest expression here. The session's time zone does not matter.
    microseconds = joined.timestamp.delta(ibis.literal(EPOCH), unit="microsecond")
    now = (utc(as_of) - EPOCH) // timedelta(microseconds=1)
    return joined.select(
        "user_id",
        "product_id",
        "interaction_type",
        "category",
        "brand",
        rating=joined.rating.cast("float64"),
        age_days=(now - microseconds) / float(MICROSECONDS_PER_DAY),
        day=microseconds // MICROSECONDS_PER_DAY,
        paid=paid,
        spend=ibis.ifelse(bought, price * joined.quantity.cast("float64").fill_null(1.0), ibis.null("float64")),
    )


def of_type(events: ir.Table, kind: InteractionType) -> ir.BooleanValue:
    """Whether each event is of ``kind``."""
    return events.interaction_type == kind.label


def decayed(events: ir.Table, half_life_days: int, where: ir.BooleanValue | None = None) -> ir.NumericValue:
    """Sum over events of ``2 ** (-age_days / half_life_days)``: an event counts 1 now and half after each half-life."""
    weight = (events.age_days * (-math.log(2.0) / half_life_days)).exp()
    return weight.sum(where=where)


def activity(events: ir.Table, keys: Sequence[str], **more: ir.Value) -> ir.Table:
    """Recency, frequency and monetary value per group of ``keys``: the columns every feature table starts with.

    ``more`` are further reductions over the same groups, so that a table passes over the events once.
    """
    bought = of_type(events, InteractionType.PURCHASE)
    columns: dict[str, ir.Value] = {
        "interactions": events.count(),
        "views": events.count(where=of_type(events, InteractionType.VIEW)),
        "add_to_carts": events.count(where=of_type(events, InteractionType.ADD_TO_CART)),
        "purchases": events.count(where=bought),
        "ratings": events.count(where=of_type(events, InteractionType.RATING)),
        "days_since_first_interaction": events.age_days.max(),
        "days_since_last_interaction": events.age_days.min(),
        "days_since_last_purchase": events.age_days.min(where=bought),
        "spend": events.spend.sum(),
    }
    for days in HALF_LIVES_DAYS:
        columns[f"decayed_interactions_{days}d"] = decayed(events, days)
    return events.group_by(list(keys)).aggregate(**columns, **more)


ACTIVITY_ZERO_WITHOUT_EVENTS = (
    "interactions",
    "views",
    "add_to_carts",
    "purchases",
    "ratings",
    *(f"decayed_interactions_{days}d" for days in HALF_LIVES_DAYS),
)
"""Columns of `activity` that are 0, not null, for a shopper or product without events."""


def pairs(events: ir.Table) -> ir.Table:
    """One row per shopper and product with events: ``user_id, product_id, bought`` (1.0 or 0.0)."""
    bought = of_type(events, InteractionType.PURCHASE).cast("float64").max()
    return events.group_by(["user_id", "product_id"]).aggregate(bought=bought)


def beta_prior(counts: ir.Table, successes: str, trials: str) -> ir.Table:
    r"""One row ``prior_mean, prior_strength``: the Beta prior of success rates over groups, estimated from the groups.

    Empirical Bayes by moments for beta-binomial counts (Kleinman 1973, JASA 68:46-54, with weights :math:`n_i`): with
    :math:`x_i` successes in :math:`n_i` trials, :math:`N = \sum n_i`, :math:`\mu = \sum x_i / N` and
    :math:`S = \sum n_i (x_i/n_i - \mu)^2`, the intra-group correlation is

    .. math:: \rho = \frac{S / (\mu(1-\mu)) - (K-1)}{N - \sum n_i^2 / N - (K-1)}

    and the strength :math:`\alpha + \beta = 1/\rho - 1`, kept within `RATE_STRENGTH_BOUNDS`. Where it is not defined
    (one group, one trial per group, or all rates 0 or 1) the strength is `UNDEFINED_RATE_STRENGTH`.
    The mean is null when there are no trials at all.

    Args:
        counts: one row per group with numeric columns ``successes`` and ``trials`` (> 0).
        successes: name of the column of :math:`x_i`.
        trials: name of the column of :math:`n_i`.
    """
    x, n = counts[successes].cast("float64"), counts[trials].cast("float64")
    sums = counts.aggregate(
        groups=counts.count().cast("float64"),
        successes=x.sum(),
        trials=n.sum(),
        squared_trials=(n * n).sum(),
        squared_successes=ratio(x * x, n).sum(),
    )
    mean = ratio(sums.successes, sums.trials)
    between = ratio(sums.squared_successes - sums.successes * mean, mean * (1.0 - mean)) - (sums.groups - 1.0)
    room = sums.trials - ratio(sums.squared_trials, sums.trials) - (sums.groups - 1.0)
    weakest, strongest = RATE_STRENGTH_BOUNDS
    correlation = ratio(between, room).clip(1.0 / (strongest + 1.0), 1.0 / (weakest + 1.0))
    return sums.select(prior_mean=mean, prior_strength=(1.0 / correlation - 1.0).fill_null(UNDEFINED_RATE_STRENGTH))


def smoothed(
    successes: ir.NumericValue, trials: ir.NumericValue, mean: ir.NumericValue, strength: ir.NumericValue
) -> ir.NumericValue:
    """Posterior mean ``(successes + strength * mean) / (trials + strength)``; ``mean`` where there are no trials."""
    return (successes + strength * mean) / (trials + strength)


def shares(events: ir.Table, fact: str) -> tuple[ir.Table, ir.Table, ir.Table]:
    """How the events fall on the values of ``fact`` (``category`` or ``brand``); events without a value count nowhere.

    Returns:
        Three tables: per shopper and value with events ``user_id, <fact>, events`` (count); per shopper ``user_id,
        shopper_events`` (count over all values), ``most_events`` (of any one value), ``distinct_values`` (count); per
        value ``<fact>, prior_share`` (its share of all events).
    """
    known = events.filter(events[fact].notnull())
    counts = known.group_by(["user_id", fact]).aggregate(events=known.count())
    shoppers = counts.group_by("user_id").aggregate(
        shopper_events=counts.events.sum(), most_events=counts.events.max(), distinct_values=counts.count()
    )
    values = counts.group_by(fact).aggregate(value_events=counts.events.sum())
    total = values.aggregate(all_events=values.value_events.sum())
    every = values.cross_join(total)
    return counts, shoppers, every.select(fact, prior_share=ratio(every.value_events, every.all_events))


def affinity(events: ir.NumericValue, shopper_events: ir.NumericValue, prior_share: ir.NumericValue) -> ir.NumericValue:
    """Smoothed share of a shopper's events on one value: ``(events + m * prior_share) / (shopper_events + m)``.

    The posterior mean under a Dirichlet prior with the value's share of all events as its mean and
    `SHARE_PRIOR_STRENGTH` as its weight ``m``.
    """
    return smoothed(events, shopper_events, prior_share, ibis.literal(SHARE_PRIOR_STRENGTH))


def price_levels(events: ir.Table, products: ir.Table) -> ir.Table:
    """How expensive each product is for its category: ``product_id, price, price_level``.

    ``price`` is the mean unit price over the product's priced events, else the catalogue's, else null (only positive
    prices are prices). ``price_level`` is its natural logarithm minus the mean of that logarithm over the products of
    the same category that had an event before the cut-off (products without a category form one group): 0 is typical,
    0.69 twice as expensive. Products without events do not change the level of others, so a later catalogue cannot leak
    later prices. Null without a price, or when no product of the category had a priced event.
    """
    paid = events.group_by("product_id").aggregate(paid=events.paid.mean())
    facts = products.select("product_id", "category", catalogue_price=_positive(products.price.cast("float64")))
    joined = flat(facts.outer_join(paid, "product_id"))
    priced = joined.select(
        product_id=ibis.coalesce(joined.product_id, joined.product_id_right),
        category=joined.category.fill_null(NO_CATEGORY),
        price=ibis.coalesce(joined.paid, joined.catalogue_price),
        seen=joined.product_id_right.notnull(),
    )
    level = priced.price.ln()
    typical = priced.group_by("category").aggregate(typical=level.mean(where=priced.seen))
    compared = priced.left_join(typical, "category")
    return compared.select("product_id", "price", price_level=compared.price.ln() - compared.typical)


def _positive(price: ir.NumericValue) -> ir.NumericValue:
    return ibis.ifelse(price > 0.0, price, ibis.null("float64"))
