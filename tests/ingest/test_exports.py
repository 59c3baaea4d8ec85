"""Exports of shop systems are recognised by their headers and mean what their vendors say, without a mapping."""

import gzip
import zipfile
from collections import Counter
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from recsys_assets.ingest.detection import find_mapping
from recsys_assets.ingest.files import Folder
from recsys_assets.ingest.mapped_source import MappedSource
from recsys_assets.ingest.mapping import format_mapping, parse_mapping
from recsys_assets.ingest.registry import open_source
from recsys_assets.ingest.source import Source, SourceError
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS
from tests.ingest.exports import EXPORTS, SHOPIFY, Event, Export
from tests.ingest.shops import CANONICAL_HEADER, CANONICAL_ROWS, write_text


def read(source: Source) -> tuple[pa.Table, pa.Table]:
    """All interactions in order of time, and all rows set aside."""
    days = [source.read_day(day) for day in source.days()]
    events = pa.concat_tables([INTERACTIONS.conform(day.interactions) for day in days])
    return events.sort_by("timestamp"), pa.concat_tables([day.set_aside for day in days])


def as_events(table: pa.Table) -> list[Event]:
    return [(row["user_id"], row["product_id"], row["interaction_type"], row["timestamp"]) for row in table.to_pylist()]


@pytest.fixture(params=EXPORTS, ids=lambda export: export.name)
def export(request: pytest.FixtureRequest, tmp_path: Path) -> Export:
    found: Export = request.param
    found.write(tmp_path)
    return found


def test_an_export_is_recognised_and_means_what_its_vendor_says(export: Export, tmp_path: Path) -> None:
    source = open_source("auto", str(tmp_path))
    assert source.name == export.preset
    events, aside = read(source)
    assert as_events(events) == sorted(export.events, key=lambda event: event[3])
    assert Counter(aside["reason"].to_pylist()) == Counter(export.aside)
    products = PRODUCTS.conform(source.products()).to_pylist()
    assert {row["product_id"] for row in products} >= {event[1] for event in export.events}
    shown = [(r["product_id"], r["name"], r["category"], r["price"], r["available"]) for r in products]
    assert shown[: len(export.products)] == list(export.products)
    assert {row["user_id"] for row in USERS.conform(source.users()).to_pylist()} >= {e[0] for e in export.events}


def test_its_mapping_can_be_written_edited_and_read_again(export: Export, tmp_path: Path) -> None:
    mapping = open_source("auto", str(tmp_path)).mapping  # type: ignore[attr-defined]
    text = format_mapping(mapping)
    assert parse_mapping(text, "mapping.toml") == mapping
    (tmp_path / "mapping.toml").write_text(text)
    assert as_events(read(open_source("auto", str(tmp_path)))[0]) == sorted(export.events, key=lambda event: event[3])


def test_a_copy_of_a_file_counts_once(tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    write_text(once / "orders.csv", SHOPIFY)
    write_text(twice / "orders.csv", SHOPIFY)
    write_text(twice / "orders (1).csv", SHOPIFY)
    (events, _), (same, aside) = (read(open_source("auto", str(folder))) for folder in (once, twice))
    assert same["interaction_id"].to_pylist() == events["interaction_id"].to_pylist()
    assert Counter(aside["reason"].to_pylist())["the same row is in an earlier file"] == events.num_rows


def test_one_file_a_zip_and_gzip_read_like_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_text(folder / "orders.csv", SHOPIFY)
    expected, _ = read(open_source("auto", str(folder)))
    with zipfile.ZipFile(tmp_path / "orders.zip", "w") as archive:
        archive.write(folder / "orders.csv", "export/orders.csv")
        archive.writestr("__MACOSX/._orders.csv", "junk")
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress(SHOPIFY.encode()))
    (tmp_path / "notes.csv").write_text("nothing,here\n1,2\n")
    for name in ("folder/orders.csv", "orders.zip", "orders.csv.gz"):
        assert read(open_source("auto", str(tmp_path / name)))[0].equals(expected), name


