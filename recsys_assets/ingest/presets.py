"""The export formats that are recognised by their headers, each as a ready `Mapping`.

A recipe says how one kind of file is recognised and read; column names are compared as `rows.normalise` does, so
``Lineitem sku`` and ``lineitem_sku`` are one name. A few formats need code as well (``preset_steps``).
Sources of the column names: the vendors' documentation, linked in docs/data.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from recsys_assets.ingest.mapping import CONTRACTS, SetAside, TableMapping
from recsys_assets.ingest.preset_steps import GENRES
from recsys_assets.ingest.vocabulary import CART, PURCHASE, RATING, VIEW


@dataclass(frozen=True)
class Recipe:
    """One kind of file of a preset.

    Attributes:
        role: ``interactions``, ``products`` or ``users``.
        signature: normalised column names that all must be there.
        table: how it is read.
        files: patterns of file names, where the header does not decide.
    """

    role: str
    signature: frozenset[str]
    table: TableMapping
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """A recognised export format.

    Attributes:
        name: as in ``RECSYS_SOURCE`` and ``mapping.toml``.
        looks_like: what is recognised, for messages.
        recipes: its kinds of files, the most specific first.
        derived: how products and users are derived from the interactions when there is no file of them.
    """

    name: str
    looks_like: str
    recipes: tuple[Recipe, ...]
    derived: Mapping[str, TableMapping]


def _columns(named: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(value.split("|")) for name, value in named.items()}


def _recipe(role: str, signature: str, files: tuple[str, ...] = (), **options: Any) -> Recipe:
    """A recipe whose ``options`` are canonical columns (columns of the file, separated by ``|``) and table settings."""
    named = {name: options.pop(name) for name in list(options) if name in CONTRACTS[role].schema.names}
    return Recipe(role, frozenset(signature.lower().split()), TableMapping(columns=_columns(named), **options), files)


def _derived(**columns: str) -> TableMapping:
    return TableMapping(columns=_columns(columns))


_ORDER_STATES = (
    "cancelled", "canceled", "refunded", "voided", "failed", "closed", "trash", "wc-cancelled", "wc-failed",
)  # fmt: skip
_NOT_SOLD = (
    SetAside(reason="order without a customer", column="user_id", missing=True),
    SetAside(reason="line without a product", column="product_id", missing=True),
    SetAside(reason="returned or no quantity", column="quantity", not_positive=True),
)


def _sold(*status_columns: str) -> tuple[SetAside, ...]:
    """Rules that leave the lines of an order that were sold; the columns hold the state of the order."""
    cancelled = (SetAside(reason="cancelled order", column=name, values=_ORDER_STATES) for name in status_columns)
    return (*cancelled, *_NOT_SOLD)


NON_PRODUCT_CODES: Final = "POST|M|D|DOT|BANK CHARGES|PADS|CRUK|C2|AMAZONFEE|S|B"
"""Postage, manual entries, discounts, fees, charity, samples and adjustments; ``gift_*`` vouchers are excluded too."""

ONLINE_RETAIL_COLUMNS: Final = (
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
)  # fmt: skip
_VIEWED, _RATED, _BOUGHT = ({"interaction_type": kind} for kind in (VIEW, RATING, PURCHASE))
_MOVIELENS_FILE: dict[str, Any] = {"quotes": False, "encoding": "utf-8|latin-1"}

PRESETS: Final[tuple[Preset, ...]] = (
    Preset(
        "shopify", "Shopify: orders export (Name, Email, Created at, Lineitem name, ...), products, customers",
        (
            _recipe(
                "interactions", "lineitem_name lineitem_quantity created_at",
                user_id="Email|Phone|Billing Phone", product_id="Lineitem sku|Lineitem name", timestamp="Created at",
                price="Lineitem price", quantity="Lineitem quantity",
                constants=_BOUGHT, order="Name", fill_from_first_line=True,
                set_aside=(
                    SetAside(reason="cancelled order", column="Cancelled at", pattern="."),
                    SetAside(reason="cancelled or refunded order", column="Financial Status", values=_ORDER_STATES),
                    SetAside(reason="test order", column="Payment Method", pattern="(?i)bogus|test gateway"),
                    *_NOT_SOLD,
                ),
            ),
            _recipe(
                "products", "handle variant_price title",
                product_id="Variant SKU|Handle", name="Title", category="Type|Product Category", brand="Vendor",
                price="Variant Price", available="Published", image_url="Image Src",
                order="Handle", fill_from_first_line=True,
            ),
            _recipe(
                "users", "email accepts_email_marketing",
                user_id="Email|Phone", location="Default Address City|Default Address Country Code",
            ),
            _recipe("users", "email total_orders total_spent", user_id="Email|Phone", location="City|Country"),
        ),
        {
            "products": _derived(name="Lineitem name", brand="Vendor", price="Lineitem price"),
            "users": _derived(location="Billing City|Shipping City|Billing Country"),
        },
    ),
    Preset(
        "woocommerce", "WooCommerce: orders with a row per item or with line_item columns, the Analytics orders report",
        (
            _recipe(
                "interactions", "order_id order_date line_item_1",
                user_id="customer_email|billing_email|customer_id", product_id="items.product_id|items.sku|items.name",
                timestamp="order_date", price="items.price|items.total", quantity="items.quantity",
                constants=_BOUGHT, order="order_id", items="line_item_*", set_aside=_sold("status"),
            ),
            _recipe(
                "interactions", "order_id line_items billing_email",
                user_id="billing_email|customer_id", product_id="items.product_id|items.sku|items.name",
                timestamp="order_date|date|date_created", price="items.price|items.total", quantity="items.quantity",
                constants=_BOUGHT, order="order_id", items="line_items", set_aside=_sold("status"),
            ),
            _recipe(
                "interactions", "order product_s items_sold customer",
                user_id="Customer", product_id="items.name", timestamp="Date", quantity="items.quantity",
                constants=_BOUGHT, order="Order #", items="Product(s)",
                item_pattern=r"(?P<quantity>\d+)\s*[×x]\s*(?P<name>.+?)(?=,\s*\d+\s*[×x]|$)",
                set_aside=_sold("Status"),
            ),
            *(
                _recipe(
                    "interactions", signature,
                    user_id="billing_email|customer_email|email_billing|billing_email_address|customer_id",
                    product_id="item_product_id|product_id|item_sku|sku|product_sku|item_name|product_name",
                    timestamp="order_date|date|date_created|paid_date",
                    price="item_price|item_cost|product_price|item_total",
                    quantity="item_quantity|quantity|qty|product_qty|quantity_refund",
                    constants=_BOUGHT, order="order_id|order_number", set_aside=_sold("status", "order_status"),
                )
                for signature in (
                    "order_id item_name billing_email", "order_number item_name", "order_number item_cost",
                    "order_id item_product_id", "order_id product_id date_created product_qty",
                )
            ),
            _recipe(
                "products", "id sku regular_price",
                product_id="ID|SKU", name="Name", category="Categories", brand="Brands|Brand",
                price="Sale price|Regular price", available="In stock?", image_url="Images",
            ),
        ),
        {
            "products": _derived(
                name="items.name|item_name|product_name", price="items.price|item_price|item_cost|product_price"
            ),
            "users": _derived(location="billing_city|city_billing|billing_country"),
        },
    ),
    Preset(
        "magento", "Magento (Adobe Commerce): order items (sku, qty_ordered, ...), products, customers",
        (
            _recipe(
                "interactions", "sku qty_ordered",
                user_id="customer_email|customer_id", product_id="sku", timestamp="created_at|purchase_date",
                price="price|base_price|original_price", quantity="qty_ordered",
                constants=_BOUGHT, order="order_id|increment_id",
                set_aside=(
                    SetAside(reason="part of a configurable product", column="parent_item_id", pattern="[1-9]"),
                    *_sold("status", "state"),
                ),
            ),
            _recipe(
                "products", "sku attribute_set_code product_type",
                product_id="sku", name="name", category="categories", brand="brand|manufacturer",
                price="special_price|price", available="is_in_stock",
            ),
            _recipe("users", "email website store", user_id="email", gender="gender", join_date="created_at"),
        ),
        {"products": _derived(name="name", price="price|base_price"), "users": _derived(location="city|billing_city")},
    ),
    Preset(
        "ga4", "Google Analytics 4: BigQuery export (nested or flat) as CSV, JSON lines or Parquet",
        tuple(
            _recipe(
                "interactions", signature,
                user_id="user_id|user_pseudo_id|client_id", product_id=f"{item}id|{item}name",
                interaction_type="event_name", timestamp="event_timestamp|event_time|event_date",
                price=f"{item}price", quantity=f"{item}quantity",
                event_names={
                    "view_item": VIEW, "select_item": VIEW, "add_to_cart": CART, "purchase": PURCHASE,
                    "ecommerce_purchase": PURCHASE, "in_app_purchase": PURCHASE,
                },
                other_events="ignore", items=items, order="ecommerce.transaction_id|transaction_id",
                set_aside=(
                    SetAside(reason="event without a user", column="user_id", missing=True),
                    SetAside(reason="event without a product", column="product_id", missing=True),
                    SetAside(reason="event without a product", column="product_id", values=("(not set)",)),
                ),
            )
            for signature, items, item in (
                ("event_name event_timestamp items", "items", "items.item_"),
                ("event_name item_id event_timestamp", "", "item_"),
                ("event_name item_id event_time", "", "item_"), ("event_name item_id event_date", "", "item_"),
                ("event_name items_item_id", "", "items_item_"),
            )
        ),
        {
            "products": _derived(
                name="items.item_name|item_name|items_item_name", brand="items.item_brand|item_brand|items_item_brand",
                category="items.item_category|item_category|items_item_category",
                price="items.price|item_price|items_item_price|price",
            ),
            "users": _derived(location="geo.city|geo_city|city|geo.country|country"),
        },
    ),
    Preset(
        "retailrocket", "RetailRocket: events.csv (timestamp, visitorid, event, itemid, transactionid)",
        (
            _recipe(
                "interactions", "timestamp visitorid event itemid",
                user_id="visitorid", product_id="itemid", interaction_type="event", timestamp="timestamp",
                order="transactionid", event_names={"view": VIEW, "addtocart": CART, "transaction": PURCHASE},
            ),
        ),
        {},
    ),
    Preset(
        "gorse", "Gorse: feedback (feedback_type, user_id, item_id, time_stamp), items and users",
        (
            _recipe(
                "interactions", "feedback_type user_id item_id",
                user_id="user_id", product_id="item_id", interaction_type="feedback_type",
                timestamp="time_stamp|timestamp",
            ),
            _recipe(
                "interactions", "feedbacktype userid itemid",
                user_id="UserId", product_id="ItemId", interaction_type="FeedbackType", timestamp="Timestamp",
            ),
            _recipe(
                "products", "item_id is_hidden",
                product_id="item_id", name="description|comment", category="categories|labels", available="is_hidden",
            ),
            _recipe(
                "products", "itemid ishidden",
                product_id="ItemId", name="Comment", category="Categories|Labels", available="IsHidden",
            ),
            _recipe("users", "user_id labels", user_id="user_id"),
            _recipe("users", "userid labels", user_id="UserId"),
        ),
        {},
    ),
    Preset(
        "personalize", "Amazon Personalize: interactions, items and users (USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE)",
        (
            _recipe(
                "interactions", "USER_ID ITEM_ID TIMESTAMP EVENT_TYPE",
                user_id="USER_ID", product_id="ITEM_ID", interaction_type="EVENT_TYPE", timestamp="TIMESTAMP",
            ),
            _recipe(
                "interactions", "USER_ID ITEM_ID TIMESTAMP",
                user_id="USER_ID", product_id="ITEM_ID", timestamp="TIMESTAMP", constants=_VIEWED,
            ),
            _recipe(
                "products", "ITEM_ID",
                product_id="ITEM_ID", name="NAME|TITLE|ITEM_NAME|PRODUCT_NAME|PRODUCT_DESCRIPTION",
                category="CATEGORY_L1|CATEGORY|GENRES", brand="BRAND", price="PRICE", rating="AVERAGE_RATING|RATING",
            ),
            _recipe(
                "users", "USER_ID", user_id="USER_ID", age="AGE", gender="GENDER", location="LOCATION|CITY|COUNTRY"
            ),
        ),
        {},
    ),
    Preset(
        "session_clicks", "RecSys-challenge clicks: session, item and time, with a header or as yoochoose-clicks.dat",
        (
            *(
                _recipe(
                    "interactions", signature,
                    user_id="sessionid|session_id", product_id="itemid|item_id", timestamp="time|timestamp",
                    constants=_VIEWED,
                )
                for signature in ("sessionid itemid time", "sessionid itemid timestamp", "session_id item_id timestamp",
                                  "session_id item_id time")
            ),
            _recipe(
                "interactions", "", ("*clicks*.dat", "*clicks*.csv", "*clicks*.txt"),
                header=("session_id", "timestamp", "item_id", "category"),
                user_id="session_id", product_id="item_id", timestamp="timestamp", constants=_VIEWED,
            ),
        ),
        {},
    ),
    Preset(
        "online_retail", "UCI Online Retail: files YYYY-MM-DD.csv[.gz] with InvoiceNo, StockCode, Quantity, ...",
        (
            _recipe(
                "interactions", " ".join(ONLINE_RETAIL_COLUMNS),
                user_id="CustomerID", product_id="StockCode", timestamp="InvoiceDate", price="UnitPrice",
                quantity="Quantity", constants=_BOUGHT, order="InvoiceNo", required=ONLINE_RETAIL_COLUMNS,
                set_aside=(
                    SetAside(reason="missing customer", column="CustomerID", missing=True),
                    SetAside(reason="cancellation", column="InvoiceNo", pattern="^[Cc]"),
                    SetAside(reason="non-product stock code", column="StockCode",
                             pattern=rf"(?i)^(\s*({NON_PRODUCT_CODES})\s*$|\s*gift_)"),
                    SetAside(reason="quantity not positive", column="Quantity", not_positive=True),
                    SetAside(reason="unit price not positive", column="UnitPrice", not_positive=True),
                ),
            ),
        ),
        {"products": _derived(name="Description", price="UnitPrice"), "users": _derived(location="Country")},
    ),
    Preset(
        "amazon_reviews", "Amazon reviews of UCSD: reviews as .json or .jsonl[.gz], metadata in files meta*",
        (
            *(
                _recipe(
                    "interactions", signature,
                    user_id="reviewerID|user_id", product_id="parent_asin|asin", timestamp="unixReviewTime|timestamp",
                    rating="overall|rating", constants=_RATED,
                )
                for signature in ("reviewerid asin overall", "user_id parent_asin rating", "user_id asin rating")
            ),
            *(
                _recipe(
                    "products", signature, files,
                    product_id="parent_asin|asin", name="title", category="category_path", brand="brand|store",
                    price="list_price", rating="average_rating", num_reviews="rating_number",
                )
                for signature, files in (
                    ("", ("meta*.json", "meta*.jsonl", "meta*.json.gz", "meta*.jsonl.gz")), ("asin title", ()),
                    ("parent_asin title", ()),
                )
            ),
        ),
        {},
    ),
    Preset(
        "movielens", "MovieLens: ratings.dat and movies.dat (1M), u.data and u.item (100K), or ratings.csv",
        (
            _recipe(
                "interactions", "userid movieid rating timestamp",
                user_id="userId", product_id="movieId", rating="rating", timestamp="timestamp", constants=_RATED,
            ),
            _recipe("products", "movieid title genres", product_id="movieId", name="title", category="first_genre"),
            *(
                _recipe(
                    "interactions", "", (file,), header=("user", "movie", "rating", "time"), delimiter=delimiter,
                    user_id="user", product_id="movie", rating="rating", timestamp="time", constants=_RATED,
                    **_MOVIELENS_FILE,
                )
                for file, delimiter in (("ratings.dat", "::"), ("u.data", "\t"))
            ),
            *(
                _recipe(
                    "products", "", (file,), header=header, delimiter=delimiter,
                    product_id="movie", name="title", category="first_genre", **_MOVIELENS_FILE,
                )
                for file, delimiter, header in (
                    ("movies.dat", "::", ("movie", "title", "genres")),
                    ("u.item", "|", ("movie", "title", "released", "video", "url", *GENRES)),
                )
            ),
            *(
                _recipe(
                    "users", "", (file,), header=header, delimiter=delimiter,
                    user_id="user", gender="gender", age="age", location="zip", **_MOVIELENS_FILE,
                )
                for file, delimiter, header in (
                    ("users.dat", "::", ("user", "gender", "age", "occupation", "zip")),
                    ("u.user", "|", ("user", "age", "gender", "occupation", "zip")),
                )
            ),
        ),
        {},
    ),
)  # fmt: skip
"""Recognised formats; of several that fit a header, the one with the longest signature."""

CANONICAL_COLUMNS: Final = {
    name: TableMapping(columns={column: (column,) for column in contract.schema.names})
    for name, contract in CONTRACTS.items()
}
"""Canonical files: every column has its canonical name."""
