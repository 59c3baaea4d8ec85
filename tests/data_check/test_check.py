"""`recsys check`: what data were taken for, every problem with file, row, value and remedy, and the written mapping."""

import os
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lambda_api.errors import RecsysError
from lambda_api.settings import make_settings
from recsys_assets.data_check import Report, check_source
from recsys_assets.ingest.mapping import parse_mapping
from recsys_assets.ingest.registry import currency_of, open_source
from recsys_deploy.check_command import require_usable_data, save_mapping
from recsys_deploy.homes import settings_of_last_home
from recsys_deploy.run.commands import open_shop
from tests.ingest.exports import EXPORTS, SHOPIFY, Export, write_text
from tests.recsys_command import in_a_process, right_here

HEADER = "interaction_id,user_id,product_id,interaction_type,timestamp,price,quantity\n"
Change = Callable[[int, list[str]], None]


def rows_of(days: int = 30, shoppers: int = 40, change: Change = lambda *_: None) -> list[list[str]]:
    """A log of purchases: each shopper buys one product a day."""
    rows = []
    for number in range(days * shoppers):
        day, user = divmod(number, shoppers)
        moment = (date(2024, 1, 1) + timedelta(days=day)).isoformat() + f"T10:{user % 60:02d}:00Z"
        row = [f"e{number}", f"u{user}", f"p{number % 97}", "purchase", moment, "9.50", "1"]
        change(number, row)
        rows.append(row)
    return rows


def write_log(folder: Path, rows: list[list[str]], name: str = "interactions.csv") -> Path:
    write_text(folder / name, HEADER + "\n".join(",".join(row) for row in rows) + "\n")
    return folder


def put(column: int, value: str, every: int) -> Change:
    def change(number: int, row: list[str]) -> None:
        if number % every == 0:
            row[column] = value

    return change


def problems(report: Report, blocking: bool) -> list[str]:
    return [str(problem) for problem in report.problems if problem.blocking is blocking]


def test_good_data_are_described(tmp_path: Path) -> None:
    report = check_source(str(write_log(tmp_path, rows_of())))
    assert report.can_be_built
    assert not report.problems
    assert report.mapping is not None
    assert report.mapping.preset == "canonical"
    assert (report.rows, report.shoppers, report.products) == (1200, 40, 97)
    assert report.days == (date(2024, 1, 1), date(2024, 1, 30), 30)
    assert report.event_counts == {"purchase": 1200}
    assert report.formats["times"].startswith("ISO 8601, with a zone")
    assert report.evaluation.startswith("yes: 40 known shoppers have a purchase of a product that is new to them")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            put(4, "yesterday", 3),
            ("row 1 below the header, timestamp", "400 of 1,200 rows have no usable timestamp", "'yesterday'"),
        ),
        (put(4, "2199-01-01T00:00:00Z", 9), ("row 1 below the header, timestamp", "lie in the future", "2199")),
        (
            put(2, "", 4),
            (
                "row 1 below the header, product_id",
                "300 of 1,200 rows have no product_id, the first is empty",
                "missing = true",
            ),
        ),
        (
            put(2, "a\0b", 4),
            ("row 1 below the header, product_id", "product_id that cannot be used", "control character"),
        ),
        (
            put(3, "wishlisted", 5),
            (
                "row 1 below the header, interaction_type",
                "'wishlisted' (240)",
                'event_names] in mapping.toml, for example "wishlisted" = "ignore"',
            ),
        ),
        (put(5, "cheap", 2), ("row 1 below the header, price", "600 of 1,200 rows are no number", "'cheap'")),
        (put(6, "-1", 2), ("row 1 below the header, quantity", "are negative", "not_positive")),
    ],
)
def test_a_problem_names_file_row_value_and_remedy(tmp_path: Path, change: Change, words: tuple[str, ...]) -> None:
    report = check_source(str(write_log(tmp_path, rows_of(change=change))))
    (problem,) = problems(report, blocking=True)
    for word in ("interactions.csv", *words):
        assert word in problem
    assert not report.can_be_built


def test_a_few_bad_rows_are_a_warning(tmp_path: Path) -> None:
    report = check_source(str(write_log(tmp_path, rows_of(change=put(5, "-3", 400)))))
    assert report.can_be_built
    (note,) = problems(report, blocking=False)
    assert "3 of 1,200 rows are negative" in note
    assert "quarantined" in note