def test_a_semicolon_a_decimal_comma_and_a_byte_order_mark_are_found(tmp_path: Path) -> None:
    rows = [row.replace(",", ";").replace("9.99", "9,99") for row in CANONICAL_ROWS]
    write_text(tmp_path / "interactions.csv", "\ufeff" + CANONICAL_HEADER.replace(",", ";") + "\n".join(rows) + "\n")
    events, _ = read(open_source("auto", str(tmp_path)))
    assert events["price"].to_pylist() == [None, 9.99, None, 9.99]


@pytest.mark.parametrize(("first", "expected"), [("13/02/2024", [5, 13]), ("02/13/2024", [2, 13])])
def test_the_order_of_day_and_month_is_taken_from_dates_that_tell(
    tmp_path: Path, first: str, expected: list[int]
) -> None:
    rows = [f"a,x,{first} 10:00", "a,y,05/02/2024 10:00" if expected[0] == 5 else "a,y,02/02/2024 10:00"]
    write_text(tmp_path / "log.csv", "user,item,date\n" + "\n".join(rows) + "\n")
    assert [day.day for day in open_source("auto", str(tmp_path)).days()] == expected


@pytest.mark.parametrize(
    ("text", "price"),
    [("€12.50", 12.5), ("$1,299.00", 1299.0), ("12.50 EUR", 12.5), ("1 299.50", 1299.5), ("0.5", 0.5)],
)
def test_prices_as_shops_write_them(tmp_path: Path, text: str, price: float) -> None:
    header = "interaction_id,user_id,product_id,interaction_type,timestamp,price,quantity\n"
    write_text(tmp_path / "interactions.csv", f'{header}e1,u,p,purchase,2024-01-01 10:00:00 UTC,"{text}",0.5\n')
    write_text(tmp_path / "products.csv", f'product_id,price,available\np,"{text}",yes\nq,,No\n')
    source = open_source("auto", str(tmp_path))
    (event,) = read(source)[0].to_pylist()
    assert (event["price"], event["quantity"], event["timestamp"].hour) == (price, 0.5, 10)
    assert [(row["price"], row["available"]) for row in source.products().to_pylist()] == [(price, True), (None, False)]


@pytest.mark.parametrize("missing", ["NULL", "nan", "None", r"\N", "undefined", "  "])
def test_a_text_for_nothing_is_no_shopper(tmp_path: Path, missing: str) -> None:
    rows = [f"e{i},{missing if i % 3 == 0 else f'u{i}'},p,view,2024-01-01" for i in range(60)]
    header = "interaction_id,user_id,product_id,interaction_type,timestamp\n"
    write_text(tmp_path / "interactions.csv", header + "\n".join(rows) + "\n")
    source = open_source("auto", str(tmp_path))
    events, aside = read(source)
    assert (events.num_rows, aside.num_rows) == (40, 20)
    assert set(aside["reason"].to_pylist()) == {"no user: a guest or a visitor without an id"}
    assert missing not in source.users()["user_id"].to_pylist()


def test_padded_ids_are_one_shopper_and_one_product(tmp_path: Path) -> None:
    header = "interaction_id,user_id,product_id,interaction_type,timestamp\n"
    write_text(tmp_path / "interactions.csv", f"{header}1,u ,p,view,2024-01-01\n2, u, p,view,2024-01-01\n")
    write_text(tmp_path / "products.csv", "product_id,name\np  ,Mug\n")
    source = open_source("auto", str(tmp_path))
    events, _ = read(source)
    assert set(events["user_id"].to_pylist()) == {"u"}
    assert source.products()["product_id"].to_pylist() == ["p"]


def test_ids_that_became_floats_are_whole_again_or_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "user_id": ["u1", "u2"], "product_id": [4006381333931.0, 4006381333948.0],
            "interaction_type": ["view", "view"], "timestamp": ["2024-01-01", "2024-01-01"],
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "interactions.parquet")
    events, _ = read(open_source("auto", str(tmp_path)))
    assert sorted(events["product_id"].to_pylist()) == ["4006381333931", "4006381333948"]
    broken = table.set_column(1, "product_id", pa.array([1.5, 2.0]))
    pq.write_table(broken, tmp_path / "interactions.parquet")
    with pytest.raises(SourceError, match=r"interactions\.parquet: row 1, column product_id: .*1\.5.*export the ids"):
        read(open_source("auto", str(tmp_path)))
    (tmp_path / "interactions.parquet").unlink()
    rows = "u1,4.00638E+12,view,2024-01-01\nu2,4.00639E+12,view,2024-01-01\n"
    write_text(tmp_path / "interactions.csv", "user_id,product_id,interaction_type,timestamp\n" + rows)
    with pytest.raises(SourceError, match=r"row 1, column product_id: a spreadsheet rounded the ids"):
        read(open_source("auto", str(tmp_path)))


