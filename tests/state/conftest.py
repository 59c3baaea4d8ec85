"""Fixtures of the stores above the table port: each test that takes ``table`` runs on every adapter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from lambda_api.state.table import Table
from tests.state.tables import ADAPTERS, Clock, fake_dynamodb, open_adapter


@pytest.fixture
def clock() -> Clock:
    """Seconds since 1970 that stand still until moved; the table's clock too."""
    return Clock()


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[DynamoDBClient]:
    """A client of a simulated DynamoDB that lasts for the module."""
    with fake_dynamodb() as client:
        yield client


@pytest.fixture(params=ADAPTERS)
def table(request: pytest.FixtureRequest, tmp_path: Path, dynamodb: DynamoDBClient, clock: Clock) -> Iterator[Table]:
    """An empty table of each adapter."""
    with open_adapter(request.param, tmp_path, dynamodb, clock) as opened:
        yield opened
