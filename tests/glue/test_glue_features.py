"""Feature tables through a Glue job: the real program on Spark, and everything that can happen to a run."""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import dagster as dg
import pytest
from moto.server import ThreadedMotoServer

from lambda_api.settings import make_settings
from recsys_assets.features.assets import product_features, user_features
from recsys_assets.features.engine import end_of_log, write_features
from recsys_assets.features.glue_launcher import GlueFeatures
from recsys_assets.features.launching import LocalFeatures
from recsys_assets.lake import Lake
from recsys_assets.resources import open_feature_launcher
from recsys_assets.sagemaker.session import S3MessageReader
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS
from tests.features.comparing import assert_same, keyed
from tests.features.logs import random_rows, tables
from tests.glue.fake_glue import JOB, FakeGlue, refused

REGION, BUCKET = "eu-central-1", "recsys-test-models"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three days of events."""
    lake = Lake(str(tmp_path / "lake"))
    interactions, products, users = tables(*random_rows(21, events=120, users=15, products=12))
    for day in range(3):
        lake.write_day(INTERACTIONS.name, date(2024, 3, 8) + timedelta(days=day), interactions.slice(day * 40, 40))
    lake.write_table(PRODUCTS.name, products)
    lake.write_table(USERS.name, users)
    return lake


def materialise(asset: dg.AssetsDefinition, lake: Lake, glue: FakeGlue, s3: Any, **options: Any) -> Any:
    launcher = GlueFeatures(JOB, f"s3://{BUCKET}/pipes", glue, s3, **{"sleep": lambda _: None, **options})
    with mock.patch("dagster_aws.pipes.clients.glue.time"):
        return dg.materialize([asset], resources={"lake": lake, "features": launcher})


def failure(asset: dg.AssetsDefinition, lake: Lake, glue: FakeGlue, s3: Any, **options: Any) -> tuple[str, bool]:
    """What the step said, and whether Dagster may try again."""
    with pytest.raises(dg.Failure) as caught:
        materialise(asset, lake, glue, s3, **options)
    return str(caught.value.description), caught.value.allow_retries


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="PySpark needs Java 17 on the PATH")
def test_the_program_leaves_what_duckdb_leaves(lake: Lake, s3: Any, s3_endpoint: str) -> None:
    pytest.importorskip("pyspark", reason="install the extra `spark` to run the program")
    table = "user_features"
    expected = write_features(lake, table, end_of_log(lake))
    rows = lake.read(table)
    Path(expected.uri).unlink()

    glue = FakeGlue(environment={"AWS_ENDPOINT_URL": s3_endpoint, **CREDENTIALS})
    result = materialise(user_features, lake, glue, s3)
    assert result.success, glue.output

    found = lake.read(table)
    assert_same(keyed(table, found), keyed(table, rows))
    assert (found.schema.names, found.schema.types) == (rows.schema.names, rows.schema.types)
    left = [path.name for path in Path(expected.uri).parent.iterdir() if path.suffix != ".crc"]
    assert left == ["part-0.parquet"]
    (event,) = result.asset_materializations_for_node(table)
    metadata = {name: value.value for name, value in event.metadata.items()}
    assert (metadata["dagster/row_count"], metadata["dagster/uri"]) == (expected.rows, expected.uri)
    assert metadata["bytes"] == Path(expected.uri).stat().st_size
    (started,) = glue.started
    assert set(started["Arguments"]) == {"--dagster-pipes-context", "--dagster-pipes-messages"}


@pytest.mark.parametrize(
    ("state", "retried", "said"),
    [
        ("FAILED", False, "ended FAILED: OutOfMemory; the run's streams in /aws-glue/jobs/recsys-test-features"),
        ("TIMEOUT", False, "give the job more workers or more minutes"),
        ("STOPPED", False, "somebody stopped it"),
        ("ERROR", True, "ended ERROR: OutOfMemory"),
        ("EXPIRED", True, "it waited too long for capacity"),
    ],
)
def test_a_run_that_does_not_succeed(lake: Lake, s3: Any, state: str, retried: bool, said: str) -> None:
    glue = FakeGlue(states=["WAITING", "STARTING", "RUNNING", state], error="OutOfMemory")
    message, allowed = failure(product_features, lake, glue, s3)
    assert message.startswith(f"run jr_1 of {JOB} ended {state}")
    assert said in message
    assert allowed == retried
    assert len(glue.started) == 1
    assert not lake.has_table("product_features")


def test_a_run_that_says_nothing_wrote_nothing(lake: Lake, s3: Any) -> None:
    message, _ = failure(product_features, lake, FakeGlue(states=["SUCCEEDED"]), s3)
    assert "ended without reporting a table" in message


def test_trouble_that_passes_is_waited_out(lake: Lake, s3: Any) -> None:
    waited: list[float] = []
    trouble = [
        refused("ConcurrentRunsExceededException"),
        refused("ThrottlingException"),
        refused("InternalServiceException"),
    ]
    glue = FakeGlue(states=["FAILED"], trouble=trouble)
    failure(product_features, lake, glue, s3, sleep=waited.append)
    assert (len(glue.started), len(waited)) == (1, 3)


def test_trouble_that_does_not_pass_ends_the_run(lake: Lake, s3: Any) -> None:
    """Throttled for ever while the run goes on: nobody could follow it, so it is stopped and may be tried again."""

    class Throttled(FakeGlue):
        def get_job_run(self, **parameters: Any) -> dict[str, Any]:
            if not self.trouble and self.states[0] == "gone":
                raise refused("ThrottlingException", "GetJobRun")
            return super().get_job_run(**parameters)

    glue = Throttled(states=["RUNNING", "RUNNING", "gone"])
    message, retried = failure(product_features, lake, glue, s3, max_retry_s=60)
    assert "ThrottlingException" in message
    assert retried
    assert glue.stopped == ["jr_1"]


@pytest.mark.parametrize("code", ["AccessDeniedException", "EntityNotFoundException", "ExpiredTokenException"])
def test_a_refusal_is_told_at_once(lake: Lake, s3: Any, code: str) -> None:
    glue = FakeGlue(states=["SUCCEEDED"], trouble=[refused(code)])
    message, retried = failure(product_features, lake, glue, s3)
    assert JOB in message or code in message
    assert not retried
    assert not glue.started


def test_an_interrupted_step_stops_its_run(lake: Lake, s3: Any) -> None:
    from dagster._core.errors import DagsterExecutionInterruptedError

    glue = FakeGlue(states=["RUNNING"])
    interrupted = mock.patch.object(
        S3MessageReader, "drain", side_effect=[None, None, DagsterExecutionInterruptedError()]
    )
    with interrupted, pytest.raises(DagsterExecutionInterruptedError):
        materialise(product_features, lake, glue, s3)
    assert glue.stopped == ["jr_1"]


def test_settings_choose_where_features_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert isinstance(open_feature_launcher(make_settings({"home": tmp_path})), LocalFeatures)
    uris = {name: f"s3://bucket/{name}" for name in ("lake_uri", "models_uri", "catalogue_uri")}
    aws = {"home": tmp_path, "target": "aws", **uris}
    assert isinstance(open_feature_launcher(make_settings(aws)), LocalFeatures)
    launcher = open_feature_launcher(make_settings({**aws, "features_glue_job": JOB}))
    assert isinstance(launcher, GlueFeatures)
    assert (launcher.job, launcher.uri) == (JOB, "s3://bucket/pipes")
