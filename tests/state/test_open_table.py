"""Settings choose the adapter, its place and its name."""

import subprocess
import sys
from pathlib import Path

import pytest

from lambda_api.settings import make_settings
from lambda_api.state.dynamodb_table import DynamoDbTable
from lambda_api.state.open_table import open_table
from lambda_api.state.sqlite_table import SqliteTable
from lambda_api.state.table import Key, Put
from tests.state.created_table import create_dynamodb_table
from tests.state.tables import fake_dynamodb


def test_local_state_lives_in_one_file_of_the_home_folder(tmp_path: Path) -> None:
    table = open_table(make_settings({"home": tmp_path / "home"}), "registry")
    assert isinstance(table, SqliteTable)
    assert not (tmp_path / "home").exists()
    table.write([Put(Key("p", "s"), {"n": 1})])
    assert (tmp_path / "home" / "state.sqlite3").is_file()
    table.close()


def test_aws_state_lives_in_prefixed_dynamodb_tables() -> None:
    settings = make_settings(
        {
            "target": "aws",
            "table_prefix": "shop-dev-",
            "lake_uri": "s3://b/lake",
            "models_uri": "s3://b/models",
            "catalogue_uri": "s3://b/catalogue",
        }
    )
    with fake_dynamodb() as client:
        create_dynamodb_table(client, "shop-dev-registry")
        table = open_table(settings, "registry")
        assert isinstance(table, DynamoDbTable)
        table.write([Put(Key("p", "s"), {"n": 1})])
        assert client.scan(TableName="shop-dev-registry")["Count"] == 1


@pytest.mark.parametrize("module", ["boto3", "botocore"])
def test_the_embedded_default_does_without_aws(module: str, tmp_path: Path) -> None:
    program = f"""
import sys
from lambda_api.settings import make_settings
from lambda_api.state.open_table import open_table
open_table(make_settings({{"home": {str(tmp_path)!r}}}), "registry").query("p")
sys.exit({module!r} in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False).returncode == 0
