"""What each shop's format means, value by value, on the fixture shops; and the real shops against pandas."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from statistics import median

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.ingest.derived import medians, most_frequent
from recsys_assets.ingest.preset_steps import parse_category, parse_price
from recsys_assets.ingest.registry import open_source
from recsys_assets.ingest.source import SourceError
from tests.ingest.shops import (
    AMAZON_2014,
    RETAIL_HEADER,
    write_amazon_2014,
    write_amazon_2023,
    write_ml_1m,
    write_ml_100k,
    write_retail,
    write_text,
)


def test_online_retail_lines(tmp_path: Path) -> None:
    write_retail(tmp_path)
    source = open_source("online_retail", str(tmp_path))
    day = source.read_day(date(2010, 12, 1))
    ids = day.interactions["interaction_id"].to_pylist()
    assert [value.rpartition("-")[2] for value in ids] == ["1", "2", "1", "1"]
    assert len({value.rpartition("-")[0] for value in ids}) == 3  # the second line repeats the first, and is a sale
    assert day.interactions.slice(3).to_pylist() == [
        {
            "interaction_id": ids[3],
            "user_id": "13748",
            "product_id": "22086",
            "interaction_type": "purchase",
            "timestamp": datetime(2010, 12, 1, 9, tzinfo=UTC),
            "price": 2.55,
            "quantity": 80.0,
        }
    ]
    aside = day.set_aside.to_pylist()
    assert [(row["source_row"], row["reason"]) for row in aside] == [
        (4, "missing customer"),
        (5, "cancellation"),  # its code is no product and its quantity negative too: the first rule counts
        (6, "non-product stock code"),
        (7, "non-product stock code"),
        (8, "non-product stock code"),
        (10, "quantity not positive"),
        (11, "unit price not positive"),
    ]
    assert aside[0]["source_file"] == "2010-12-01.csv"
    assert json.loads(aside[0]["raw"])["StockCode"] == "85123a"


def test_online_retail_catalogue_and_customers(tmp_path: Path) -> None:
    write_retail(tmp_path)
    source = open_source("online_retail", str(tmp_path))
    products = {row["product_id"]: row for row in source.products().to_pylist()}
    assert set(products) == {"85123A", "71053", "22086"}
    assert products["85123A"]["name"] == "WHITE HANGING HEART"
    assert products["85123A"]["price"] == pytest.approx((2.55 + 2.75) / 2)  # 2.55, 2.55, 2.75, 2.95
    assert products["71053"]["name"] == 'METAL "LANTERN", WHITE'
    assert products["22086"]["name"] is None
    drop = tmp_path / "2010-12-01.csv"
    drop.write_text(drop.read_text().replace("80,2010-12-01 09:00:00,2.55", "80,2010-12-01 09:00:00,12.55"))
    corrected = {row["product_id"]: row["price"] for row in source.products().to_pylist()}
    assert corrected["22086"] == 12.55
    assert {row["user_id"]: row["location"] for row in source.users().to_pylist()} == {
        "17850": "United Kingdom",
        "13748": "United Kingdom",
        "12583": "France",
    }


def test_online_retail_leaves_what_is_no_number_to_the_quality_suite(tmp_path: Path) -> None:
    line = "536365,85123A,HEART,six,2010-12-01 08:26:00,,17850.0,United Kingdom"
    write_text(tmp_path / "2010-12-01.csv", f"{RETAIL_HEADER}{line}\ntorn,row\n")
    day = open_source("online_retail", str(tmp_path)).read_day(date(2010, 12, 1))
    assert day.interactions.select(["quantity", "price"]).to_pylist() == [{"quantity": "six", "price": None}]
    assert day.set_aside.select(["source_row", "reason"]).to_pylist() == [
        {"source_row": 2, "reason": "malformed row: 2 fields where the header has 8"}
    ]
    assert day.rows_read == 2


def key_values(pairs: Sequence[tuple[str, object]], kind: pa.DataType) -> pa.Table:
    return pa.table({"k": pa.array([k for k, _ in pairs], pa.string()), "v": pa.array([v for _, v in pairs], kind)})


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.sampled_from("xyz")), max_size=12))
def test_most_frequent_against_counting(pairs: list[tuple[str, str | None]]) -> None:
    expected = {}
    for key in {k for k, v in pairs if v is not None}:
        values = [v for k, v in pairs if k == key and v is not None]
        expected[key] = min(set(values), key=lambda v: (-values.count(v), v))
    found = most_frequent(key_values(pairs, pa.string()), "k", "v")
    assert dict(zip(found["k"].to_pylist(), found["v"].to_pylist(), strict=True)) == expected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(-50, 50)), max_size=15))
def test_medians_against_the_standard_library(pairs: list[tuple[str, int | None]]) -> None:
    keys = {k for k, v in pairs if v is not None}
    expected = {key: median(Fraction(v) for k, v in pairs if k == key and v is not None) for key in keys}
    found = medians(key_values(pairs, pa.float64()), "k", "v")
    assert dict(zip(found["k"].to_pylist(), found["v"].to_pylist(), strict=True)) == expected


def test_amazon_2014(tmp_path: Path) -> None:
    write_amazon_2014(tmp_path)
    source = open_source("amazon_reviews", str(tmp_path))
    second = source.read_day(date(2013, 6, 2)).interactions
    assert [value.rpartition("-")[2] for value in second["interaction_id"].to_pylist()] == ["1", "2"]
    assert second["interaction_type"].to_pylist() == ["rating", "rating"]
    assert second["rating"].to_pylist() == [1.0, 1.0]
    products = source.products().to_pylist()
    assert [row["product_id"] for row in products] == ["B1", "B2", "B9"]
    soap, only_reviewed, never_reviewed = products
    assert (soap["name"], soap["category"], soap["brand"], soap["price"]) == ("Soap & Co", "Bath", "Acme", 12.99)
    assert (only_reviewed["name"], only_reviewed["available"]) == (None, False)  # in no catalogue: not sold
    assert never_reviewed["category"] == "Beauty"


def test_amazon_2023(tmp_path: Path) -> None:
    write_amazon_2023(tmp_path)
    source = open_source("amazon_reviews", str(tmp_path))
    (event,) = source.read_day(date(2013, 6, 1)).interactions.to_pylist()
    assert event["product_id"] == "B1"
    assert event["timestamp"] == datetime(2013, 6, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    soap = source.products().to_pylist()[0]
    assert soap == {
        "product_id": "B1",
        "name": "Soap",
        "category": "All Beauty",
        "brand": "Acme",
        "price": 1299.5,
        "rating": 4.2,
        "num_reviews": 17,
        "available": True,
        "image_url": None,
    }


def test_amazon_lines_that_are_no_reviews_are_kept_aside(tmp_path: Path) -> None:
    good = json.dumps(AMAZON_2014[0])
    no_user = json.dumps({"asin": "B1", "overall": "great", "unixReviewTime": 1370131200})
    write_text(tmp_path / "reviews.json", f"{good}\nnonsense\n\n[1]\n{no_user}\n")
    source = open_source("amazon_reviews", str(tmp_path))
    first, second = (source.read_day(day) for day in source.days())
    assert first.set_aside.select(["source_row", "reason"]).to_pylist() == [
        {"source_row": 2, "reason": "malformed row: no JSON object"},
        {"source_row": 4, "reason": "malformed row: no JSON object"},
    ]
    assert (first.rows_read, second.rows_read) == (3, 1)
    assert second.interactions.select(["user_id", "rating"]).to_pylist() == [{"user_id": None, "rating": "great"}]


@pytest.mark.parametrize(
    ("value", "price"),
    [
        ("$12.99", 12.99),
        ("$1,299.00 - $2,000.00", 1299.0),
        ("7", 7.0),
        (" 3.50 ", 3.5),
        (None, None),
        ("", None),
        ("from 3.50", None),
        (".a-box { color: red }", None),
    ],
)
def test_amazon_prices(value: object, price: float | None) -> None:
    assert parse_price(value) == price


@pytest.mark.parametrize(
    ("item", "category"),
    [
        ({"categories": [["Beauty", "Hair", "Brushes"], ["Other"]]}, "Hair"),
        ({"category": ["Beauty"]}, "Beauty"),
        ({"category": [], "main_cat": "All &amp; more"}, "All & more"),
        ({"categories": "Beauty"}, "Beauty"),
        ({"category": ["", " Beauty ", "Hair"]}, "Hair"),
        ({}, None),
    ],
)
def test_amazon_categories(item: dict[str, object], category: str | None) -> None:
    assert parse_category(item) == category


def test_movielens_1m(tmp_path: Path) -> None:
    write_ml_1m(tmp_path)
    source = open_source("movielens", str(tmp_path))
    assert source.days() == [date(2000, 12, 31), date(2001, 1, 1)]
    events = source.read_day(date(2000, 12, 31)).interactions.to_pylist()
    assert events[0] == {
        "interaction_id": events[0]["interaction_id"],
        "user_id": "1",
        "product_id": "10",
        "interaction_type": "rating",
        "timestamp": datetime(2000, 12, 31, 22, 12, 40, tzinfo=UTC),
        "rating": 5.0,
    }
    products = source.products().to_pylist()
    assert [(row["name"], row["category"]) for row in products] == [
        ("Les Misérables (1995)", "Drama"),
        ('"Great Performances" (1971)', "Comedy"),
    ]
    assert [(u["user_id"], u["gender"], u["age"], u["location"]) for u in source.users().to_pylist()] == [
        ("1", "F", 1, "48067"),
        ("2", "M", 56, "70072-1234"),
    ]
    (tmp_path / "users.dat").unlink()
    assert source.users()["user_id"].to_pylist() == ["1", "2"]
    (tmp_path / "u.data").write_text("1\t2\t3\t978300760\n")
    with pytest.raises(SourceError, match="both"):
        open_source("movielens", str(tmp_path))


def test_movielens_100k(tmp_path: Path) -> None:
    write_ml_100k(tmp_path)
    source = open_source("movielens", str(tmp_path))
    assert [source.read_day(day).rows_read for day in source.days()] == [2, 1]
    products = source.products().to_pylist()
    assert [(row["product_id"], row["name"], row["category"]) for row in products] == [
        ("242", "Kolya (1996)", "Comedy"),  # flags 5 (Comedy) and 14 (Romance)
        ("302", "L.A. Confidential", None),  # flag 0: unknown
    ]
    assert source.users().to_pylist()[0] == {
        "user_id": "186",
        "age": 39,
        "gender": "F",
        "location": "00000",
        "join_date": None,
    }


def retail_with_pandas(folder: Path) -> pd.DataFrame:
    """All lines with their reason, by the shop's stated rules, computed without any of the source's code."""
    parts = [
        pd.read_csv(path, dtype=str, keep_default_na=False).assign(day=path.stem) for path in sorted(folder.iterdir())
    ]
    lines = pd.concat(parts, ignore_index=True)
    no_product = re.compile("post|m|d|dot|bank charges|pads|cruk|c2|amazonfee|s|b|gift_.*", re.IGNORECASE)

    def reason(invoice: str, code: str, quantity: str, price: str, customer: str) -> str:
        if customer == "":
            return "missing customer"
        if invoice[0] == "C":
            return "cancellation"
        if no_product.fullmatch(code):
            return "non-product stock code"
        if int(quantity) <= 0:
            return "quantity not positive"
        return "unit price not positive" if float(price) <= 0 else ""

    columns = [lines[name] for name in ("InvoiceNo", "StockCode", "Quantity", "UnitPrice", "CustomerID")]
    lines["reason"] = [reason(*values) for values in zip(*columns, strict=True)]
    return lines


@pytest.mark.slow
def test_the_real_online_retail_reconciles(shared_data: Path) -> None:
    folder = shared_data / "online_retail"
    source = open_source("online_retail", str(folder))
    days = {day: source.read_day(day) for day in source.days()}
    oracle = retail_with_pandas(folder)
    assert len(days) == 305
    assert sum(day.rows_read for day in days.values()) == len(oracle) == 541_909

    set_aside = pa.concat_tables([day.set_aside for day in days.values()]).to_pandas()
    assert (
        set_aside["reason"].value_counts().to_dict()
        == oracle.loc[oracle.reason != "", "reason"].value_counts().to_dict()
    )
    per_day = oracle[oracle.reason == ""].groupby("day").size()
    assert {str(day): read.interactions.num_rows for day, read in days.items()} == per_day.to_dict()

    events = pa.concat_tables([day.interactions for day in days.values()]).to_pandas()
    kept = oracle[oracle.reason == ""].reset_index(drop=True)
    assert events["interaction_id"].is_unique
    assert (events["user_id"] == kept["CustomerID"].str[:-2]).all()
    assert (events["product_id"] == kept["StockCode"].str.upper()).all()
    assert (events["timestamp"].dt.tz_localize(None) == pd.to_datetime(kept["InvoiceDate"])).all()
    assert (events["price"] == kept["UnitPrice"].astype(float)).all()
    assert (events["quantity"] == kept["Quantity"].astype(float)).all()

    products, users = source.products().to_pandas(), source.users().to_pandas()
    assert (events["product_id"].nunique(), events["user_id"].nunique()) == (3_659, 4_334)
    assert (len(products), len(users)) == (3_659, 4_334)
    prices = kept["UnitPrice"].astype(float).groupby(kept["StockCode"].str.upper()).median()
    assert products["price"].tolist() == pytest.approx(prices.loc[products["product_id"]].tolist(), rel=1e-15)
    described = kept[kept["Description"].str.strip() != ""]
    cleaned = described["Description"].str.split().str.join(" ")
    names = cleaned.groupby(described["StockCode"].str.upper()).agg(lambda texts: texts.mode().iloc[0])
    assert products["name"].tolist() == names.loc[products["product_id"]].tolist()
    assert users["location"].notna().all()


def test_the_real_retailrocket_buyers_reconcile(shared_data: Path) -> None:
    source = open_source("canonical", str(shared_data / "retailrocket_buyers"))
    events = pa.concat_tables([source.read_day(day).interactions for day in source.days()]).to_pandas()
    raw = pd.read_csv(shared_data / "retailrocket_buyers" / "interactions.csv")
    assert events["interaction_type"].value_counts().to_dict() == {
        "view": 75_374,
        "add_to_cart": 12_456,
        "purchase": 9_551,
    }
    assert len(events) == len(raw) == 97_381
    merged = events.merge(raw, on="interaction_id", suffixes=("", "_raw"), validate="one_to_one")
    assert len(merged) == len(raw)
    assert (merged["timestamp"] == pd.to_datetime(merged["timestamp_raw"], utc=True)).all()
    assert (source.products().num_rows, source.users().num_rows) == (29_905, 2_174)
