"""The three feature tables as Dagster assets."""

from collections.abc import Iterator, Sequence

import dagster as dg

from recsys_assets.data_gate import require_open
from recsys_assets.features.columns import FEATURE_COLUMNS, FeatureColumn
from recsys_assets.features.engine import end_of_log
from recsys_assets.features.launching import FeatureLauncher
from recsys_assets.features.snapshots import keep_snapshot
from recsys_assets.lake import Lake
from recsys_assets.tags import OWNERS

GROUP = "features"
KINDS = {"duckdb", "parquet"}
CANONICAL = ["interactions", "products", "users"]
KEYS = ("user_id", "product_id")

ONE_ROW_PER_KEY = "one_row_per_key"


def key_check(asset: str) -> dg.AssetCheckSpec:
    """The check of a feature table; `_materialise` gives its result."""
    return dg.AssetCheckSpec(ONE_ROW_PER_KEY, asset=asset, description="No key occurs twice, and there are rows.")


@dg.asset(group_name=GROUP, owners=OWNERS, deps=CANONICAL, kinds=KINDS, check_specs=[key_check("user_features")])
def user_features(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], features: dg.ResourceParam[FeatureLauncher]
) -> Iterator[dg.MaterializeResult[None]]:
    """Per shopper: recency, frequency, monetary value, conversion, and taste in categories, brands and prices."""
    yield _materialise(context, lake, features)


@dg.asset(group_name=GROUP, owners=OWNERS, deps=CANONICAL, kinds=KINDS, check_specs=[key_check("product_features")])
def product_features(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], features: dg.ResourceParam[FeatureLauncher]
) -> Iterator[dg.MaterializeResult[None]]:
    """Per product: decayed popularity, reach, conversion, rating and price level."""
    yield _materialise(context, lake, features)


@dg.asset(
    group_name=GROUP, owners=OWNERS, deps=CANONICAL, kinds=KINDS, check_specs=[key_check("user_product_features")]
)
def user_product_features(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], features: dg.ResourceParam[FeatureLauncher]
) -> Iterator[dg.MaterializeResult[None]]:
    """Per shopper and product that have met: their history, and how the product fits the shopper's taste."""
    yield _materialise(context, lake, features)


def column_schema(columns: Sequence[FeatureColumn]) -> dg.TableSchema:
    """Names, types and meanings, as Dagster shows them; a column that is never null says so."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                type=column.dtype,
                description=column.text,
                constraints=dg.TableColumnConstraints(nullable=column.nulls != "never"),
            )
            for column in columns
        ]
    )


def column_lineage(columns: Sequence[FeatureColumn]) -> dg.TableColumnLineage:
    """Which columns of which assets each column is computed from."""
    return dg.TableColumnLineage(
        {
            column.name: [
                dg.TableColumnDep(dg.AssetKey(table), name)
                for table, name in (source.split(".") for source in column.lineage)
            ]
            for column in columns
        }
    )


def _materialise(
    context: dg.AssetExecutionContext, lake: Lake, features: FeatureLauncher
) -> dg.MaterializeResult[None]:
    require_open(lake)
    table, as_of = context.asset_key.path[-1], end_of_log(lake)
    columns = FEATURE_COLUMNS[table]
    written = features.write(context, lake, table, as_of)
    context.log.info(f"{written.rows:,} rows as of {as_of.isoformat()} in {written.uri}")
    kept = keep_snapshot(lake, table, as_of)
    return dg.MaterializeResult(
        metadata={
            "dagster/uri": written.uri,
            "dagster/row_count": written.rows,
            "dagster/column_schema": column_schema(columns),
            "dagster/column_lineage": column_lineage(columns),
            "bytes": written.bytes,
            "as_of": dg.MetadataValue.timestamp(as_of),
            "rows_in_snapshot": kept,
        },
        check_results=[_check_keys(lake, table, columns)],
    )


def _check_keys(lake: Lake, table: str, columns: Sequence[FeatureColumn]) -> dg.AssetCheckResult:
    keys = [column.name for column in columns if column.name in KEYS]
    rows = lake.read(table, tuple(keys))
    distinct = rows.group_by(keys).aggregate([]).num_rows
    return dg.AssetCheckResult(
        passed=0 < rows.num_rows == distinct,
        check_name=ONE_ROW_PER_KEY,
        metadata={"rows": rows.num_rows, "keys": distinct},
    )
