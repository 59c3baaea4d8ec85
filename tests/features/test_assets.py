"""The engine on a lake and the assets: point in time, metadata, and the gate in front."""

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets import data_gate
from recsys_assets.features import assets
from recsys_assets.features.columns import PRODUCT_FEATURES, USER_FEATURES, USER_PRODUCT_FEATURES
from recsys_assets.features.engine import FEATURES, end_of_log, write_features
from recsys_assets.features.launching import LocalFeatures
from recsys_assets.lake import Lake, LakeError
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS
from tests.features.comparing import assert_same, keyed
from tests.features.logs import AS_OF, random_rows, tables
from tests.features.oracle import Oracle
from tests.moto_server import moto_server

ROWS = random_rows(21, events=200)
ASSETS = (assets.user_features, assets.product_features, assets.user_product_features)


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    with moto_server():
        yield


@pytest.fixture(params=["local", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "local":
        return filled(str(tmp_path / "lake"))
    request.getfixturevalue("s3")
    import boto3

    bucket = f"features-{os.urandom(4).hex()}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return filled(f"s3://{bucket}/lake")


def filled(root: str) -> Lake:
    lake = Lake(root)
    interactions, products, users = tables(*ROWS)
    days = pc.cast(interactions["timestamp"], pa.date32())
    for day in pc.unique(days).to_pylist():
        lake.write_day(INTERACTIONS.name, day, interactions.filter(pc.equal(days, pa.scalar(day))))
    lake.write_table(PRODUCTS.name, products)
    lake.write_table(USERS.name, users)
    return lake


@pytest.mark.slow
@pytest.mark.parametrize("name", tuple(FEATURES))
def test_a_lake_gives_what_its_rows_give(lake: Lake, name: str) -> None:
    written = write_features(lake, name, AS_OF)
    expected = getattr(Oracle(*ROWS, AS_OF), name)()
    stored = lake.read(name)
    assert_same(keyed(name, stored), expected)
    assert (written.rows, written.uri) == (len(expected), f"{lake.uri(name)}/part-0.parquet")
    assert written.bytes > 0
    if "user_product" not in name:
        ids = stored.column(0).to_pylist()
        assert ids == sorted(ids)


def test_a_lake_without_catalogue_and_users_still_has_features(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.write_day(INTERACTIONS.name, date(2024, 3, 1), tables(*ROWS)[0])
    write_features(lake, "user_features", AS_OF)
    assert_same(keyed("user_features", lake.read("user_features")), Oracle(ROWS[0], [], [], AS_OF).user_features())


def test_an_empty_lake_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="materialise the asset 'interactions' first"):
        end_of_log(Lake(str(tmp_path)))
    with pytest.raises(LakeError, match="holds nothing before"):
        write_features(Lake(str(tmp_path)), "user_features", AS_OF)


def test_assets_describe_what_they_wrote(tmp_path: Path) -> None:
    lake = filled(str(tmp_path / "lake"))
    with dg.instance_for_test() as instance:
        result = dg.materialize(list(ASSETS), instance=instance, resources={"lake": lake, "features": LocalFeatures()})
        assert result.success
    end = end_of_log(lake)
    assert end - timedelta(days=1) <= max(row["timestamp"] for row in ROWS[0]) < end
    for asset, columns in zip(ASSETS, (USER_FEATURES, PRODUCT_FEATURES, USER_PRODUCT_FEATURES), strict=True):
        name = asset.key.path[-1]
        expected = getattr(Oracle(*ROWS, end), name)()
        assert_same(keyed(name, lake.read(name)), expected)
        [event] = result.asset_materializations_for_node(name)
        metadata = {key: value.value for key, value in event.metadata.items()}
        assert metadata["dagster/row_count"] == len(expected)
        assert metadata["dagster/uri"] == f"{lake.uri(name)}/part-0.parquet"
        assert metadata["bytes"] == Path(metadata["dagster/uri"]).stat().st_size
        shown = metadata["dagster/column_schema"].columns
        assert [(column.name, column.type) for column in shown] == [(column.name, column.dtype) for column in columns]
        lineage = metadata["dagster/column_lineage"].deps_by_column
        assert set(lineage) == {column.name for column in columns}


def test_lineage_names_existing_columns_of_the_assets_depended_on() -> None:
    known = {contract.name: set(contract.schema.names) for contract in (INTERACTIONS, PRODUCTS, USERS)}
    for asset, columns in zip(ASSETS, (USER_FEATURES, PRODUCT_FEATURES, USER_PRODUCT_FEATURES), strict=True):
        upstream = {key.path[-1] for key in asset.dependency_keys}
        for deps in assets.column_lineage(columns).deps_by_column.values():
            assert deps
            for dep in deps:
                table = dep.asset_key.path[-1]
                assert table in upstream
                assert dep.column_name in known[table]


def test_a_closed_gate_stops_features(tmp_path: Path) -> None:
    lake = filled(str(tmp_path / "lake"))
    data_gate.mark_unreadable(lake, date(2024, 3, 1), "the file is truncated")
    with dg.instance_for_test() as instance, pytest.raises(data_gate.GateClosed, match="the file is truncated"):
        dg.materialize([assets.user_features], instance=instance, resources={"lake": lake, "features": LocalFeatures()})
    assert not lake.has_table("user_features")