def test_a_hopeless_folder_is_told_everything_at_once_in_seconds(tmp_path: Path) -> None:
    bad = rows_of(change=lambda n, row: row.__setitem__(slice(2, 6), ["", "looked", "soon", "cheap"]))
    write_log(tmp_path / "interactions", bad, "a.csv")
    write_text(tmp_path / "interactions" / "b.csv", HEADER + "é,1\x81\n", encoding="latin-1")
    (tmp_path / "interactions" / "c.csv").write_bytes(b"")
    write_text(tmp_path / "products.csv", "product_id,price\np1,dear\np1,dearer\np2,dearest\n")
    before = time.process_time()
    report = check_source(str(tmp_path))
    assert time.process_time() - before < 3  # processor time: the machine may be busy
    found = "\n".join(problems(report, blocking=True))
    for word in (
        "b.csv: not UTF-8", "c.csv: the file has zero bytes", "product_id", "looked", "soon", "cheap", "products.price",
    ):  # fmt: skip
        assert word in found, found
    assert report.mapping is not None
    assert report.mapping.interactions.encoding == "utf-8"


@pytest.mark.parametrize("first", [0, 1150])  # in the first rows, or far behind the start of the file
def test_a_windows_file_is_read_at_once(tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one of its rows has a delimiter too many, which Arrow cannot hand over in another encoding."""
    monkeypatch.setattr("recsys_assets.ingest.file_heads.HEAD_BYTES", 5000)
    rows = rows_of(change=lambda n, row: row.__setitem__(2, "Café") if n >= first and n % 3 == 0 else None)
    rows[1199].append("Müll")
    write_text(tmp_path / "interactions.csv", HEADER + "\n".join(map(",".join, rows)) + "\n", encoding="cp1252")
    done = in_a_process("check", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "encoding      cp1252" in done.stdout
    assert "1 malformed row is set aside" in done.stdout and "Müll" in done.stdout
    assert 'encoding = "cp1252"' in (tmp_path / "mapping.toml").read_text()
    for _ in range(2):  # with the mapping, and without
        assert "Café" in open_source("auto", str(tmp_path)).products()["product_id"].to_pylist()
        (tmp_path / "mapping.toml").unlink(missing_ok=True)


def test_files_in_two_encodings_are_read_each_in_its_own_and_damaged_ones_not_at_all(tmp_path: Path) -> None:
    for name, encoding in (("log1.csv", "utf-8"), ("log2.csv", "cp1252")):
        rows = rows_of(change=put(2, "Käse", 3))
        write_text(tmp_path / name, HEADER + "\n".join(map(",".join, rows)) + "\n", encoding=encoding)
    report = check_source(str(tmp_path))
    assert report.mapping is not None and report.mapping.interactions.encoding == "utf-8|cp1252"
    assert (report.can_be_built, report.products) == (True, 98)
    (tmp_path / "log2.csv").unlink()
    text = (tmp_path / "log1.csv").read_bytes()
    (tmp_path / "log1.csv").write_bytes(text.replace("ä".encode(), b"\xc3", 1))
    (problem,) = problems(check_source(str(tmp_path)), blocking=True)
    assert "log1.csv: not UTF-8: byte 0xc3" in problem


def test_one_busy_shopper_is_said(tmp_path: Path) -> None:
    report = check_source(str(write_log(tmp_path, rows_of(90, change=_crawl))))
    (note,) = problems(report, blocking=False)
    assert "'crawler'" in note
    assert "2,400 of 3,600 events (67%)" in note


def _crawl(number: int, row: list[str]) -> None:
    if number % 3:
        row[1] = "crawler"


def test_a_log_that_is_too_short_is_refused_and_a_thin_one_gets_windows(tmp_path: Path) -> None:
    report = check_source(str(write_log(tmp_path / "short", rows_of(days=2))))
    (problem,) = problems(report, blocking=True)
    assert "no model can be evaluated" in problem
    thin = check_source(str(write_log(tmp_path / "thin", rows_of(days=8, shoppers=12))))
    assert thin.evaluation.startswith("hardly")
    few = check_source(str(write_log(tmp_path / "few", [row for i, row in enumerate(rows_of(60)) if i % 27 == 0])))
    assert few.evaluation.startswith("yes")
    assert few.settings["RECSYS_TEST_DAYS"] == "56"
    assert any("RECSYS_TEST_DAYS=56" in note for note in problems(few, blocking=False))


def test_a_small_shops_first_run_keeps_the_windows_that_the_check_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(write_log(tmp_path / "few", [row for i, row in enumerate(rows_of(60)) if i % 27 == 0]))
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        assert open_shop(data).test_days == 56
    with mock.patch.dict(os.environ):
        assert settings_of_last_home().test_days == 56
    with mock.patch.dict(os.environ, {"RECSYS_TEST_DAYS": "5", "RECSYS_HOME": str(tmp_path / "own")}):
        assert open_shop(data).test_days == 5, "what somebody sets counts"


def test_dates_that_can_mean_two_days_need_one_edit(tmp_path: Path) -> None:
    rows = [[*row[:4], f"{1 + n % 12:02d}/{1 + n % 11:02d}/2024", *row[5:]] for n, row in enumerate(rows_of())]
    write_log(tmp_path, rows)
    report = check_source(str(tmp_path))
    assert any("can be day or month first" in problem and "day_first" in problem for problem in problems(report, True))
    assert right_here("check", str(tmp_path)).returncode == 1
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(mapping.read_text().replace("[interactions]\n", "[interactions]\nday_first = true\n", 1))
    assert check_source(str(tmp_path)).can_be_built


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.name)
def test_the_written_mapping_reads_the_export(export: Export, tmp_path: Path) -> None:
    export.write(tmp_path)
    done = right_here("check", str(tmp_path))
    assert f"taken for     {export.preset}" in done.stdout
    text = (tmp_path / "mapping.toml").read_text()
    assert parse_mapping(text, "mapping.toml").preset == export.preset


@pytest.mark.parametrize(("codes", "found"), [("EUR EUR", "EUR"), ("EUR USD", ""), ("eur eur", ""), (" ", "")])
def test_the_currency_is_known_where_an_export_names_one(tmp_path: Path, codes: str, found: str) -> None:
    first, _, second = codes.partition(" ")
    text = SHOPIFY.replace(",EUR,", f",{second},").replace(f",{second},", f",{first},", 1)
    write_text(tmp_path / "orders.csv", text)
    report = check_source(str(tmp_path))
    assert report.mapping is not None and report.mapping.currency == found
    if found:
        assert f"currency      {found}" in right_here("check", str(tmp_path)).stdout
        assert currency_of(make_settings({"data": str(tmp_path), "home": tmp_path / "home"})) == found


def test_columns_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    text = "\n".join(f"{row[1]},{row[2]},{row[4]}" for row in rows_of())
    write_text(tmp_path / "log.csv", f"kunde,ware,zeit\n{text}\n")
    refused = right_here("check", str(tmp_path))
    assert refused.returncode == 1
    for words in ("kunde, ware, zeit", "--map user_id="):
        assert words in " ".join(refused.stdout.split())
    maps = ("--map", "user_id=kunde", "--map", "product_id=ware", "--map", "timestamp=zeit")
    done = right_here("check", str(tmp_path), *maps)
    assert done.returncode == 0, done.stdout
    assert len(open_source("auto", str(tmp_path)).days()) == 30
    assert right_here("check", str(tmp_path), "--map", "customer=kunde").returncode != 0
    (tmp_path / "mapping.toml").unlink()
    save_mapping(str(tmp_path), ["user_id=kunde", "product_id=ware", "timestamp=zeit"])  # as `recsys run --map` does
    require_usable_data(str(tmp_path))
    with pytest.raises(RecsysError, match="is not name=column"):
        save_mapping(str(tmp_path), ["kunde"])
    assert right_here("run", "--map", "user_id=kunde").returncode == 2


def test_a_build_stops_on_data_that_cannot_be_used(tmp_path: Path) -> None:
    write_log(tmp_path, rows_of(change=put(4, "soon", 2)))
    with pytest.raises(
        RecsysError, match=r"(?s)1 problem.*interactions\.csv, row 1 below the header, timestamp.*recsys check"
    ):
        require_usable_data(str(tmp_path))
    write_text(tmp_path / "shop" / "orders.csv", SHOPIFY)
    require_usable_data(str(tmp_path / "shop"))


def test_a_million_rows_take_seconds(tmp_path: Path) -> None:
    count = 1_000_000
    numbers = pa.array(range(count))
    moments = pc.add(pc.multiply(numbers, 5), 1_700_000_000)
    users, products = (pc.bit_wise_and(pc.multiply(numbers, step), 0xFFF).cast("string") for step in (1, 7))
    table = pa.table(
        {
            "user_id": pc.binary_join_element_wise("u", users, ""),
            "product_id": pc.binary_join_element_wise("p", products, ""),
            "interaction_type": pa.repeat(pa.scalar("view"), count),
            "timestamp": moments,
        }
    )
    pq.write_table(table, tmp_path / "interactions.parquet")
    before = time.process_time()
    report = check_source(str(tmp_path))
    assert (report.rows, report.shoppers, report.problems) == (count, 4096, ())
    assert time.process_time() - before < 20  # processor time; about 3 s here


def german_orders(folder: Path, header: str, encoding: str = "utf-8") -> None:
    """A German export of 1,200 events: four in ten are purchases, every product has a name, a group and a price."""
    kinds = ("Kauf", "Ansicht", "Warenkorb", "Ansicht", "Kauf")
    lines = [
        f"{row[1]};{row[2]};{kinds[n % 5]};{row[4]};{10 + n % 97},50;1;Tasse {row[2]};Küche"
        for n, row in enumerate(rows_of())
    ]
    write_text(folder / "export.csv", "\n".join([header, *lines]) + "\n", encoding=encoding)


def test_a_column_that_may_name_the_events_is_said_where_all_events_are_one_type(tmp_path: Path) -> None:
    """Every event would be a view or a purchase, and the report would call the data usable."""
    german_orders(tmp_path, "wer;was;tat;wann;Betrag;wieviele;benannt;sorte")
    columns = {"user_id": "wer", "product_id": "was", "timestamp": "wann"}
    report = check_source(str(tmp_path), columns=columns)
    assert report.can_be_built
    assert report.unused["interactions"].startswith("tat (3 values: Ansicht, Kauf, Warenkorb), Betrag")
    (note,) = problems(report, blocking=False)
    for words in ("export.csv, tat: every event is taken for 'view'", 'interaction_type = "tat"', "delete"):
        assert words in note
    done = right_here("check", str(tmp_path), *(f"--map={name}={column}" for name, column in columns.items()))
    assert "not used    tat (3 values" in done.stdout
    again = right_here("check", str(tmp_path), "--map", "interaction_type=tat")
    assert "purchase 480, view 480, add_to_cart 240" in again.stdout
    assert "may name the events" not in again.stdout


def test_one_german_order_file_is_understood_without_a_mapping(tmp_path: Path) -> None:
    """Events by their names, and products with names, groups and prices."""
    german_orders(tmp_path, "Kunde;Artikel;Ereignis;Zeit;Stückpreis;Menge;Bezeichnung;Warengruppe")
    report = check_source(str(tmp_path))
    assert report.can_be_built and not report.problems and not report.unused
    assert report.event_counts == {"purchase": 480, "view": 480, "add_to_cart": 240}
    right_here("check", str(tmp_path))
    assert 'name = "Bezeichnung"' in (tmp_path / "mapping.toml").read_text()
    for _ in range(2):  # with the mapping, and without
        products = open_source("auto", str(tmp_path)).products().to_pylist()
        assert len(products) == 97
        for row in products:
            number = int(row["product_id"][1:])
            assert (row["name"], row["category"], row["price"]) == (f"Tasse p{number}", "Küche", 10.5 + number)
        (tmp_path / "mapping.toml").unlink(missing_ok=True)


def test_products_are_derived_as_a_mapping_written_by_hand_says(tmp_path: Path) -> None:
    """Without a preset and without files of products; the price is that of the events."""
    german_orders(tmp_path, "wer;was;tat;wann;Betrag;wieviele;benannt;sorte")
    text = """
    [interactions]
    files = ["export.csv"]
    delimiter = ";"
    decimal = ","
    [interactions.columns]
    user_id = "wer"
    product_id = "was"
    interaction_type = "tat"
    timestamp = "wann"
    price = "Betrag"
    [products.columns]
    name = "benannt"
    category = "sorte"
    """
    (tmp_path / "mapping.toml").write_text(text)
    first = open_source("auto", str(tmp_path)).products().to_pylist()[0]
    assert (first["product_id"], first["name"], first["category"], first["price"]) == ("p0", "Tasse p0", "Küche", 10.5)


def test_a_mapping_beside_one_file_is_for_that_file(tmp_path: Path) -> None:
    """Two downloads in one folder: each is checked by itself, and has a mapping of its own."""
    for name in ("a.csv", "b.csv"):
        write_log(tmp_path, rows_of(), name)
        assert right_here("check", str(tmp_path / name)).returncode == 0
    first = (tmp_path / "mapping.toml").read_text()
    assert 'files = ["a.csv"' in first
    assert 'files = ["b.csv"' in (tmp_path / "b.csv.mapping.toml").read_text()
    (tmp_path / "b.csv.mapping.toml").unlink()
    done = right_here("check", str(tmp_path / "b.csv"), "--map", "price=quantity")
    assert "is for other files than b.csv" in done.stdout
    assert (tmp_path / "mapping.toml").read_text() == first
    assert 'price = "quantity"' in (tmp_path / "b.csv.mapping.toml").read_text()
    assert check_source(str(tmp_path / "b.csv")).formats["ids"] == "from the file"


def test_a_failed_check_leaves_the_mapping_as_it_was(tmp_path: Path) -> None:
    write_log(tmp_path, rows_of(), "log1.csv")
    right_here("check", str(tmp_path))
    good = (tmp_path / "mapping.toml").read_text()
    assert right_here("check", str(tmp_path), "--map", "user_id=nobody").returncode == 1
    with pytest.raises(RecsysError, match="nobody"):
        save_mapping(str(tmp_path), ["user_id=nobody"])
    assert (tmp_path / "mapping.toml").read_text() == good
    (tmp_path / "mapping.toml").unlink()
    (tmp_path / "log2.csv").write_bytes(b"")
    assert right_here("check", str(tmp_path)).returncode == 1
    assert not (tmp_path / "mapping.toml").exists()


def test_a_malformed_row_of_the_catalogue_is_a_warning_as_it_is_in_the_log(tmp_path: Path) -> None:
    rows = rows_of()
    rows[5].append("x")
    write_log(tmp_path, rows)
    write_text(tmp_path / "products.csv", "product_id,name\n" + "".join(f"p{n},Cup\n" for n in range(97)) + "p97,A,B\n")
    report = check_source(str(tmp_path))
    assert (report.can_be_built, report.listed_products) == (True, 97)
    notes = problems(report, blocking=False)
    for where in ("interactions.csv, row 6 below the header", "products.csv, row 98 below the header"):
        assert any(f"{where}: 1 malformed row is set aside" in note for note in notes), notes


@pytest.mark.parametrize("name", ["", "photo.png", "orders.xlsx"])
def test_where_there_is_no_table_nobody_is_asked_to_map_columns(tmp_path: Path, name: str) -> None:
    if name:
        (tmp_path / name).write_bytes(b"PK")
    for place in {tmp_path, tmp_path / name}:
        (problem,) = problems(check_source(str(place)), blocking=True)
        assert f"no table found: {name or 'there is no file'}" in problem
        assert "CSV" in problem and "--map" not in problem


def test_an_empty_file_is_one_problem_and_an_empty_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"")
    for place in (tmp_path, tmp_path / "log.csv"):
        assert len(check_source(str(place)).problems) == 1
    assert "the path is empty" in " ".join(right_here("check", "").stderr.split())


def test_files_that_are_not_read_are_listed_and_a_file_is_named_as_it_was_given(tmp_path: Path) -> None:
    write_log(tmp_path, rows_of(change=put(5, "-3", 400)), "log.csv")
    write_text(tmp_path / "stock.csv", "place,pieces\nA,1\n")
    done = right_here("check", ".", folder=tmp_path)
    assert "not read      stock.csv" in done.stdout
    done = right_here("check", "log.csv", folder=tmp_path)
    assert "note log.csv, row 1 below the header, price" in done.stdout
