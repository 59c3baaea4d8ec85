"""What every source must do, checked on every source: the shops' files, local and on S3, and the synthetic shop."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets.ingest.registry import open_source, source_names
from recsys_assets.ingest.source import DayOfEvents, Source, SourceError
from recsys_assets.lake import open_filesystem
from recsys_assets.schema import INTERACTIONS, PRODUCTS, SET_ASIDE_SCHEMA, USERS
from tests.ingest.shops import FILE_SHOPS, Shop
from tests.moto_server import moto_server

SYNTHETIC_START = date(2024, 3, 4)


@dataclass(frozen=True)
class Subject:
    """A source under test, new at each call; ``rows`` and ``days`` are what its fixture holds, where that is known."""

    source: Callable[[], Source]
    rows: int | None
    days: int | None


def synthetic_source() -> Source:
    from recsys_assets.ingest.synthetic.config import SyntheticShopConfig
    from recsys_assets.ingest.synthetic.source import SyntheticShopSource

    config = SyntheticShopConfig(seed=3, start=SYNTHETIC_START, days=3, n_users=300, n_products=60)
    return SyntheticShopSource(config=config)


@pytest.fixture(params=[*FILE_SHOPS, "synthetic"], ids=lambda shop: getattr(shop, "name", shop))
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    shop = request.param
    if shop == "synthetic":
        return Subject(synthetic_source, rows=None, days=3)
    shop.write(tmp_path)
    return Subject(lambda: shop.open(str(tmp_path)), rows=shop.rows, days=shop.days)


def read_all(source: Source) -> dict[date, DayOfEvents]:
    return {day: source.read_day(day) for day in source.days()}


def events_of(days: dict[date, DayOfEvents]) -> pa.Table:
    return pa.concat_tables([day.interactions for day in days.values()])


def test_days_ascend_and_are_all_there(subject: Subject) -> None:
    days = subject.source().days()
    assert days == sorted(set(days))
    assert all(type(day) is date for day in days)
    assert len(days) == subject.days


def test_events_are_canonical_and_on_their_utc_day(subject: Subject) -> None:
    for day, delivered in read_all(subject.source()).items():
        table = delivered.interactions
        assert set(INTERACTIONS.required) <= set(table.column_names)
        for field in table.schema:
            assert field.type == INTERACTIONS.schema.field(field.name).type, field.name
        assert set(pc.unique(table["timestamp"].cast(pa.date32())).to_pylist()) <= {day}
        assert delivered.set_aside.schema == SET_ASIDE_SCHEMA


def test_no_row_is_lost_or_counted_twice(subject: Subject) -> None:
    days = read_all(subject.source())
    ids = events_of(days)["interaction_id"]
    assert ids.null_count == 0
    assert len(pc.unique(ids)) == len(ids)
    if subject.rows is not None:
        assert sum(day.rows_read for day in days.values()) == subject.rows


def test_the_catalogue_and_the_users_cover_the_events(subject: Subject) -> None:
    source = subject.source()
    events = events_of(read_all(source))
    for table, contract, key in ((source.products(), PRODUCTS, "product_id"), (source.users(), USERS, "user_id")):
        assert table.schema.names == contract.schema.names
        assert contract.conform(table).equals(table), "values of a clean shop have their canonical types"
        ids = table[key].to_pylist()
        assert len(ids) == len(set(ids))
        assert set(events[key].to_pylist()) <= set(ids)
    assert source.products()["available"].null_count == 0


def test_two_sources_on_the_same_data_agree_whatever_the_order(subject: Subject) -> None:
    first, second = subject.source(), subject.source()
    backwards = {day: second.read_day(day) for day in reversed(second.days())}
    for day, delivered in read_all(first).items():
        assert delivered.interactions.equals(backwards[day].interactions)
        assert delivered.set_aside.equals(backwards[day].set_aside)
    assert first.products().equals(second.products())
    assert first.users().equals(second.users())


def test_a_day_without_a_drop_is_refused(subject: Subject) -> None:
    source = subject.source()
    missing = source.days()[-1] + timedelta(days=1)
    with pytest.raises(SourceError, match=missing.isoformat()):
        source.read_day(missing)


@pytest.mark.parametrize("shop", FILE_SHOPS, ids=lambda shop: shop.name)
def test_the_shop_is_recognised_without_its_name(shop: Shop, tmp_path: Path) -> None:
    shop.write(tmp_path)
    named = shop.open(str(tmp_path))
    guessed = open_source("auto", str(tmp_path))
    assert type(guessed) is type(named)
    assert open_source(named.name, str(tmp_path)).days() == named.days()
    assert named.name in source_names()


@pytest.mark.parametrize("shop", FILE_SHOPS, ids=lambda shop: shop.name)
def test_an_open_source_sees_files_that_change(shop: Shop, tmp_path: Path) -> None:
    """A source lives as long as a Dagster process; a corrected drop must not be answered from memory."""
    shop.write(tmp_path)
    source = shop.open(str(tmp_path))
    before = read_all(source), source.products(), source.users()
    events = max((path for path in tmp_path.rglob("*") if path.is_file()), key=_is_log)
    content = events.read_bytes()
    events.write_bytes(b"")
    with pytest.raises(SourceError, match=events.name):
        read_all(source)
    events.write_bytes(content)
    os.utime(events, (1, 1))
    after = read_all(source), source.products(), source.users()
    assert events_of(before[0]).equals(events_of(after[0]))
    assert before[1].equals(after[1])
    assert before[2].equals(after[2])


def _is_log(path: Path) -> bool:
    return not path.name.startswith(("meta", "products", "users", "movies", "u.item", "u.user"))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 bucket on a loopback moto server, which pyarrow's own S3 client talks to over HTTP."""
    import boto3

    with moto_server():
        boto3.client("s3").create_bucket(Bucket="shop")
        yield "s3://shop"


@pytest.mark.parametrize("shop", FILE_SHOPS, ids=lambda shop: shop.name)
def test_a_prefix_on_s3_reads_like_a_local_folder(shop: Shop, tmp_path: Path, bucket: str) -> None:
    shop.write(tmp_path)
    uri = f"{bucket}/{shop.name}/drops"
    filesystem, root = open_filesystem(uri)
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            with filesystem.open_output_stream(
                f"{root}/{path.relative_to(tmp_path).as_posix()}", compression=None
            ) as out:
                out.write(path.read_bytes())
    local, remote = shop.open(str(tmp_path)), open_source("auto", uri)
    assert remote.days() == local.days()
    for day in local.days():
        assert remote.read_day(day).interactions.equals(local.read_day(day).interactions)
        assert remote.read_day(day).set_aside.equals(local.read_day(day).set_aside)
    assert remote.products().equals(local.products())
    assert remote.users().equals(local.users())


def test_a_missing_s3_prefix_is_named(bucket: str) -> None:
    with pytest.raises(SourceError, match="s3://shop/nowhere: there is no such folder"):
        open_source("canonical", f"{bucket}/nowhere").days()
