"""The very same expressions on PySpark give the same rows as on DuckDB."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys_assets.features.engine import FEATURES
from recsys_assets.ingest.registry import open_source
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS
from tests.features.comparing import assert_same, compute, keyed
from tests.features.logs import AS_OF, random_rows, tables

pytest.importorskip("pyspark", reason="install the extra `spark` to compare engines")
if shutil.which("java") is None:
    pytest.skip("PySpark needs Java 17 on the PATH", allow_module_level=True)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    import ibis
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[1]")
        .appName("feature-parity")
        .config("spark.driver.memory", "1g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    yield ibis.pyspark.connect(session)
    session.stop()


def on_spark(spark: Any, name: str, folder: Path, arrow: tuple[pa.Table, ...], as_of: datetime) -> pa.Table:
    inputs = []
    for table_name, table in zip(("interactions", "products", "users"), arrow, strict=True):
        path = folder / f"{table_name}.parquet"
        pq.write_table(table, path)
        inputs.append(spark.read_parquet(str(path), table_name=f"{table_name}_{name}"))
    return spark.to_pyarrow(FEATURES[name](*inputs, as_of))


@pytest.mark.parametrize("name", tuple(FEATURES))
def test_a_random_log_with_gaps(spark: Any, name: str, tmp_path: Path) -> None:
    arrow = tables(*random_rows(11, events=2_000, users=60, products=80))
    found = on_spark(spark, name, tmp_path, arrow, AS_OF)
    assert_same(keyed(name, found), keyed(name, compute(name, arrow, AS_OF)))


@pytest.mark.parametrize("name", tuple(FEATURES))
def test_a_log_without_prices_facts_users_or_events(spark: Any, name: str, tmp_path: Path) -> None:
    """Sums over nothing and divisors of zero, where Spark's ANSI mode would stop."""
    interactions, products, _ = random_rows(12, events=30)
    bare = [{**row, "price": None, "rating": None} for row in interactions]
    for arrow in (tables(bare, [], []), tables([], products, [])):
        found = on_spark(spark, name, tmp_path, arrow, AS_OF)
        assert_same(keyed(name, found), keyed(name, compute(name, arrow, AS_OF)))


@pytest.mark.parametrize("name", tuple(FEATURES))
def test_a_sample_of_a_real_shop(spark: Any, name: str, tmp_path: Path, shared_data: Path) -> None:
    """Three days of Online Retail, cut in the middle of the third."""
    source = open_source("online_retail", str(shared_data / "online_retail"))
    days = source.days()[:3]
    interactions = pa.concat_tables([INTERACTIONS.conform(source.read_day(day).interactions) for day in days])
    sold = pc.unique(interactions["product_id"])
    products = PRODUCTS.conform(source.products())
    arrow = (interactions, products.filter(pc.is_in(products["product_id"], sold)), USERS.conform(source.users()))
    as_of = datetime.combine(days[2], datetime.min.time(), UTC) + timedelta(hours=12, minutes=30)
    expected = keyed(name, compute(name, arrow, as_of))
    assert len(expected) > 100
    assert_same(keyed(name, on_spark(spark, name, tmp_path, arrow, as_of)), expected)
