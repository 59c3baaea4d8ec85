"""Running features on DuckDB in a test, and comparing tables row by row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from recsys_assets.features.engine import FEATURES, duckdb_engine

Keyed = dict[tuple[Any, ...], dict[str, Any]]

KEYS = {
    "user_features": ("user_id",),
    "product_features": ("product_id",),
    "user_product_features": ("user_id", "product_id"),
}


def compute(name: str, tables: Sequence[pa.Table], as_of: datetime) -> pa.Table:
    """One feature table of Arrow tables (interactions, products, users) on DuckDB."""
    with duckdb_engine(memory_mib=512, threads=1) as connection:
        for table_name, table in zip(("interactions", "products", "users"), tables, strict=True):
            connection.con.register(table_name, table)
        inputs = [connection.table(table_name) for table_name in ("interactions", "products", "users")]
        return connection.to_pyarrow(FEATURES[name](*inputs, as_of))


def keyed(name: str, table: pa.Table) -> Keyed:
    """Rows by key; two rows with one key are an error."""
    rows = table.to_pylist()
    result = {tuple(row[key] for key in KEYS[name]): row for row in rows}
    assert len(result) == len(rows), f"{name}: a key occurs twice"
    return result


def assert_same(found: Keyed, expected: Keyed, tolerance: float = 1e-9) -> None:
    """The same keys, and every column equal: floats within ``tolerance``, relative (or 1e-12 absolute, for differences
    of logarithms that cancel), the rest exactly."""
    assert set(found) == set(expected)
    for key, row in expected.items():
        assert set(found[key]) == set(row)
        for column, value in row.items():
            where = f"{column} of {key}: found {found[key][column]!r}, expected {value!r}"
            if isinstance(value, float) and found[key][column] is not None:
                assert found[key][column] == pytest.approx(value, rel=tolerance, abs=1e-12), where
            else:
                assert found[key][column] == value, where
