"""Files that cannot be read stop the source with a message that names the file, the rule and the remedy."""

import gzip
import io
import json
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lambda_api.settings import make_settings
from recsys_assets.ingest.registry import open_source, source_of
from recsys_assets.ingest.source import Source, SourceError
from recsys_assets.ingest.synthetic.source import SyntheticShopSource
from tests.ingest.shops import (
    AMAZON_2014,
    CANONICAL_HEADER,
    CANONICAL_ROWS,
    RETAIL_DAYS,
    RETAIL_HEADER,
    write_canonical,
    write_ml_1m,
    write_retail,
)

canonical, online_retail, amazon, movielens = (
    partial(open_source, name) for name in ("canonical", "online_retail", "amazon_reviews", "movielens")
)

RETAIL = (RETAIL_HEADER + "\n".join(RETAIL_DAYS["2010-12-01"]) + "\n").encode()
CANONICAL = (CANONICAL_HEADER + "\n".join(CANONICAL_ROWS) + "\n").encode()
REVIEWS = "".join(json.dumps(row) + "\n" for row in AMAZON_2014).encode()
RATINGS = b"1::10::5::978300760\n1::20::3::978302109\n"


def parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


PARQUET = parquet_bytes(pa.table({"interaction_id": ["e1"], "timestamp": ["2024-01-01"]}))

# Kind of source, file name, its text or bytes as they should be.
LOGS: dict[str, tuple[Callable[[str], Source], str, bytes]] = {
    "canonical file": (canonical, "interactions.csv", CANONICAL),
    "canonical day": (canonical, "interactions/date=2024-02-29/part-0.csv", CANONICAL),
    "online retail": (online_retail, "2010-12-01.csv", RETAIL),
    "amazon": (amazon, "reviews.jsonl", REVIEWS),
    "movielens": (movielens, "ratings.dat", RATINGS),
}


def read_everything(source: Source) -> None:
    for day in source.days():
        source.read_day(day)