def test_odd_values_in_json_lines_do_not_stop_the_import(tmp_path: Path) -> None:
    write_text(
        tmp_path / "reviews.jsonl", '{"user_id": "a", "parent_asin": "B1", "rating": 5, "timestamp": 1693704876000}\n'
    )
    lines = [
        '{"parent_asin": "B1", "title": "Cute cup \\ud83d", "rating_number": NaN}',
        '{"parent_asin": "B2", "title": "x"}',
    ]
    write_text(tmp_path / "meta_reviews.jsonl", "\n".join(lines) + "\n")
    first = open_source("auto", str(tmp_path)).products().to_pylist()[0]
    assert (first["name"], first["num_reviews"]) == ("Cute cup \ufffd", None)


def test_rows_without_a_day_are_judged_against_the_whole_log(tmp_path: Path) -> None:
    header = "interaction_id,user_id,product_id,interaction_type,timestamp\n"
    good = [f"e{i},u{i % 9},p,view,2024-01-{1 + i % 28:02d}" for i in range(600)]
    zero = [f"z{i},u1,p,view,0000-00-00 00:00:00" for i in range(6)]
    write_text(tmp_path / "interactions.csv", header + "\n".join([*zero, *good]) + "\n")
    events, aside = read(open_source("auto", str(tmp_path)))
    assert (events.num_rows, aside["reason"].to_pylist()) == (600, ["no usable timestamp"] * 6)
    write_text(tmp_path / "interactions.csv", header + "\n".join([*zero, *good[:50]]) + "\n")
    with pytest.raises(SourceError, match=r"no usable timestamp in 6 of 56 rows, the first is row 1 .*0000-00-00"):
        read(open_source("auto", str(tmp_path)))


def test_products_that_only_events_name_are_known_but_not_sold(tmp_path: Path) -> None:
    header = "interaction_id,user_id,product_id,interaction_type,timestamp\n"
    write_text(tmp_path / "interactions.csv", f"{header}1,u,p,view,2024-01-01\n2,u,gone,view,2024-01-01\n")
    write_text(tmp_path / "products.csv", "product_id,name\np,Mug\n")
    products = open_source("auto", str(tmp_path)).products().to_pylist()
    assert [(row["product_id"], row["available"]) for row in products] == [("gone", False), ("p", True)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("preset = ", "not readable as TOML"),
        ('[interactions]\nfiels = ["x"]', "fiels"),
        ('[interactions.columns]\ncustomer = "x"', "customer: no such canonical column"),
        ('[interactions.event_names]\nlook = "seen"', "choose one of view"),
        ('[interactions]\nfiles = ["nothing*.csv"]', "no file matches nothing"),
        (
            '[interactions.columns]\ninteraction_type = "Art"\n[interactions.constants]\ninteraction_type = "view"',
            r'interaction_type = "Art" under \[interactions.columns\] and interaction_type = "view" under .*delete',
        ),
    ],
)
def test_a_mapping_that_cannot_be_meant(tmp_path: Path, text: str, complaint: str) -> None:
    write_text(tmp_path / "orders.csv", SHOPIFY)
    (tmp_path / "mapping.toml").write_text(text)
    with pytest.raises(SourceError, match=complaint):
        open_source("auto", str(tmp_path)).days()


def test_columns_in_other_scripts_are_not_taken_for_one_another(tmp_path: Path) -> None:
    write_text(tmp_path / "log.csv", "товар,клиент,время\np,u,2024-01-01\n")
    columns = {"user_id": "клиент", "product_id": "товар", "timestamp": "время"}
    mapping = find_mapping(Folder(str(tmp_path)), columns=columns)
    events = MappedSource(Folder(str(tmp_path)), mapping).read_day(date(2024, 1, 1)).interactions
    assert (events["user_id"].to_pylist(), events["product_id"].to_pylist()) == (["u"], ["p"])
