"""Exports of shop systems as their vendors document them, made up: files, and what they hold in canonical terms."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.ingest.shops import write_text

Event = tuple[str, str, str, datetime]
"""User, product, interaction type, moment."""


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Export:
    """An export: how to write it, its preset, its events in order of time, and why rows are set aside."""

    name: str
    write: Callable[[Path], None]
    preset: str
    events: tuple[Event, ...]
    aside: tuple[str, ...] = ()
    products: tuple[tuple[str, str | None, str | None, float | None, bool], ...] = ()
    """Id, name, category, price, available; the first of them by id."""


SHOPIFY = """\
Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Total,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Billing City,Cancelled at,Payment Method,Vendor
#1001,ada@example.com,paid,2024-01-15 10:30:05 -0500,fulfilled,EUR,25.00,29.90,2024-01-15 10:30:00 -0500,2,Blue Mug,10.00,MUG-B,Paris,,Shopify Payments,Potter
#1001,ada@example.com,,,,,,,2024-01-15 10:30:00 -0500,1,"Tea, green",5.00,TEA-G,,,,Leaf
#1002, Ada@Example.com ,paid,2024-01-16 09:00:05 -0500,fulfilled,EUR,10.00,10.00,2024-01-16 09:00:00 -0500,1,Blue Mug,10.00,MUG-B,Paris,,Shopify Payments,Potter
#1003,bob@example.com,refunded,,,EUR,5.00,5.00,2024-01-17 09:00:00 -0500,1,"Tea, green",5.00,TEA-G,Rome,,Shopify Payments,Leaf
#1003,bob@example.com,,,,,,,2024-01-17 09:00:00 -0500,1,Blue Mug,10.00,MUG-B,,,,Potter
#1004,,paid,,,EUR,5.00,5.00,2024-01-17 10:00:00 -0500,1,"Tea, green",5.00,TEA-G,,,Shopify Payments,Leaf
#1005,cleo@example.com,paid,,,EUR,5.00,5.00,2024-01-18 10:00:00 -0500,1,Gift card,5.00,,Oslo,2024-01-18 11:00:00 -0500,Shopify Payments,
#1006,cleo@example.com,paid,,,EUR,5.00,5.00,2024-01-19 10:00:00 -0500,1,Gift card,5.00,,Oslo,,(for testing) Bogus Gateway,
#1007,cleo@example.com,paid,,,EUR,5.00,5.00,2024-01-20 10:00:00 -0500,1,Gift card,5.00,,Oslo,,Shopify Payments,
"""  # noqa: E501 (a header has one line)

WOO_ITEMS = """\
order_id,order_number,date,status,customer_id,billing_email,billing_city,item_product_id,item_name,item_sku,item_quantity,item_price
11,11,2024-02-01 08:00:00,completed,7,ada@example.com,Paris,501,Blue Mug,MUG-B,2,10.00
11,11,2024-02-01 08:00:00,completed,7,ada@example.com,Paris,502,Green Tea,TEA-G,1,5.00
12,12,2024-02-02 08:00:00,cancelled,0,bob@example.com,Rome,501,Blue Mug,MUG-B,1,10.00
13,13,2024-02-03 08:00:00,processing,0,bob@example.com,Rome,501,Blue Mug,MUG-B,1,10.00
"""

WOO_LINE_ITEMS = """\
order_id,order_number,order_date,status,customer_id,customer_email,line_item_1,line_item_2
11,11,02/13/2024 08:00:00,completed,7,ada@example.com,name:Blue Mug|product_id:501|sku:MUG-B|quantity:2|total:20.00,name:Green Tea|product_id:502|sku:TEA-G|quantity:1|total:5.00
12,12,02/14/2024 8:05:00,refunded,9,bob@example.com,name:Blue Mug|product_id:501|sku:MUG-B|quantity:1|total:10.00,
13,13,02/15/2024 08:00:00,completed,9,bob@example.com,name:Blue Mug|product_id:501|sku:MUG-B|quantity:1|total:10.00,
"""  # noqa: E501

WOO_ANALYTICS = """\
Date,Order #,N. Revenue (formatted),Status,Customer,Customer type,Product(s),Items sold,Coupon(s),N. Revenue
2024-02-01 08:00:00,11,25.00,completed,Ada L,new,"2× Blue Mug, 1× Tea, green",3,,25
2024-02-02 08:00:00,12,10.00,cancelled,Bob R,new,1× Blue Mug,1,,10
2024-02-03 08:00:00,13,10.00,completed,Bob R,returning,1× Blue Mug,1,,10
"""

WOO_ADVANCED = """\
Order Number,Order Status,Order Date,First Name (Billing),Email (Billing),City (Billing),SKU,Item #,Item Name,Quantity (- Refund),Item Cost
11,Completed,2024-02-01 08:00,Ada,ada@example.com,Paris,MUG-B,1,Blue Mug,2,"10,00"
11,Completed,2024-02-01 08:00,Ada,ada@example.com,Paris,TEA-G,2,Green Tea,1,"5,50"
12,Cancelled,2024-02-02 08:00,Bob,bob@example.com,Rome,MUG-B,1,Blue Mug,1,"10,00"
13,Completed,2024-02-03 08:00,Bob,bob@example.com,Rome,MUG-B,1,Blue Mug,1,"10,00"
"""  # noqa: E501

WOO_PRODUCTS = """\
ID,Type,SKU,Name,Published,Is featured?,In stock?,Stock,Sale price,Regular price,Categories
501,simple,MUG-B,Blue Mug,1,0,1,12,,10.00,"Kitchen > Mugs, Gifts"
502,simple,TEA-G,Green Tea,1,0,0,,4.50,5.00,Drinks
"""

MAGENTO = """\
order_id,increment_id,created_at,customer_id,customer_email,sku,name,qty_ordered,price,parent_item_id,status
1,000000001,2024-02-01 08:00:00,7,ada@example.com,MUG-B,Blue Mug,2.0000,10.0000,,complete
1,000000001,2024-02-01 08:00:00,7,ada@example.com,TEA-G,Green Tea,1.0000,5.0000,,complete
1,000000001,2024-02-01 08:00:00,7,ada@example.com,TEA-G,Green Tea,1.0000,0.0000,2,complete
2,000000002,2024-02-02 08:00:00,9,bob@example.com,MUG-B,Blue Mug,1.0000,10.0000,,canceled
3,000000003,2024-02-03 08:00:00,9,bob@example.com,MUG-B,Blue Mug,1.0000,10.0000,,complete
"""

MAGENTO_PRODUCTS = """\
sku,store_view_code,attribute_set_code,product_type,categories,name,price,special_price,is_in_stock
MUG-B,,Default,simple,"Default Category/Kitchen,Default Category/Kitchen/Mugs",Blue Mug,10.0000,,1
MUG-B,de,Default,simple,,Blaue Tasse,,,
TEA-G,,Default,simple,Default Category/Drinks,Green Tea,5.0000,4.5000,0
"""

TWO_ORDERS: tuple[Event, ...] = (
    ("ada@example.com", "501", "purchase", moment("2024-02-01T08:00:00")),
    ("ada@example.com", "502", "purchase", moment("2024-02-01T08:00:00")),
    ("bob@example.com", "501", "purchase", moment("2024-02-03T08:00:00")),
)


def renamed(events: tuple[Event, ...], names: dict[str, str], days: int = 0) -> tuple[Event, ...]:
    """``events`` with other ids, and ``days`` later."""
    return tuple(
        (names.get(user, user), names.get(product, product), kind, when.replace(day=when.day + days))
        for user, product, kind, when in events
    )


BY_SKU = {"501": "MUG-B", "502": "TEA-G"}

GA4_EVENTS: list[dict[str, object]] = [
    {
        "event_date": "20240201", "event_timestamp": "1706774400000000", "event_name": "view_item",
        "user_pseudo_id": "111.222", "user_id": None, "geo": {"city": "Paris", "country": "France"},
        "items": [{"item_id": "P1", "item_name": "Blue Mug", "item_brand": "Potter", "item_category": "Mugs",
                   "price": 10.0, "quantity": None}],
    },
    {
        "event_date": "20240201", "event_timestamp": "1706774500000000", "event_name": "page_view",
        "user_pseudo_id": "111.222", "user_id": None, "geo": {"city": "Paris", "country": "France"}, "items": [],
    },
    {
        "event_date": "20240201", "event_timestamp": "1706774600000000", "event_name": "purchase",
        "user_pseudo_id": "111.222", "user_id": "ada", "geo": {"city": "Paris", "country": "France"},
        "items": [
            {"item_id": "P1", "item_name": "Blue Mug", "item_brand": "Potter", "item_category": "Mugs", "price": 10.0,
             "quantity": 2},
            {"item_id": "P2", "item_name": "Tea", "item_brand": None, "item_category": "Drinks", "price": 5.0,
             "quantity": 1},
        ],
    },
]  # fmt: skip
GA4_RESULT: tuple[Event, ...] = (
    ("111.222", "P1", "view", moment("2024-02-01T08:00:00")),
    ("ada", "P1", "purchase", moment("2024-02-01T08:03:20")),
    ("ada", "P2", "purchase", moment("2024-02-01T08:03:20")),
)
GA4_FLAT = """\
event_date,event_timestamp,event_name,user_pseudo_id,user_id,item_id,item_name,item_category,price,quantity
20240201,1706774400000000,view_item,111.222,,P1,Blue Mug,Mugs,10,
20240201,1706774500000000,scroll,111.222,,,,,,
20240201,1706774600000000,purchase,111.222,ada,P1,Blue Mug,Mugs,10,2
20240201,1706774600000000,purchase,111.222,ada,P2,Tea,Drinks,5,1
"""
GA4_PRODUCTS = (("P1", "Blue Mug", "Mugs", 10.0, True), ("P2", "Tea", "Drinks", 5.0, True))


def write_ga4_lines(folder: Path) -> None:
    lines = "".join(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n" for row in GA4_EVENTS)
    write_text(folder / "events_20240201.json.gz", lines)


def write_ga4_parquet(folder: Path) -> None:
    rows = [{**row, "event_timestamp": int(str(row["event_timestamp"]))} for row in GA4_EVENTS]
    pq.write_table(pa.Table.from_pylist(rows), folder / "events_20240201.parquet")


def files(**texts: str) -> Callable[[Path], None]:
    """A writer of CSV files by their names without ``.csv``."""

    def write(folder: Path) -> None:
        for name, text in texts.items():
            write_text(folder / f"{name}.csv", text)

    return write


EXPORTS = [
    Export(
        "shopify", files(orders_export_1=SHOPIFY), "shopify",
        (
            ("ada@example.com", "MUG-B", "purchase", moment("2024-01-15T15:30:00")),
            ("ada@example.com", "TEA-G", "purchase", moment("2024-01-15T15:30:00")),
            ("ada@example.com", "MUG-B", "purchase", moment("2024-01-16T14:00:00")),
            ("cleo@example.com", "Gift card", "purchase", moment("2024-01-20T15:00:00")),
        ),
        ("cancelled or refunded order", "cancelled or refunded order", "order without a customer", "cancelled order",
         "test order"),
        (("Gift card", "Gift card", None, 5.0, True), ("MUG-B", "Blue Mug", None, 10.0, True)),
    ),
    Export(
        "woocommerce items", files(orders=WOO_ITEMS, wc_products=WOO_PRODUCTS), "woocommerce", TWO_ORDERS,
        ("cancelled order",),
        (("501", "Blue Mug", "Kitchen", 10.0, True), ("502", "Green Tea", "Drinks", 4.5, False)),
    ),
    Export(
        "woocommerce line_item columns", files(order_export=WOO_LINE_ITEMS), "woocommerce",
        renamed(TWO_ORDERS, {}, days=12), ("cancelled order",), (("501", "Blue Mug", None, None, True),),
    ),
    Export(
        "woocommerce analytics", files(orders=WOO_ANALYTICS), "woocommerce",
        renamed(TWO_ORDERS, {"501": "Blue Mug", "502": "Tea, green", "ada@example.com": "Ada L",
                             "bob@example.com": "Bob R"}),
        ("cancelled order",),
    ),
    Export(
        "woocommerce advanced export", files(orders=WOO_ADVANCED), "woocommerce", renamed(TWO_ORDERS, BY_SKU),
        ("cancelled order",), (("MUG-B", "Blue Mug", None, 10.0, True), ("TEA-G", "Green Tea", None, 5.5, True)),
    ),
    Export(
        "magento", files(sales_order_items=MAGENTO, catalog_product=MAGENTO_PRODUCTS), "magento",
        renamed(TWO_ORDERS, BY_SKU), ("part of a configurable product", "cancelled order"),
        (("MUG-B", "Blue Mug", "Kitchen", 10.0, True), ("TEA-G", "Green Tea", "Drinks", 4.5, False)),
    ),
    Export("ga4 json lines", write_ga4_lines, "ga4", GA4_RESULT, ("the event is no interaction",), GA4_PRODUCTS),
    Export("ga4 parquet", write_ga4_parquet, "ga4", GA4_RESULT, ("the event is no interaction",), GA4_PRODUCTS),
    Export("ga4 flat", files(ga4=GA4_FLAT), "ga4", GA4_RESULT, ("the event is no interaction",), GA4_PRODUCTS),
    Export(
        "personalize",
        files(
            interactions="USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE\n1,a,1706774400,View\n1,a,1706774500,Purchase\n",
            items="ITEM_ID,PRICE,CATEGORY_L1,TITLE\na,9.5,Mugs,Blue Mug\n", users="USER_ID,AGE,GENDER\n1,30,F\n",
        ),
        "personalize",
        (("1", "a", "view", moment("2024-02-01T08:00:00")), ("1", "a", "purchase", moment("2024-02-01T08:01:40"))),
        products=(("a", "Blue Mug", "Mugs", 9.5, True),),
    ),
    Export(
        "gorse",
        files(
            feedback="feedback_type,user_id,item_id,time_stamp\nread,1,a,2024-02-01 08:00:00 +0000 UTC\n"
                     "star,1,a,2024-02-01 08:01:40 +0000 UTC\n",
            items='item_id,is_hidden,categories,time_stamp,labels,description\na,false,"[""Mugs""]",,,Blue Mug\n'
                  'b,true,Drinks|Hot,,,Tea\n',
            users='user_id,labels\n1,"{""a"":1}"\n',
        ),
        "gorse",
        (("1", "a", "view", moment("2024-02-01T08:00:00")), ("1", "a", "add_to_cart", moment("2024-02-01T08:01:40"))),
        products=(("a", "Blue Mug", "Mugs", None, True), ("b", "Tea", "Drinks", None, False)),
    ),
    Export(
        "retailrocket",
        files(events="timestamp,visitorid,event,itemid,transactionid\n1706774400000,1,view,10,\n"
                     "1706774500000,1,addtocart,10,\n1706774600000,1,transaction,10,4000\n"),
        "retailrocket",
        (("1", "10", "view", moment("2024-02-01T08:00:00")), ("1", "10", "add_to_cart", moment("2024-02-01T08:01:40")),
         ("1", "10", "purchase", moment("2024-02-01T08:03:20"))),
    ),
    Export(
        "recsys challenge", lambda folder: write_text(
            folder / "yoochoose-clicks.dat", "1,2014-04-07T10:51:09.000Z,214536502,0\n1,2014-04-07T10:54:09.000Z,7,S\n"
        ),
        "session_clicks",
        (("1", "214536502", "view", moment("2014-04-07T10:51:09")), ("1", "7", "view", moment("2014-04-07T10:54:09"))),
    ),
    Export(
        "usual column names", files(log="customer;article_id;when;action;created_at;amount\n"
                                        'A1;x;;viewed;05.02.2024 08:00;"9,50"\nA1;x;;bought;06.02.2024 08:00;"9,50"\n'),
        "columns",
        (("A1", "x", "view", moment("2024-02-05T08:00:00")), ("A1", "x", "purchase", moment("2024-02-06T08:00:00"))),
    ),
]  # fmt: skip
