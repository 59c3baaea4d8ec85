"""The lake: replacing days, reading ranges, and nothing half-written; locally and on S3."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.lake import Lake, LakeError, open_filesystem
from tests.moto_server import moto_server

MONDAY, TUESDAY, THURSDAY = date(2011, 1, 3), date(2011, 1, 4), date(2011, 1, 6)


def rows(*values: int) -> pa.Table:
    return pa.table({"value": pa.array(values, pa.int64())})


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    with moto_server():
        yield


@pytest.fixture(params=["local", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "local":
        return Lake(str(tmp_path / "lake"))
    request.getfixturevalue("s3")
    import boto3

    bucket = f"lake-{os.urandom(4).hex()}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return Lake(f"s3://{bucket}/lake")


def test_a_day_is_replaced_never_added_to(lake: Lake) -> None:
    lake.write_day("events", MONDAY, rows(1, 2, 3))
    lake.write_day("events", MONDAY, rows(4))
    assert lake.read("events")["value"].to_pylist() == [4]


def test_ranges_are_half_open_and_in_day_order(lake: Lake) -> None:
    for day, value in ((THURSDAY, 3), (MONDAY, 1), (TUESDAY, 2)):
        lake.write_day("events", day, rows(value))
    assert lake.days("events") == [MONDAY, TUESDAY, THURSDAY]
    assert lake.read("events")["value"].to_pylist() == [1, 2, 3]
    assert lake.read("events", start=MONDAY, end=THURSDAY)["value"].to_pylist() == [1, 2]
    assert lake.read("events", columns=["value"], start=TUESDAY)["value"].to_pylist() == [2, 3]


def test_one_day_is_read_by_itself(lake: Lake) -> None:
    lake.write_day("events", MONDAY, pa.table({"value": [1], "other": ["a"]}))
    lake.write_day("events", TUESDAY, rows(2))
    assert lake.read_day("events", MONDAY) == lake.read("events", start=MONDAY, end=TUESDAY)
    assert lake.read_day("events", MONDAY, ("other",)).to_pylist() == [{"other": "a"}]
    assert lake.day_schema("events", MONDAY).names == ["value", "other"]
    with pytest.raises(LakeError, match="materialise the asset 'events' first"):
        lake.read_day("events", THURSDAY)
    with pytest.raises(FileNotFoundError):
        lake.day_schema("events", THURSDAY)


def test_whole_tables_and_missing_ones(lake: Lake) -> None:
    assert not lake.has_table("products")
    with pytest.raises(LakeError, match="materialise the asset 'products' first"):
        lake.read("products")
    lake.write_table("products", rows(1))
    lake.write_table("products", rows(2))
    assert lake.has_table("products")
    assert lake.read("products")["value"].to_pylist() == [2]
    assert lake.days("products") == []


def test_deleting_a_day_twice_is_no_error(lake: Lake) -> None:
    lake.write_day("events", MONDAY, rows(1))
    lake.delete_day("events", MONDAY)
    lake.delete_day("events", MONDAY)
    assert lake.days("events") == []


def test_days_written_under_an_older_schema_read_together(lake: Lake) -> None:
    lake.write_day("events", MONDAY, rows(1))
    lake.write_day("events", TUESDAY, pa.table({"value": [2], "extra": ["x"]}))
    assert lake.read("events").to_pylist() == [{"value": 1, "extra": None}, {"value": 2, "extra": "x"}]


def test_a_failed_write_leaves_the_old_day_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(str(tmp_path))
    lake.write_day("events", MONDAY, rows(1))

    def disk_full(table: pa.Table, where: str, **options: object) -> None:
        Path(where).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pq, "write_table", disk_full)
    with pytest.raises(OSError, match="No space"):
        lake.write_day("events", MONDAY, rows(9))
    monkeypatch.undo()
    assert lake.read("events")["value"].to_pylist() == [1]
    assert [path.name for path in (tmp_path / "events").rglob("*") if path.is_file()] == ["part-0.parquet"]


def test_other_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match="only local paths and s3://"):
        open_filesystem("gs://bucket/lake")
