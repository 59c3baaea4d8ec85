"""Small shops written as files in each source's format, and how many rows each one holds."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recsys_assets.ingest.registry import open_source
from recsys_assets.ingest.source import Source

RETAIL_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
RETAIL_DAYS = {
    "2010-12-01": [
        "536365,85123A,WHITE HANGING  HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        "536365,85123A,WHITE HANGING  HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        '536365,71053,"METAL ""LANTERN"", WHITE",6,2010-12-01 08:26:00,3.39,17850.0,United Kingdom',
        "536366,85123a,HEART,2,2010-12-01 09:00:00,2.95,,United Kingdom",
        "C536379,D,Discount,-1,2010-12-01 09:41:00,27.50,14527.0,United Kingdom",
        "536370,POST,POSTAGE,3,2010-12-01 08:45:00,18.00,12583.0,France",
        "536370,m,Manual,1,2010-12-01 08:45:00,18.00,12583.0,France",
        "536370,gift_0001_20,Dotcomgiftshop,1,2010-12-01 08:45:00,16.67,12583.0,France",
        "536371,22086,,80,2010-12-01 09:00:00,2.55,13748,United Kingdom",
        "536372,22632,HAND WARMER,0,2010-12-01 09:01:00,1.85,17850.0,United Kingdom",
        "536372,22633,HAND WARMER,6,2010-12-01 09:01:00,0.0,17850.0,United Kingdom",
    ],
    "2010-12-03": [
        "536400,85123A,WHITE HANGING HEART,3,2010-12-03 10:00:00,2.95,17850.0,United Kingdom",
        "536401,85123A,HEART,3,2010-12-03 11:00:00,2.75,12583.0,France",
    ],
}

CANONICAL_HEADER = "interaction_id,user_id,product_id,interaction_type,timestamp,rating,price,quantity\n"
CANONICAL_ROWS = [
    "e1,u1,p1,view,2024-02-28T23:59:59Z,,,",
    "e2,u1,p1,purchase,2024-02-29T00:00:00Z,,9.99,2",
    "e3,u2,p2,rating,2024-02-29T12:00:00.250Z,4.5,,",
    "e4,u2,p1,add_to_cart,2024-03-02T01:00:00Z,,9.99,1",
]
PRODUCTS_CSV = "product_id,name,price\np1,Lamp,9.99\np2,Chair,\np3,Table,50\n"
USERS_CSV = "user_id,age,join_date\nu1,30,2023-05-01\nu2,,\n"

AMAZON_2014 = [
    {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1370044800, "reviewText": "fine"},
    {"reviewerID": "A1", "asin": "B2", "overall": 3.0, "unixReviewTime": 1370044800},
    {"reviewerID": "A2", "asin": "B1", "overall": 1.0, "unixReviewTime": 1370131200},
    {"reviewerID": "A2", "asin": "B1", "overall": 1.0, "unixReviewTime": 1370131200},
]
AMAZON_2014_META = [
    "{'asin': 'B1', 'title': 'Soap &amp; Co', 'price': 12.99, 'brand': 'Acme', 'categories': [['Beauty', 'Bath']]}",
    "{'asin': 'B9', 'title': 'Never reviewed', 'categories': [['Beauty']]}",
]
AMAZON_2023 = [
    {"user_id": "A1", "asin": "X1", "parent_asin": "B1", "rating": 5.0, "timestamp": 1370044800123, "title": "Good"},
    {"user_id": "A2", "asin": "X2", "parent_asin": "B2", "rating": 2.0, "timestamp": 1370131200999, "title": "Bad"},
]
AMAZON_2023_META = [
    {
        "parent_asin": "B1",
        "title": "Soap",
        "store": "Acme",
        "main_category": "All Beauty",
        "categories": [],
        "price": "$1,299.50",
        "average_rating": 4.2,
        "rating_number": 17,
    }
]


@dataclass(frozen=True)
class Shop:
    """A fixture shop: how to write it into a folder, how to open it, and the rows and days it holds."""

    name: str
    write: Callable[[Path], None]
    open: Callable[[str], Source]
    rows: int
    days: int


def write_text(path: Path, text: str, encoding: str = "utf-8") -> None:
    """Write ``text``, gzipped when the name ends in ``.gz``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)