def refusal(open_shop: Callable[[str], Source], folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read_everything(open_shop(str(folder)))
    message = str(caught.value)
    assert str(path) in message, message
    return message


@pytest.mark.parametrize("kind", LOGS)
def test_zero_bytes(kind: str, tmp_path: Path) -> None:
    open_shop, name, _ = LOGS[kind]
    assert "zero bytes; deliver it again" in refusal(open_shop, tmp_path, name, b"")


GZIPPED = [kind for kind in LOGS if kind != "movielens"]  # its releases have no compressed layout


@pytest.mark.parametrize("kind", GZIPPED)
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_truncated_gzip(kind: str, kept: float, tmp_path: Path) -> None:
    open_shop, name, data = LOGS[kind]
    packed = gzip.compress(data)
    message = refusal(open_shop, tmp_path, f"{name}.gz", packed[: int(len(packed) * kept)])
    assert "truncated" in message
    assert "deliver the file again" in message


@pytest.mark.parametrize("kind", GZIPPED)
def test_gzip_that_is_none_is_corrupt_or_is_empty_inside(kind: str, tmp_path: Path) -> None:
    open_shop, name, data = LOGS[kind]
    assert "not a sound gzip file" in refusal(open_shop, tmp_path, f"{name}.gz", data)
    packed = bytearray(gzip.compress(data))
    packed[-6] ^= 0xFF  # the checksum
    assert "not a sound gzip file" in refusal(open_shop, tmp_path, f"{name}.gz", bytes(packed))
    assert "empty inside" in refusal(open_shop, tmp_path, f"{name}.gz", gzip.compress(b""))


@pytest.mark.parametrize("kind", GZIPPED)
def test_wrong_encoding_is_located(kind: str, tmp_path: Path) -> None:
    open_shop, name, data = LOGS[kind]
    offset = len(data) - 4
    broken = data[:offset] + "é".encode("latin-1") + data[offset:]
    assert f"not UTF-8: byte 0xe9 at offset {offset}" in refusal(open_shop, tmp_path, name, broken)
    (tmp_path / name).unlink()
    assert f"at offset {offset} " in refusal(open_shop, tmp_path, f"{name}.gz", gzip.compress(broken))


@pytest.mark.parametrize("kind", ["canonical file", "canonical day", "online retail"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_is_named(kind: str, encoding: str, tmp_path: Path) -> None:
    open_shop, name, data = LOGS[kind]
    assert "not UTF-8" in refusal(open_shop, tmp_path, name, data.decode().encode(encoding))


@pytest.mark.parametrize("kind", ["canonical file", "canonical day", "online retail"])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_header_without_rows(kind: str, end: str, tmp_path: Path) -> None:
    open_shop, name, data = LOGS[kind]
    header = data.split(b"\n")[0] + end.encode()
    assert "a header but no rows; deliver the rows" in refusal(open_shop, tmp_path, name, header)


@pytest.mark.parametrize("kind", LOGS)
def test_blank_content(kind: str, tmp_path: Path) -> None:
    open_shop, name, _ = LOGS[kind]
    refusal(open_shop, tmp_path, name, b"\n\n")


@pytest.mark.parametrize("kind", LOGS)
def test_a_log_that_breaks_off_inside_its_last_row(kind: str, tmp_path: Path) -> None:
    """Not compressed, so only the torn last row gives it away."""
    open_shop, name, data = LOGS[kind]
    torn = data[: data.rstrip(b"\n").rindex(b"\n") + 8]
    assert "ends in the middle of" in refusal(open_shop, tmp_path, name, torn)


@pytest.mark.parametrize("kind", ["canonical file", "canonical day", "online retail"])
def test_a_quote_that_never_closes(kind: str, tmp_path: Path) -> None:
    open_shop, name, data = LOGS[kind]
    lines = data.split(b"\n")
    lines[2] = lines[2].replace(b",", b',"', 1)
    message = refusal(open_shop, tmp_path, name, b"\n".join(lines))
    assert "a quote after line 2 has no partner" in message


def test_quotes_that_do_close_are_no_trouble(tmp_path: Path) -> None:
    """An odd number of quotes is fine inside an unquoted field (5" candle), and a quoted field may hold line ends."""
    header = "interaction_id,user_id,product_id,interaction_type,timestamp\n"
    rows = ['e1,u1,5" candle,view,2024-01-01', 'e2,u1,"two\nlines",view,2024-01-01']
    (tmp_path / "interactions.csv").write_text(header + "\n".join(rows) + "\n")
    table = open_source("canonical", str(tmp_path)).read_day(date(2024, 1, 1)).interactions
    assert table["product_id"].to_pylist() == ['5" candle', "two\nlines"]


@pytest.mark.parametrize("kind", ["canonical file", "canonical day", "online retail"])
def test_a_header_that_cannot_be_meant(kind: str, tmp_path: Path) -> None:
    open_shop, name, data = LOGS[kind]
    header, rows = data.split(b"\n", 1)
    twice = header + b"," + header.split(b",")[0] + b"\n" + rows
    assert "twice" in refusal(open_shop, tmp_path, name, twice)
    message = refusal(open_shop, tmp_path, name, data.replace(b",", b"^"))
    assert "InvoiceNo" in message or "the file needs a header" in message


@pytest.mark.parametrize("name", ["interactions.parquet", "interactions/date=2024-01-01/part-0.parquet"])
@pytest.mark.parametrize("data", [PARQUET[:-9], PARQUET[:40], b"PAR1", b"a,b\n1,2\n"])
def test_parquet_that_is_none(name: str, data: bytes, tmp_path: Path) -> None:
    assert "not a readable Parquet file" in refusal(canonical, tmp_path, name, data)


def test_parquet_without_rows(tmp_path: Path) -> None:
    empty = parquet_bytes(pa.table({"interaction_id": pa.array([], pa.string())}))
    assert "no rows" in refusal(canonical, tmp_path, "interactions/date=2024-01-01/part-0.parquet", empty)


def test_a_bad_day_does_not_spoil_the_others(tmp_path: Path) -> None:
    write_retail(tmp_path)
    (tmp_path / "2010-12-02.csv").write_bytes(b"")
    source = open_source("online_retail", str(tmp_path))
    assert source.days() == [date(2010, 12, 1), date(2010, 12, 2), date(2010, 12, 3)]
    assert source.read_day(date(2010, 12, 3)).rows_read == 2
    with pytest.raises(SourceError, match=r"2010-12-02\.csv: the file has zero bytes"):
        source.read_day(date(2010, 12, 2))
    with pytest.raises(SourceError, match=r"2010-12-02\.csv"):
        source.products()


@pytest.mark.parametrize("column", RETAIL_HEADER.strip().split(","))
def test_online_retail_needs_every_column_of_its_rules(column: str, tmp_path: Path) -> None:
    message = refusal(online_retail, tmp_path, "2010-12-01.csv", RETAIL.replace(column.encode(), b"Other", 1))
    assert f"column(s) missing: {column};" in message


@pytest.mark.parametrize(
    ("file", "data", "complaint"),
    [
        ("movies.dat", b"", "zero bytes"),
        ("movies.dat", b"10::A::B\n11::C\n12::C\n13::C\n", "3 of 4 rows are malformed, the first is row 2"),
        ("users.dat", b"1::F\n2::F\n", "2 of 2 rows are malformed, the first is row 1"),
    ],
)
def test_movielens_companions(file: str, data: bytes, complaint: str, tmp_path: Path) -> None:
    write_ml_1m(tmp_path)
    (tmp_path / file).write_bytes(data)
    source = open_source("movielens", str(tmp_path))
    with pytest.raises(SourceError, match=rf"{file}.*{complaint}"):
        source.products() if file == "movies.dat" else source.users()


def test_amazon_metadata_and_arrays(tmp_path: Path) -> None:
    message = refusal(amazon, tmp_path, "reviews.json", json.dumps(AMAZON_2014).encode())
    assert "one object per line" in message
    (tmp_path / "reviews.json").write_bytes(REVIEWS)
    (tmp_path / "meta.json").write_text('{"asin": "B1"}\n' + 3 * "no json\n")
    with pytest.raises(SourceError, match=r"meta\.json: 3 of 4 rows are malformed.*row 2 .*no JSON object"):
        open_source("amazon_reviews", str(tmp_path)).products()


def test_canonical_entities_with_torn_rows(tmp_path: Path) -> None:
    write_canonical(tmp_path)
    (tmp_path / "products.csv").write_text("product_id,name\np1,Lamp\np2\np3,Table\n")
    names = open_source("canonical", str(tmp_path)).products()["name"].to_pylist()
    assert {"Lamp", "Table"} <= set(names)
    (tmp_path / "products.csv").write_text("product_id,name\np1,Lamp\np2\np3\np4\np3,Table\n")
    with pytest.raises(SourceError, match=r"products\.csv: 3 of 5 rows are malformed.*row 2"):
        open_source("canonical", str(tmp_path)).products()


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "looked for interactions.csv"),
        (["interactions.csv", "interactions.parquet"], "more than one layout"),
        (["interactions.csv", "interactions/a.csv"], "more than one layout"),
        (["interactions/date=2024-01-01/a.csv", "interactions/2024-01-02.csv"], "mix two layouts"),
        (["interactions/date=2024-01-01/a.csv", "interactions/a.csv"], "mix two layouts"),
        (["interactions/2024-01-01.csv", "interactions/2024-01-01.csv.gz"], "second drop"),
        (["interactions/date=2024-02-30/a.csv"], "2024-02-30 is not a day of the calendar"),
        (["2024-02-30.csv"], "2024-02-30 is not a day of the calendar"),
        (["interactions/notes.pdf"], "holds no .csv"),
    ],
)
def test_canonical_layouts_that_cannot_be_meant(files: list[str], complaint: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(CANONICAL)
    with pytest.raises(SourceError, match=complaint):
        open_source("canonical", str(tmp_path)).days()


def test_a_hive_day_without_data_is_reported_when_it_is_read(tmp_path: Path) -> None:
    for name in ("date=2024-01-01/_temporary", "date=2024-01-02/a.csv"):
        path = tmp_path / "interactions" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(CANONICAL)
    source = open_source("canonical", str(tmp_path))
    assert source.days() == [date(2024, 1, 1), date(2024, 1, 2)]
    assert source.read_day(date(2024, 1, 2)).rows_read == 4
    with pytest.raises(SourceError, match="folder of 2024-01-01 holds no"):
        source.read_day(date(2024, 1, 1))
    with pytest.raises(SourceError, match="folder of 2024-01-01 holds no"):
        source.users()


def test_online_retail_folders_that_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file of the format online_retail"):
        open_source("online_retail", str(tmp_path)).days()
    write_retail(tmp_path)
    (tmp_path / "2011-1-5.csv").write_bytes(RETAIL)
    with pytest.raises(SourceError, match=r"2011-1-5\.csv mix two layouts"):
        open_source("online_retail", str(tmp_path)).days()


def test_the_registry_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(SourceError, match="unknown source 'excel'; choose one of: auto, canonical, shopify"):
        open_source("excel", None)
    with pytest.raises(SourceError, match="'canonical' needs a location"):
        open_source("canonical", None)
    with pytest.raises(SourceError, match="synthetic shop reads no files"):
        open_source("synthetic", str(tmp_path))
    with pytest.raises(SourceError, match=r"no source fits.*found notes\.txt: nothing.*--map user_id="):
        open_source("auto", str(tmp_path))
    with pytest.raises(SourceError, match="there is no such folder"):
        open_source("auto", str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="only local paths and s3:// URIs"):
        open_source("auto", "gs://bucket/drops")
    write_canonical(tmp_path)
    write_ml_1m(tmp_path)
    with pytest.raises(SourceError, match=r"more than one source fits \(canonical, movielens\)"):
        open_source("auto", str(tmp_path))


def test_a_bad_first_day_does_not_hide_whose_shop_it_is(tmp_path: Path) -> None:
    write_retail(tmp_path)
    (tmp_path / "2010-11-30.csv").write_bytes(b"")
    (tmp_path / "2010-11-29.csv.gz").write_bytes(b"broken")
    assert open_source("auto", str(tmp_path)).name == "online_retail"


def test_without_a_location_there_is_the_synthetic_shop() -> None:
    for name in ("auto", "synthetic"):
        source = open_source(name, None, first_day=date(2024, 5, 6), seed=2)
        assert source.name == "synthetic"
        assert source.days()[0] == date(2024, 5, 6)


def test_on_aws_the_synthetic_shop_is_taken_only_where_it_is_named() -> None:
    aws = {"target": "aws", "first_day": "2024-01-01"}
    aws |= {f"{name}_uri": f"s3://bucket/{name}" for name in ("lake", "models", "catalogue")}
    with pytest.raises(SourceError, match=r"RECSYS_DATA .* or RECSYS_SOURCE=synthetic"):
        source_of(make_settings(aws))
    assert isinstance(source_of(make_settings({**aws, "source": "synthetic"})), SyntheticShopSource)
    assert isinstance(source_of(make_settings({"first_day": "2024-01-01"})), SyntheticShopSource)
