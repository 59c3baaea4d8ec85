"""Names of columns and events that are understood in any export, without a mapping."""

from collections.abc import Mapping
from typing import Final

VIEW, CART, PURCHASE, RATING = "view", "add_to_cart", "purchase", "rating"

EVENT_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("view", "views", "page_view_item", "pageview", "page_view", "product_view", "productview", "view_item",
         "viewed", "product viewed", "product_viewed", "detail", "detail_view", "detailproductview", "click", "clicks",
         "select_item", "read", "impression_click", "item_view", "watch", "visit", "open"), VIEW
    ),
    **dict.fromkeys(
        ("add_to_cart", "addtocart", "add-to-cart", "add to cart", "cart", "basket", "add_to_basket", "product added",
         "product_added_to_cart", "cart_add", "add", "star", "like", "favorite", "favourite", "wishlist",
         "add_to_wishlist", "addtowishlist"), CART
    ),
    **dict.fromkeys(
        ("purchase", "purchases", "purchased", "transaction", "buy", "bought", "order", "ordered", "sale", "checkout",
         "order_completed", "order completed", "conversion", "placed_order", "product purchased",
         "completed_purchase"), PURCHASE
    ),
    **dict.fromkeys(("rating", "ratings", "rate", "rated", "review", "reviewed"), RATING),
}  # fmt: skip
"""Names of events that are understood without a mapping, in lower case -> canonical interaction type."""

SYNONYMS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "interactions": {
        "interaction_id": ("interaction_id", "event_id", "eventid", "interactionid", "row_id", "uuid"),
        "user_id": (
            "user_id", "userid", "user", "customer_id", "customerid", "customer", "client_id", "clientid", "shopper_id",
            "visitor_id", "visitorid", "member_id", "account_id", "buyer_id", "person_id", "profile_id", "uid",
            "reviewerid", "reviewer_id", "user_pseudo_id", "anonymous_id", "cookie_id", "device_id", "session_id",
            "sessionid", "user_session", "email", "customer_email", "billing_email", "email_billing",
        ),
        "product_id": (
            "product_id", "productid", "item_id", "itemid", "item", "product", "article_id", "articleid", "sku",
            "item_sku", "product_sku", "stockcode", "asin", "content_id", "variant_id", "movieid", "movie_id",
            "item_name", "product_name", "pid", "iid",
        ),
        "interaction_type": (
            "interaction_type", "event_type", "eventtype", "event_name", "event", "action", "action_type", "type",
            "behavior_type", "behaviour_type", "behavior", "behaviour", "feedback_type", "activity",
        ),
        "timestamp": (
            "timestamp", "time_stamp", "event_time", "eventtime", "event_timestamp", "created_at", "createdat",
            "datetime", "date_time", "occurred_at", "ts", "time", "unix_timestamp", "order_date", "date_created",
            "purchase_date", "invoicedate", "invoice_date", "t_dat", "unixreviewtime", "event_date", "date", "day",
        ),
        "rating": ("rating", "stars", "overall", "score", "review_rating"),
        "price": ("price", "unit_price", "unitprice", "item_price", "product_price", "amount", "value"),
        "quantity": ("quantity", "qty", "qty_ordered", "item_quantity", "product_qty", "units", "count"),
        "request_id": ("request_id",),
        "variant": ("variant",),
    },
    "products": {
        "product_id": (
            "product_id", "productid", "item_id", "itemid", "sku", "article_id", "id", "variant_sku", "handle", "asin",
            "movieid",
        ),
        "name": ("name", "title", "product_name", "item_name", "prod_name", "product_title", "description"),
        "category": (
            "category", "categories", "product_category", "category_name", "item_category", "category_l1",
            "product_type", "type", "department_name", "category_code", "category_id", "genres",
        ),
        "brand": ("brand", "vendor", "manufacturer", "item_brand", "brand_name", "store", "brands"),
        "price": ("price", "sale_price", "regular_price", "variant_price", "unit_price", "item_price"),
        "rating": ("rating", "average_rating", "avg_rating"),
        "num_reviews": ("num_reviews", "review_count", "rating_number", "reviews"),
        "available": ("available", "in_stock", "is_in_stock", "availability", "published", "active", "status"),
        "image_url": (
            "image_url", "image_link", "image_src", "image", "images", "picture_url", "thumbnail_url", "base_image_url",
        ),
    },
    "users": {
        "user_id": ("user_id", "userid", "customer_id", "id", "email", "customer_email", "visitor_id", "member_id"),
        "age": ("age",),
        "gender": ("gender", "sex"),
        "location": ("location", "city", "country", "region", "default_address_city", "zip", "zip_code", "postal_code"),
        "join_date": ("join_date", "created_at", "registered_at", "signup_date", "date_created", "date_registered"),
    },
}  # fmt: skip
"""Canonical table -> column -> names it has in exports, best first; compared as `rows.normalise` does."""
