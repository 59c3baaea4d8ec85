"""The canonical source: every layout means the same, values keep or get their type, and no row is lost."""

import csv
import gzip
import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.ingest import tabular
from recsys_assets.ingest.registry import open_source
from recsys_assets.ingest.source import SourceError
from recsys_assets.lake import Lake
from recsys_assets.schema import INTERACTIONS, TIMESTAMP
from tests.ingest.shops import CANONICAL_HEADER, CANONICAL_ROWS, write_text

DAYS = [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 2)]
BY_DAY = [CANONICAL_ROWS[:1], CANONICAL_ROWS[1:3], CANONICAL_ROWS[3:]]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def csv_of(rows: list[str]) -> str:
    return CANONICAL_HEADER + "".join(f"{row}\n" for row in rows)


def write_parquet(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa_csv.read_csv(io.BytesIO(csv_of(rows).encode())), path)


def write_days(folder: Path, name: Callable[[date], str]) -> None:
    for day, rows in zip(DAYS, BY_DAY, strict=True):
        path = folder / name(day)
        write_parquet(path, rows) if path.suffix == ".parquet" else write_text(path, csv_of(rows))


def write_many_files(folder: Path) -> None:
    write_text(folder / "interactions" / "b.csv", csv_of(CANONICAL_ROWS[:2]))
    write_parquet(folder / "interactions" / "sub" / "c.parquet", CANONICAL_ROWS[2:])
    write_text(folder / "interactions" / "_temporary" / "half.csv", "half a fi")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "file": lambda f: write_text(f / "interactions.csv", csv_of(CANONICAL_ROWS)),
    "file, shuffled": lambda f: write_text(f / "interactions.csv", csv_of([CANONICAL_ROWS[i] for i in (3, 1, 0, 2)])),
    "file, gzip": lambda f: write_text(f / "interactions.csv.gz", csv_of(CANONICAL_ROWS)),
    "file, parquet": lambda f: write_parquet(f / "interactions.parquet", CANONICAL_ROWS),
    "file, CRLF and BOM": lambda f: write_text(
        f / "interactions.csv", "\ufeff" + csv_of(CANONICAL_ROWS).replace("\n", "\r\n")
    ),
    "many files": write_many_files,
    "hive": lambda f: write_days(f, lambda d: f"interactions/date={d}/part-0.csv"),
    "hive, parquet": lambda f: write_days(f, lambda d: f"interactions/date={d}/part-0.parquet"),
    "hive at the top": lambda f: write_days(f, lambda d: f"date={d}/x.csv.gz"),
    "daily files": lambda f: write_days(f, lambda d: f"interactions/{d}.csv.gz"),
    "daily files at the top": lambda f: write_days(f, lambda d: f"{d}.csv"),
    "daily parquet at the top": lambda f: write_days(f, lambda d: f"{d}.parquet"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_delivers_the_same_days(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    source = open_source("canonical", str(tmp_path))
    assert source.days() == DAYS
    delivered = [source.read_day(day).interactions for day in DAYS]
    expected = [[row.split(",")[0] for row in rows] for rows in BY_DAY]
    assert [sorted(table["interaction_id"].to_pylist()) for table in delivered] == expected
    whole = pa.concat_tables(delivered).sort_by("interaction_id").to_pylist()
    assert whole[1] == {
        "interaction_id": "e2",
        "user_id": "u1",
        "product_id": "p1",
        "interaction_type": "purchase",
        "timestamp": datetime(2024, 2, 29, tzinfo=UTC),
        "rating": None,
        "price": 9.99,
        "quantity": 2.0,
    }
    assert whole[2]["timestamp"] == datetime(2024, 2, 29, 12, 0, 0, 250_000, tzinfo=UTC)
    assert source.products()["product_id"].to_pylist() == ["p1", "p2"]
    assert source.users()["user_id"].to_pylist() == ["u1", "u2"]


def test_the_lake_is_a_canonical_export(tmp_path: Path) -> None:
    noon = pa.array([utc(2024, 1, 1, 12)] * 2, TIMESTAMP)
    table = pa.table(
        {
            "interaction_id": ["e1", "e2"],
            "user_id": ["u", "v"],
            "product_id": ["p", "q"],
            "interaction_type": ["view", "purchase"],
            "timestamp": noon,
        }
    )
    Lake(str(tmp_path)).write_day("interactions", date(2024, 1, 1), INTERACTIONS.conform(table))
    delivered = open_source("canonical", str(tmp_path)).read_day(date(2024, 1, 1))
    assert delivered.interactions.equals(INTERACTIONS.conform(table))


def one_day(folder: Path, header: str, *rows: str) -> pa.Table:
    write_text(folder / "2024-01-01.csv", "\n".join([header, *rows]) + "\n")
    return open_source("canonical", str(folder)).read_day(date(2024, 1, 1)).interactions


def test_one_bad_value_leaves_its_column_as_text_and_the_others_alone(tmp_path: Path) -> None:
    table = one_day(tmp_path, "interaction_id,price,quantity,rating", "1,9.50, 2 ,nan", "2,cheap,,4", "3,,1e1,")
    assert table["price"].to_pylist() == ["9.50", "cheap", None]
    assert table["quantity"].to_pylist() == [2.0, None, 10.0]
    assert table["rating"].to_pylist() == [None, 4.0, None]
    assert table["interaction_id"].to_pylist() == ["1", "2", "3"]


def test_missing_columns_stay_missing_and_unknown_ones_are_dropped(tmp_path: Path) -> None:
    table = one_day(tmp_path, "colour, user_id ,interaction_id", "red,u1,e1")
    assert table.column_names == ["interaction_id", "user_id"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01T05:06:07Z", utc(2024, 1, 1, 5, 6, 7)),
        ("2024-01-01T05:06:07+02:00", utc(2024, 1, 1, 3, 6, 7)),
        ("2024-01-01 05:06:07.5", utc(2024, 1, 1, 5, 6, 7, 500_000)),
        ("2024-01-01 05:06", utc(2024, 1, 1, 5, 6)),
        ("2024-01-01", utc(2024, 1, 1)),
        ("1704085567", utc(2024, 1, 1, 5, 6, 7)),
        ("1704085567.25", utc(2024, 1, 1, 5, 6, 7, 250_000)),
        ("1704085567123", utc(2024, 1, 1, 5, 6, 7, 123_000)),
        # Not that day: still delivered with it, for the quality rule to see.
        ("2031-07-01T00:00:00Z", utc(2031, 7, 1)),
    ],
)
def test_timestamps_that_are_understood(text: str, expected: datetime, tmp_path: Path) -> None:
    table = one_day(tmp_path, "interaction_id,timestamp", f"e1,{text}", "e2,2024-01-01T00:00:00Z")
    assert table["timestamp"].to_pylist() == [expected, utc(2024, 1, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "now",
        "today",
        "2024-13-01",
        "2024-02-30",
        "01/02/2024",
        "20240101",
        "5",
        "-1704085567",
        "1e20",
        "2024",
    ],
)
def test_timestamps_that_are_not_leave_the_column_as_text(text: str, tmp_path: Path) -> None:
    table = one_day(tmp_path, "interaction_id,timestamp", f"e1,{text}", "e2,2024-01-01T00:00:00Z")
    assert table["timestamp"].to_pylist() == [text, "2024-01-01T00:00:00Z"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([utc(2024, 1, 1, 5).replace(tzinfo=None)], pa.timestamp("ns")),
        pa.array([utc(2024, 1, 1, 5).replace(tzinfo=None)], pa.timestamp("s")),
        pa.array([utc(2024, 1, 1, 5)], pa.timestamp("ms", tz="Europe/Paris")),
        pa.array([1704085200], pa.int64()),
        pa.array([1704085200000], pa.int64()),
        pa.array([1704085200.0], pa.float64()),
        pa.array(["2024-01-01T05:00:00"], pa.large_string()),
        pa.array(["2024-01-01T05:00:00"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
@pytest.mark.parametrize("name", ["interactions.parquet", "interactions/date=2024-01-01/a.parquet"])
def test_parquet_timestamps_of_many_types(column: pa.Array, name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"interaction_id": [7], "user_id": [17850.0], "timestamp": column}), tmp_path / name)
    table = open_source("canonical", str(tmp_path)).read_day(date(2024, 1, 1)).interactions
    assert table.to_pylist() == [{"interaction_id": "7", "user_id": "17850", "timestamp": utc(2024, 1, 1, 5)}]


def test_rows_of_a_log_without_a_day_are_set_aside_with_its_first_day(tmp_path: Path) -> None:
    rows = ["e1,2024-01-02T00:00:00Z", "e2,soon", "e3,2024-01-01T00:00:00Z", "e4,", "torn", "e5,2024-01-02,extra"]
    write_text(tmp_path / "interactions.csv", "interaction_id,timestamp\n" + "\n".join(rows) + "\n")
    source = open_source("canonical", str(tmp_path))
    assert source.days() == [date(2024, 1, 1), date(2024, 1, 2)]
    first, second = (source.read_day(day) for day in source.days())
    assert first.interactions["interaction_id"].to_pylist() == ["e3"]
    assert second.interactions["timestamp"].to_pylist() == [datetime(2024, 1, 2, tzinfo=UTC)]
    reason = "malformed row: {} fields where the header has 2"
    assert [list(row.values()) for row in first.set_aside.to_pylist()] == [
        ["interactions.csv", 5, reason.format(1), '"torn"'],
        ["interactions.csv", 6, reason.format(3), '"e5,2024-01-02,extra"'],
        ["interactions.csv", 2, "no usable timestamp", '{"interaction_id": "e2", "timestamp": "soon"}'],
        ["interactions.csv", 4, "no usable timestamp", '{"interaction_id": "e4", "timestamp": null}'],
    ]
    assert (first.rows_read, second.rows_read) == (5, 1)


@pytest.mark.parametrize("content", ["interaction_id\ne1\n", "interaction_id,timestamp\ne1,soon\ne2,\n"])
def test_a_log_in_which_nothing_has_a_day_is_refused(content: str, tmp_path: Path) -> None:
    write_text(tmp_path / "interactions.csv", content)
    with pytest.raises(SourceError, match=r"interactions\.csv: no.* timestamp"):
        open_source("canonical", str(tmp_path)).days()


def test_columns_of_parts_with_different_types_meet(tmp_path: Path) -> None:
    day = tmp_path / "interactions" / "date=2024-01-01"
    day.mkdir(parents=True)
    pq.write_table(pa.table({"interaction_id": [1], "price": [2]}), day / "a.parquet")
    pq.write_table(pa.table({"interaction_id": ["x"], "price": [2.5], "rating": [1]}), day / "b.parquet")
    pq.write_table(
        pa.table({"interaction_id": pa.array([], pa.string())}), day / "c.parquet"
    )  # Spark writes empty parts
    assert open_source("canonical", str(tmp_path)).read_day(date(2024, 1, 1)).interactions.to_pylist() == [
        {"interaction_id": "1", "rating": None, "price": 2.0},
        {"interaction_id": "x", "rating": 1.0, "price": 2.5},
    ]


def test_products_and_users_get_their_types(tmp_path: Path) -> None:
    LAYOUTS["file"](tmp_path)
    header = "product_id,name,num_reviews,available,colour"
    write_text(tmp_path / "products" / "part-0.csv", f"{header}\np1,Lamp,12,true,red\np2,,12.0,FALSE,\n")
    write_text(tmp_path / "users.csv.gz", "user_id,age,join_date\nu1,30,2023-05-01\nu2,,2023-05-02T10:00:00Z\n")
    source = open_source("canonical", str(tmp_path))
    first, second = source.products().to_pylist()
    assert (first["num_reviews"], first["available"], first["price"]) == (12, True, None)
    assert (second["num_reviews"], second["available"], second["name"]) == (12, False, None)
    assert [user["join_date"] for user in source.users().to_pylist()] == [date(2023, 5, 1), date(2023, 5, 2)]
    write_text(tmp_path / "users.csv.gz", "user_id,age\nu1,old\n")
    with pytest.raises(SourceError, match=r"users\.age: 1 of 1 values are no int64; the first is 'old' in row 1"):
        source.users()


def test_a_row_may_lie_across_two_blocks_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "MAX_BLOCK_BYTES", 4096)
    rows = [f'e{i},2024-01-01T00:00:00Z,"a ""quoted""\nproduct {i}, in two lines"\n' for i in range(2000)]
    write_text(tmp_path / "interactions.csv", "interaction_id,timestamp,product_id\n" + "".join(rows))
    table = open_source("canonical", str(tmp_path)).read_day(date(2024, 1, 1)).interactions
    assert table["product_id"].to_pylist() == [f'a "quoted"\nproduct {i}, in two lines' for i in range(2000)]


FIELD = st.text(alphabet='ab1 ,"\n\r;é', max_size=5)
START = datetime(2024, 1, 1, tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(FIELD, min_size=2, max_size=4), min_size=1, max_size=12),
    hours=st.lists(st.integers(0, 100), min_size=12, max_size=12),
    zipped=st.booleans(),
)
def test_every_row_of_any_csv_is_delivered_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], hours: list[int], zipped: bool
) -> None:
    """Whatever the fields hold (quotes, commas, line ends): each row comes back once, well formed or set aside."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(["timestamp", "interaction_id", "product_id"])
    for hour, row in zip(hours, rows, strict=False):
        writer.writerow([(START + timedelta(hours=hour)).isoformat(), *row[:-1], row[-1]])
    well_formed = [(hour, row) for hour, row in zip(hours, rows, strict=False) if len(row) == 2]
    folder = tmp_path_factory.mktemp("shop")
    data = text.getvalue().encode()
    (folder / f"interactions.csv{'.gz' * zipped}").write_bytes(gzip.compress(data) if zipped else data)
    source = open_source("canonical", str(folder))
    if not well_formed:
        with pytest.raises(SourceError, match="rows are set aside"):
            source.days()
        return
    delivered = [source.read_day(day) for day in source.days()]
    assert sum(day.rows_read for day in delivered) == len(rows)
    seen = sorted(
        (event["timestamp"], event["interaction_id"] or "", event["product_id"] or "")
        for day in delivered
        for event in day.interactions.to_pylist()
    )
    assert seen == sorted((START + timedelta(hours=hour), *(cell.strip() for cell in row)) for hour, row in well_formed)
