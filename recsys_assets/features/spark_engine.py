"""Computes the same feature expressions on Spark, in a session that the caller made.

Imports only what a Glue job has: see ``recsys_deploy.packaging.features``.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow.fs as pa_fs

from recsys_assets.features.engine import FEATURES, WrittenFeatures, tables_before
from recsys_assets.lake import Lake, open_filesystem
from recsys_assets.schema import TableContract

SPARK_SETTINGS: Mapping[str, str] = {
    # Days are UTC days, whatever the machine thinks.
    "spark.sql.session.timeZone": "UTC",
    # As in Spark 4: a value that cannot be cast is an error, as in DuckDB, not a null.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.compression.codec": "zstd",
}
"""Settings that a session must have for equal results from both engines."""


def write_features_on_spark(session: Any, lake: Lake, table: str, as_of: datetime) -> WrittenFeatures:
    """Compute one of `recsys_assets.features.engine.FEATURES` at ``as_of`` and replace the lake's table of that name.

    Spark writes one file beside the table, under a name that readers skip, and it is moved into place: as with
    DuckDB, a reader sees the old table or the new one. User and product tables are sorted by id, pairs in no order.

    Raises:
        KeyError: ``table`` is not one of `FEATURES`.
        LakeError: there are no interactions before ``as_of``.
    """
    connection = ibis.pyspark.connect(session)
    tables = tables_before(lake, as_of, lambda contract, files: _scan(connection, session, contract, files))
    features = FEATURES[table](*tables, as_of)
    keys = [key for key in ("user_id", "product_id") if key in features.columns]
    # Spark reads a literal such as 1.0 as a decimal; the types are the expression's own.
    types = {field.name: field.dataType for field in _spark_schema(features.schema()).fields}
    computed = session.sql(ibis.to_sql(features, dialect="pyspark"))
    rows = computed.select([computed[name].cast(kind).alias(name) for name, kind in types.items()]).repartition(1)
    if len(keys) == 1:
        rows = rows.sortWithinPartitions(*keys)
    filesystem, root = open_filesystem(lake.root)
    staging = f"{table}/_spark-{uuid.uuid4().hex}"
    try:
        rows.write.parquet(_spark_path(lake, staging))
        (written,) = [
            info
            for info in filesystem.get_file_info(pa_fs.FileSelector(f"{root}/{staging}"))
            if info.base_name.endswith(".parquet")
        ]
        filesystem.move(written.path, f"{root}/{table}/part-0.parquet")
    finally:
        if filesystem.get_file_info(f"{root}/{staging}").type != pa_fs.FileType.NotFound:
            filesystem.delete_dir(f"{root}/{staging}")
    uri = f"{lake.uri(table)}/part-0.parquet"
    count = session.read.parquet(_spark_path(lake, f"{table}/part-0.parquet")).count()
    return WrittenFeatures(uri, count, int(written.size))


def _scan(connection: Any, session: Any, contract: TableContract, files: list[str]) -> ir.Table:
    # The contract's schema, because the file of a day may lack columns.
    schema = _spark_schema(ibis.schema(contract.schema))
    if files:
        rows = session.read.schema(schema).parquet(*map(_spark_uri, files))
    else:
        rows = session.createDataFrame([], schema)
    view = f"{contract.name}_{uuid.uuid4().hex}"
    rows.createOrReplaceTempView(view)
    return connection.table(view)


def _spark_schema(schema: Any) -> Any:
    from ibis.backends.pyspark.datatypes import PySparkSchema

    return PySparkSchema.from_ibis(schema)


def _spark_path(lake: Lake, relative: str) -> str:
    return _spark_uri(f"{lake.root.rstrip('/')}/{relative}")


def _spark_uri(path: str) -> str:
    """``path`` with a scheme: Spark could take a bare path for HDFS."""
    return path if "://" in path else f"file://{path}"
