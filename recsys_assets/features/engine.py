"""Computes feature tables with DuckDB from the lake's Parquet files and streams the result back into the lake.

``spark_engine.py`` runs the same expressions on Spark.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from recsys_assets.features.product import product_features
from recsys_assets.features.shared import FeatureExpression, utc
from recsys_assets.features.user import user_features
from recsys_assets.features.user_product import user_product_features
from recsys_assets.lake import Lake, LakeError, midnight, open_filesystem
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS, TableContract

FEATURES: dict[str, FeatureExpression] = {
    "user_features": user_features,
    "product_features": product_features,
    "user_product_features": user_product_features,
}
"""Lake table -> the expression that fills it."""


class LakeTables(NamedTuple):
    """The canonical tables of a lake as Ibis tables of one connection."""

    interactions: ir.Table
    products: ir.Table
    users: ir.Table


@dataclass(frozen=True, slots=True)
class WrittenFeatures:
    """A feature table in the lake: its address, number of rows and bytes on disk."""

    uri: str
    rows: int
    bytes: int


Scan = Callable[[TableContract, list[str]], ir.Table]
"""Reads the files of a table with one engine."""


@contextmanager
def duckdb_engine(memory_mib: int = 2048, threads: int | None = None) -> Iterator[Any]:
    """An in-memory Ibis DuckDB connection.

    Args:
        memory_mib: memory for DuckDB's own buffers in MiB; the process needs some hundred MiB on top. Beyond it DuckDB
            spills to a temporary folder, which is gone when the block ends.
        threads: worker threads; None for one per core.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-features-") as spill:
        connection = ibis.duckdb.connect(
            memory_limit=f"{memory_mib}MiB",
            threads=threads or os.cpu_count() or 1,
            temp_directory=spill,
            preserve_insertion_order=False,
        )
        connection.raw_sql("SET TimeZone = 'UTC'")
        try:
            yield connection
        finally:
            connection.disconnect()


def read_lake(connection: Any, lake: Lake, as_of: datetime, first: date | None = None) -> LakeTables:
    """The lake's tables, read in place by DuckDB; see `tables_before`."""
    return tables_before(lake, as_of, lambda contract, files: _scan(connection, lake, contract, files), first)


def tables_before(lake: Lake, as_of: datetime, scan: Scan, first: date | None = None) -> LakeTables:
    """The lake's tables; days before ``first``, and those that begin at or after ``as_of``, are not opened.

    A missing products or users table counts as an empty one, and so do interactions that all lie before ``first``.

    Args:
        scan: reads the files of a table with an engine; no files are an empty table.

    Raises:
        LakeError: there are no interactions before ``as_of``.
    """
    end = (utc(as_of) + timedelta(days=1) - timedelta(microseconds=1)).date()
    files = lake.files(INTERACTIONS.name, first, end)
    if not files and not (first and lake.files(INTERACTIONS.name, end=end)):
        raise LakeError(
            f"{lake.uri(INTERACTIONS.name)} holds nothing before {as_of.isoformat()}; materialise 'interactions' first"
        )
    return LakeTables(
        interactions=scan(INTERACTIONS, files),
        products=scan(PRODUCTS, lake.files(PRODUCTS.name)),
        users=scan(USERS, lake.files(USERS.name)),
    )


def end_of_log(lake: Lake) -> datetime:
    """The midnight (UTC) after the last day with interactions. Raises `LakeError` when there is none."""
    days = lake.days(INTERACTIONS.name)
    if not days:
        raise LakeError(f"{lake.uri(INTERACTIONS.name)} holds no days; materialise the asset 'interactions' first")
    return midnight(days[-1] + timedelta(days=1))


def write_features(lake: Lake, table: str, as_of: datetime) -> WrittenFeatures:
    """Compute one of `FEATURES` at ``as_of`` from the lake and replace the lake's table of that name.

    Rows stream from DuckDB into the file; user and product tables are sorted by id, so that the same lake gives the
    same order of rows. Pairs come in no particular order: sorting millions of them would double the time.

    Raises:
        KeyError: ``table`` is not one of `FEATURES`.
        LakeError: there are no interactions before ``as_of``.
    """
    with duckdb_engine() as connection:
        features = FEATURES[table](*read_lake(connection, lake, as_of), as_of)
        keys = [key for key in ("user_id", "product_id") if key in features.columns]
        if len(keys) == 1:
            features = features.order_by(keys)
        # DuckDB's Arrow stream is lazy; its other reader methods, and Ibis's, hold the whole result in memory.
        reader = pa.RecordBatchReader.from_stream(connection.con.sql(ibis.to_sql(features, dialect="duckdb")))
        # DuckDB's sums are wider than the declared types; stored tables have the declared types.
        schema = features.schema().to_pyarrow()
        rows = 0

        def counted() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for batch in reader:
                rows += batch.num_rows
                typed = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(typed, schema=schema)

        uri = lake.write_batches(table, schema, counted())
    filesystem, path = open_filesystem(uri)
    return WrittenFeatures(uri, rows, int(filesystem.get_file_info(path).size))


def _scan(connection: Any, lake: Lake, contract: TableContract, files: list[str]) -> ir.Table:
    if files and not lake.root.startswith("s3://"):
        return connection.read_parquet(files, table_name=contract.name, hive_partitioning=False)
    # DuckDB's S3 reader is an extension that must be downloaded; Arrow can read S3 without it.
    rows = lake.dataset(files, contract.schema) if files else contract.schema.empty_table()
    connection.con.register(contract.name, rows)
    return connection.table(contract.name)
