"""AWS in trouble, or refusing: what passes is waited for, what does not says what to do, and no job is lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from recsys_assets.sagemaker.job import Hardware, JobPlaces
from tests.sagemaker.fake_sagemaker import CREDENTIALS, FakeSageMaker, Script
from tests.sagemaker.jobs import failure_of, launcher_on, materialise
from tests.training.shop import fit_of


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_trouble_that_does_not_pass_ends_the_wait(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    service.scripts.append(Script(never_starts=True))
    service.errors["DescribeTrainingJob"].extend([(500, "InternalFailure", "hm")] * 1000)
    seconds = iter(range(0, 10**6))
    launcher = launcher_on(service, tmp_path, sleep=lambda _: None, clock=lambda: float(next(seconds)))
    reason = failure_of(materialise(launcher, fit_of(), instance))
    [name] = service.jobs
    assert "failed on its side" in reason
    assert f"aws sagemaker stop-training-job --training-job-name {name}" in reason


def test_a_bucket_in_another_region_is_refused_before_anything_starts(
    service: FakeSageMaker, s3: Any, s3_endpoint: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    elsewhere = boto3.client("s3", endpoint_url=s3_endpoint, **{**CREDENTIALS, "region_name": "us-west-2"})
    elsewhere.create_bucket(Bucket="training-us", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    launcher = launcher_on(service, tmp_path, places=JobPlaces("s3://training-us/training"))
    reason = failure_of(materialise(launcher, fit_of(), instance))
    assert "bucket training-us is in us-west-2, training runs in eu-west-1" in reason
    assert "RECSYS_TRAINING_URI to a bucket in eu-west-1" in reason
    assert service.calls == []
    assert "Contents" not in elsewhere.list_objects_v2(Bucket="training-us"), "no data travelled"


def test_a_missing_bucket_is_refused_before_anything_starts(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    launcher = launcher_on(service, tmp_path, places=JobPlaces("s3://training-nowhere/training"))
    reason = failure_of(materialise(launcher, fit_of(), instance))
    assert "create the bucket or correct the setting" in reason
    assert service.calls == []


def test_a_wrong_setting_is_refused_before_anything_starts(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    hardware = Hardware(max_runtime_s=100, max_wait_s=10)
    reason = failure_of(materialise(launcher_on(service, tmp_path, hardware=hardware), fit_of(), instance))
    assert "max_wait_s (10) counts running and waiting" in reason
    assert service.calls == []


def test_a_job_that_somebody_stopped_is_not_started_again(
    service: FakeSageMaker, s3: Any, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    service.scripts.append(Script(ends="Stopped"))
    reason = failure_of(materialise(launcher_on(service, tmp_path), fit_of(), instance))
    assert "somebody stopped the job; materialise again" in reason
    assert len(service.jobs) == 1
