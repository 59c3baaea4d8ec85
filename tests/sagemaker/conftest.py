"""S3 as a server, because programs in processes of their own use it, and the service that runs jobs."""

import gc
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from lambda_api.settings import make_settings
from tests.moto_server import moto_address
from tests.sagemaker.batch_shop import BatchShop, make_batch_shop
from tests.sagemaker.fake_sagemaker import CREDENTIALS, REGION, FakeSageMaker, running
from tests.sagemaker.jobs import BUCKET


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with moto_address() as address:
        yield address


@pytest.fixture
def s3(s3_endpoint: str) -> Any:
    """A client; the bucket of the jobs is there and empty."""
    client = boto3.client("s3", endpoint_url=s3_endpoint, **CREDENTIALS)
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    return client


@pytest.fixture
def service(tmp_path: Path, s3_endpoint: str, s3: Any) -> Iterator[FakeSageMaker]:
    with running(tmp_path / "instances", s3_endpoint) as fake:
        yield fake


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    make_batch_shop(folder)
    gc.collect()  # closes the databases: their write-ahead logs must not disappear while a test copies the home
    return folder


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> BatchShop:
    """A copy of its own: addresses of bundle and catalogue stay those of the one that was made."""
    shutil.copytree(made / "home", tmp_path / "home")
    return BatchShop(make_settings({"home": tmp_path / "home", "first_day": "2010-12-01"}))
