"""Every feature column: meaning, unit, when it is null, and which columns it is computed from.

The Dagster column schema and lineage are made from these tables. A test compares them with the expressions in
``user.py``, ``product.py`` and ``user_product.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import ibis.expr.types as ir

from recsys_assets.features.shared import HALF_LIVES_DAYS

Dtype = Literal["string", "int64", "float64"]

_KEYS = ("interactions.user_id", "interactions.product_id")
_TYPE, _TIME = "interactions.interaction_type", "interactions.timestamp"
_PRICE = ("interactions.price", "products.price")


@dataclass(frozen=True, slots=True)
class FeatureColumn:
    """One column of a feature table.

    Attributes:
        name: column name.
        dtype: Ibis name of the type.
        description: meaning and unit.
        nulls: when the value is null; ``never`` otherwise.
        lineage: ``table.column`` names this column is computed from. The cut-off on ``interactions.timestamp``, which
            every column obeys, is listed only where the time also enters the value.
    """

    name: str
    dtype: Dtype
    description: str
    nulls: str
    lineage: tuple[str, ...]

    @property
    def text(self) -> str:
        """Description and null rule in one sentence pair, as shown in a column schema."""
        return f"{self.description}. Null: {self.nulls}."


def select_columns(table: ir.Table, columns: Sequence[FeatureColumn]) -> ir.Table:
    """Exactly ``columns`` of ``table``, in their order and types, whatever the engine called its sums."""
    return table.select(**{column.name: table[column.name].cast(column.dtype) for column in columns})


def _activity(who: str, key: tuple[str, ...], spend: str, missing: str) -> tuple[FeatureColumn, ...]:
    counted = (
        ("interactions", "Interactions of any type, count", "never", key),
        ("views", "Interactions of type view, count", "never", (*key, _TYPE)),
        ("add_to_carts", "Interactions of type add_to_cart, count", "never", (*key, _TYPE)),
        ("purchases", "Interactions of type purchase, count", "never", (*key, _TYPE)),
        ("ratings", "Interactions of type rating, count", "never", (*key, _TYPE)),
    )
    recency = (
        ("days_since_first_interaction", f"Days from {who} first interaction to the cut-off", missing, (*key, _TIME)),
        ("days_since_last_interaction", f"Days from {who} latest interaction to the cut-off", missing, (*key, _TIME)),
        (
            "days_since_last_purchase",
            f"Days from {who} latest purchase to the cut-off",
            "no purchases",
            (*key, _TYPE, _TIME),
        ),
    )
    decays = tuple(
        (
            f"decayed_interactions_{days}d",
            f"Interactions, each weighing 2^(-age/{days} d), so that one now counts 1 and one {days} d old counts 1/2",
            "never",
            (*key, _TIME),
        )
        for days in HALF_LIVES_DAYS
    )
    money = (
        (
            "spend",
            f"{spend}, in the shop's currency: unit price x quantity, the catalogue's price where the event has none",
            "no purchase has a known price",
            (*key, _TYPE, *_PRICE, "interactions.quantity"),
        ),
    )
    return (
        *(FeatureColumn(name, "int64", text, nulls, lineage) for name, text, nulls, lineage in counted),
        *(
            FeatureColumn(name, "float64", text, nulls, lineage)
            for name, text, nulls, lineage in (*recency, *decays, *money)
        ),
    )


_USER, _PRODUCT = ("interactions.user_id",), ("interactions.product_id",)


def _favourite(fact: str) -> tuple[FeatureColumn, ...]:
    lineage = (*_KEYS, f"products.{fact}")
    nothing = f"no interaction with a product of known {fact}"
    return (
        FeatureColumn(
            f"top_{fact}",
            "string",
            f"The {fact} with most of the shopper's interactions; ties go to the first name",
            nothing,
            lineage,
        ),
        FeatureColumn(
            f"top_{fact}_affinity",
            "float64",
            f"Smoothed share (0 to 1) of the shopper's interactions on top_{fact}",
            nothing,
            lineage,
        ),
        FeatureColumn(
            f"distinct_{fact}_count",
            "int64",
            f"Different values of {fact} among the shopper's interactions, count",
            "never",
            lineage,
        ),
    )


USER_FEATURES: tuple[FeatureColumn, ...] = (
    FeatureColumn("user_id", "string", "The shopper", "never", (*_USER, "users.user_id")),
    *_activity("the shopper's", _USER, "What the shopper paid", "no interactions"),
    FeatureColumn("active_days", "int64", "UTC days with at least one interaction, count", "never", (*_USER, _TIME)),
    FeatureColumn(
        "purchase_days", "int64", "UTC days with at least one purchase, count", "never", (*_USER, _TYPE, _TIME)
    ),
    FeatureColumn("distinct_products", "int64", "Different products interacted with, count", "never", _KEYS),
    FeatureColumn(
        "conversion_rate",
        "float64",
        "Share (0 to 1) of the products touched that were bought, smoothed by a Beta prior estimated over all shoppers",
        "no interactions at all before the cut-off",
        (*_KEYS, _TYPE),
    ),
    FeatureColumn(
        "mean_rating",
        "float64",
        "Mean of the ratings given, on the shop's scale",
        "no ratings",
        (*_USER, "interactions.rating"),
    ),
    FeatureColumn(
        "price_level",
        "float64",
        "Mean price_level of the products of the shopper's interactions: 0 buys at the typical price of a category, "
        "0.69 at twice that",
        "no interaction with a product of known price_level",
        (*_KEYS, *_PRICE, "products.category"),
    ),
    *_favourite("category"),
    *_favourite("brand"),
    FeatureColumn(
        "account_age_days",
        "float64",
        "Days from the start of the join date (UTC) to the cut-off",
        "join date unknown or not before it",
        ("users.join_date",),
    ),
)

PRODUCT_FEATURES: tuple[FeatureColumn, ...] = (
    FeatureColumn("product_id", "string", "The product", "never", (*_PRODUCT, "products.product_id")),
    *_activity("the product's", _PRODUCT, "Revenue of the product", "no interactions"),
    *(
        FeatureColumn(
            f"decayed_purchases_{days}d",
            "float64",
            f"Purchases, each weighing 2^(-age/{days} d)",
            "never",
            (*_PRODUCT, _TYPE, _TIME),
        )
        for days in HALF_LIVES_DAYS
    ),
    FeatureColumn(
        "distinct_users", "int64", "Different shoppers who interacted with the product, count", "never", _KEYS
    ),
    FeatureColumn("buyers", "int64", "Different shoppers who bought the product, count", "never", (*_KEYS, _TYPE)),
    FeatureColumn(
        "conversion_rate",
        "float64",
        "Share (0 to 1) of the shoppers touching the product who bought it, smoothed by a Beta prior estimated over "
        "all products",
        "no interactions at all before the cut-off",
        (*_KEYS, _TYPE),
    ),
    FeatureColumn(
        "smoothed_rating",
        "float64",
        "Mean rating on the shop's scale, drawn towards the mean of all ratings by 5 pseudo-ratings",
        "no ratings at all before the cut-off",
        (*_PRODUCT, "interactions.rating"),
    ),
    FeatureColumn(
        "price",
        "float64",
        "Mean unit price over the product's priced interactions, else the catalogue's, in the shop's currency",
        "no positive price known",
        (*_PRODUCT, *_PRICE),
    ),
    FeatureColumn(
        "price_level",
        "float64",
        "ln(price) minus its mean over the category's products with interactions: 0 is typical, 0.69 is twice that",
        "no price, or no priced product with interactions in the category",
        (*_PRODUCT, *_PRICE, "products.category"),
    ),
)

USER_PRODUCT_FEATURES: tuple[FeatureColumn, ...] = (
    FeatureColumn("user_id", "string", "The shopper", "never", _USER),
    FeatureColumn("product_id", "string", "The product", "never", _PRODUCT),
    *_activity("the pair's", _KEYS, "What the shopper paid for the product", "never"),
    FeatureColumn(
        "mean_rating",
        "float64",
        "Mean of the shopper's ratings of the product, on the shop's scale",
        "no ratings",
        (*_KEYS, "interactions.rating"),
    ),
    FeatureColumn(
        "category_affinity",
        "float64",
        "Smoothed share (0 to 1) of the shopper's interactions that fall on the product's category",
        "category unknown",
        (*_KEYS, "products.category"),
    ),
    FeatureColumn(
        "brand_affinity",
        "float64",
        "Smoothed share (0 to 1) of the shopper's interactions that fall on the product's brand",
        "brand unknown",
        (*_KEYS, "products.brand"),
    ),
    FeatureColumn(
        "price_level_gap",
        "float64",
        "The product's price_level minus the shopper's: 0 fits the shopper, 0.69 is twice what the shopper is used to",
        "the product's price_level is unknown",
        (*_KEYS, *_PRICE, "products.category"),
    ),
)
