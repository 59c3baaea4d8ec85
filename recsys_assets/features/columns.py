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

_USER, _PRODUCT = ("interactions.user_id",), ("interactions.product_id",)
_KEYS = (*_USER, *_PRODUCT)
_TYPE, _TIME, _RATING = "interactions.interaction_type", "interactions.timestamp", "interactions.rating"
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


def _text(name: str, description: str, nulls: str, *lineage: str) -> FeatureColumn:
    return FeatureColumn(name, "string", description, nulls, lineage)


def _count(name: str, description: str, *lineage: str) -> FeatureColumn:
    return FeatureColumn(name, "int64", f"{description}, count", "never", lineage)


def _number(name: str, description: str, nulls: str, *lineage: str) -> FeatureColumn:
    return FeatureColumn(name, "float64", description, nulls, lineage)


def _activity(who: str, key: tuple[str, ...], spend: str, missing: str) -> tuple[FeatureColumn, ...]:
    """Columns of `shared.activity` for the groups of ``key``; ``missing``: when a group has no event."""
    decayed = "Interactions, each weighing 2^(-age/{0} d), so that one now counts 1 and one {0} d old counts 1/2"
    paid = f"{spend}, in the shop's currency: unit price x quantity, the catalogue's price where the event has none"
    return (
        _count("interactions", "Interactions of any type", *key),
        _count("views", "Interactions of type view", *key, _TYPE),
        _count("add_to_carts", "Interactions of type add_to_cart", *key, _TYPE),
        _count("purchases", "Interactions of type purchase", *key, _TYPE),
        _count("ratings", "Interactions of type rating", *key, _TYPE),
        _number(
            "days_since_first_interaction", f"Days from {who} first interaction to the cut-off", missing, *key, _TIME
        ),
        _number(
            "days_since_last_interaction", f"Days from {who} latest interaction to the cut-off", missing, *key, _TIME
        ),
        _number(
            "days_since_last_purchase", f"Days from {who} latest purchase to the cut-off", "no purchases",
            *key, _TYPE, _TIME,
        ),
        *(
            _number(f"decayed_interactions_{days}d", decayed.format(days), "never", *key, _TIME)
            for days in HALF_LIVES_DAYS
        ),
        _number("spend", paid, "no purchase has a known price", *key, _TYPE, *_PRICE, "interactions.quantity"),
    )  # fmt: skip


def _favourite(fact: str) -> tuple[FeatureColumn, ...]:
    lineage = (*_KEYS, f"products.{fact}")
    nothing = f"no interaction with a product of known {fact}"
    most = f"The {fact} with most of the shopper's interactions; ties go to the first name"
    share = f"Smoothed share (0 to 1) of the shopper's interactions on top_{fact}"
    return (
        _text(f"top_{fact}", most, nothing, *lineage),
        _number(f"top_{fact}_affinity", share, nothing, *lineage),
        _count(f"distinct_{fact}_count", f"Different values of {fact} among the shopper's interactions", *lineage),
    )


def _affinity(fact: str) -> FeatureColumn:
    share = f"Smoothed share (0 to 1) of the shopper's interactions that fall on the product's {fact}"
    return _number(f"{fact}_affinity", share, f"{fact} unknown", *_KEYS, f"products.{fact}")


USER_FEATURES: tuple[FeatureColumn, ...] = (
    _text("user_id", "The shopper", "never", *_USER, "users.user_id"),
    *_activity("the shopper's", _USER, "What the shopper paid", "no interactions"),
    _count("active_days", "UTC days with at least one interaction", *_USER, _TIME),
    _count("purchase_days", "UTC days with at least one purchase", *_USER, _TYPE, _TIME),
    _count("distinct_products", "Different products interacted with", *_KEYS),
    _number(
        "conversion_rate",
        "Share (0 to 1) of the products touched that were bought, smoothed by a Beta prior estimated over all shoppers",
        "no interactions at all before the cut-off", *_KEYS, _TYPE,
    ),
    _number("mean_rating", "Mean of the ratings given, on the shop's scale", "no ratings", *_USER, _RATING),
    _number(
        "price_level",
        "Mean price_level of the products of the shopper's interactions: 0 buys at the typical price of a category, "
        "0.69 at twice that",
        "no interaction with a product of known price_level", *_KEYS, *_PRICE, "products.category",
    ),
    *_favourite("category"),
    *_favourite("brand"),
    _number(
        "account_age_days", "Days from the start of the join date (UTC) to the cut-off",
        "join date unknown or not before it", "users.join_date",
    ),
)  # fmt: skip

PRODUCT_FEATURES: tuple[FeatureColumn, ...] = (
    _text("product_id", "The product", "never", *_PRODUCT, "products.product_id"),
    *_activity("the product's", _PRODUCT, "Revenue of the product", "no interactions"),
    *(
        _number(
            f"decayed_purchases_{days}d", f"Purchases, each weighing 2^(-age/{days} d)", "never",
            *_PRODUCT, _TYPE, _TIME,
        )
        for days in HALF_LIVES_DAYS
    ),
    _count("distinct_users", "Different shoppers who interacted with the product", *_KEYS),
    _count("buyers", "Different shoppers who bought the product", *_KEYS, _TYPE),
    _number(
        "conversion_rate",
        "Share (0 to 1) of the shoppers touching the product who bought it, smoothed by a Beta prior estimated over "
        "all products",
        "no interactions at all before the cut-off", *_KEYS, _TYPE,
    ),
    _number(
        "smoothed_rating",
        "Mean rating on the shop's scale, drawn towards the mean of all ratings by 5 pseudo-ratings",
        "no ratings at all before the cut-off", *_PRODUCT, _RATING,
    ),
    _number(
        "price",
        "Mean unit price over the product's priced interactions, else the catalogue's, in the shop's currency",
        "no positive price known", *_PRODUCT, *_PRICE,
    ),
    _number(
        "price_level",
        "ln(price) minus its mean over the category's products with interactions: 0 is typical, 0.69 is twice that",
        "no price, or no priced product with interactions in the category", *_PRODUCT, *_PRICE, "products.category",
    ),
)  # fmt: skip

USER_PRODUCT_FEATURES: tuple[FeatureColumn, ...] = (
    _text("user_id", "The shopper", "never", *_USER),
    _text("product_id", "The product", "never", *_PRODUCT),
    *_activity("the pair's", _KEYS, "What the shopper paid for the product", "never"),
    _number(
        "mean_rating", "Mean of the shopper's ratings of the product, on the shop's scale", "no ratings",
        *_KEYS, _RATING,
    ),
    _affinity("category"),
    _affinity("brand"),
    _number(
        "price_level_gap",
        "The product's price_level minus the shopper's: 0 fits the shopper, 0.69 is twice what the shopper is used to",
        "the product's price_level is unknown", *_KEYS, *_PRICE, "products.category",
    ),
)  # fmt: skip

FEATURE_COLUMNS = {
    "user_features": USER_FEATURES,
    "product_features": PRODUCT_FEATURES,
    "user_product_features": USER_PRODUCT_FEATURES,
}
"""Columns of each feature table."""