def write_retail(folder: Path) -> None:
    """Two trading days, the second one gzipped."""
    write_text(folder / "2010-12-01.csv", RETAIL_HEADER + "\n".join(RETAIL_DAYS["2010-12-01"]) + "\n")
    write_text(folder / "2010-12-03.csv.gz", RETAIL_HEADER + "\n".join(RETAIL_DAYS["2010-12-03"]) + "\n")


def write_canonical(folder: Path) -> None:
    """One file of interactions, with products and users."""
    write_text(folder / "interactions.csv", CANONICAL_HEADER + "\n".join(CANONICAL_ROWS) + "\n")
    write_text(folder / "products.csv", PRODUCTS_CSV)
    write_text(folder / "users.csv", USERS_CSV)


def write_canonical_hive(folder: Path) -> None:
    """The same interactions in Hive days, without products and users."""
    for row in CANONICAL_ROWS:
        day, key = row.split(",")[4][:10], row.split(",")[0]
        write_text(folder / "interactions" / f"date={day}" / f"{key}.csv.gz", f"{CANONICAL_HEADER}{row}\n")


def write_amazon_2014(folder: Path) -> None:
    """Reviews as JSON, metadata as Python literals, both gzipped."""
    write_text(folder / "reviews_Beauty_5.json.gz", "".join(json.dumps(row) + "\n" for row in AMAZON_2014))
    write_text(folder / "meta_Beauty.json.gz", "\n".join(AMAZON_2014_META))


def write_amazon_2023(folder: Path) -> None:
    """Reviews and metadata as plain ``.jsonl``."""
    write_text(folder / "All_Beauty.jsonl", "".join(json.dumps(row) + "\n" for row in AMAZON_2023))
    write_text(folder / "meta_All_Beauty.jsonl", "".join(json.dumps(row) + "\n" for row in AMAZON_2023_META))


def write_ml_1m(folder: Path) -> None:
    """``.dat`` files; a title with an accent in Latin-1 and one with a quote."""
    write_text(folder / "ratings.dat", "1::10::5::978300760\n1::20::3::978302109\n2::10::4::978390000\n")
    movies = '10::Les Misérables (1995)::Drama|Musical\n20::"Great Performances" (1971)::Comedy\n'
    write_text(folder / "movies.dat", movies, encoding="latin-1")
    write_text(folder / "users.dat", "1::F::1::10::48067\n2::M::56::16::70072-1234\n")


def write_ml_100k(folder: Path) -> None:
    """``u.*`` files."""
    write_text(folder / "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t4\t881250950\n")
    flags = ["|".join("1" if i in on else "0" for i in range(19)) for on in ({5, 14}, {0})]
    items = f"242|Kolya (1996)|24-Jan-1997||http://x|{flags[0]}\n302|L.A. Confidential|01-Jan-1997|||{flags[1]}\n"
    write_text(folder / "u.item", items, encoding="latin-1")
    write_text(folder / "u.user", "196|49|M|writer|55105\n186|39|F|executive|00000\n")


FILE_SHOPS = [
    Shop("canonical", write_canonical, partial(open_source, "canonical"), rows=4, days=3),
    Shop("canonical_hive", write_canonical_hive, partial(open_source, "canonical"), rows=4, days=3),
    Shop("online_retail", write_retail, partial(open_source, "online_retail"), rows=13, days=2),
    Shop("amazon_2014", write_amazon_2014, partial(open_source, "amazon_reviews"), rows=4, days=2),
    Shop("amazon_2023", write_amazon_2023, partial(open_source, "amazon_reviews"), rows=2, days=2),
    Shop("movielens_1m", write_ml_1m, partial(open_source, "movielens"), rows=3, days=2),
    Shop("movielens_100k", write_ml_100k, partial(open_source, "movielens"), rows=3, days=2),
]
