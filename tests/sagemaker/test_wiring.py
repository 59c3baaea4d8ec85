"""Where trainings run is one choice of settings, and everything the choice needs is asked for at once."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lambda_api.settings import Settings, SettingsError, make_settings
from recsys_assets.aws_errors import AwsCallFailed
from recsys_assets.resources import open_launcher, resources_for
from recsys_assets.sagemaker.client import PipesSageMakerClient
from recsys_assets.training.local_launcher import SubprocessLauncher
from recsys_assets.training.sagemaker_launcher import SageMakerLauncher
from tests.sagemaker.fake_sagemaker import FakeSageMaker, Script
from tests.sagemaker.jobs import ROOT, jobs_on, materialise
from tests.training.shop import fit_of

AWS = {
    "target": "aws",
    "lake_uri": "s3://shop/lake",
    "models_uri": "s3://shop/models",
    "catalogue_uri": "s3://shop/catalogue",
}
TRAINING = {
    "training_image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/recsys:1",
    "training_role_arn": "arn:aws:iam::123456789012:role/training",
    "training_uri": "s3://shop/training",
}


def settings_of(home: Path, *changes: dict[str, Any]) -> Settings:
    return make_settings({"home": home, **{name: value for change in changes for name, value in change.items()}})


def test_a_laptop_and_a_step_without_an_image_train_in_a_process(tmp_path: Path) -> None:
    for changes in ({}, AWS):
        launcher = open_launcher(settings_of(tmp_path, changes))
        assert launcher == SubprocessLauncher(tmp_path / "training", launcher.client)


def test_an_image_makes_it_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    settings = settings_of(tmp_path, AWS, TRAINING, {"training_instance_type": "ml.g5.xlarge"})
    with dg.build_resources({"training": resources_for(settings)["training"]}) as resources:
        launcher = resources.training
    assert isinstance(launcher, SageMakerLauncher)
    assert launcher.client.jobs.region == launcher.client.jobs.s3.meta.region_name == "eu-west-1"
    assert launcher.client.places.root == "s3://shop/training"
    assert launcher.placement.role_arn == TRAINING["training_role_arn"]
    assert launcher.hardware.instance_type == "ml.g5.xlarge"


def test_a_missing_region_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(AwsCallFailed, match="set AWS_REGION"):
        open_launcher(settings_of(tmp_path, AWS, TRAINING))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([TRAINING], "RECSYS_TRAINING_IMAGE needs RECSYS_TARGET=aws"),
        ([AWS, TRAINING, {"training_role_arn": ""}], "needs RECSYS_TRAINING_ROLE_ARN"),
        ([AWS, TRAINING, {"training_uri": "here"}], "needs RECSYS_TRAINING_URI"),
    ],
)
def test_half_a_configuration_is_refused(tmp_path: Path, changes: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        settings_of(tmp_path, *changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training_subnets": "subnet-1"}, "RECSYS_TRAINING_SUBNETS and RECSYS_TRAINING_SECURITY_GROUPS go together"),
        ({"training_max_wait_s": 60}, "at least RECSYS_TRAINING_MAX_RUNTIME_S (14400); or set RECSYS_TRAINING_SPOT"),
        ({"training_instance_type": "m5.large"}, "RECSYS_TRAINING_INSTANCE_TYPE must start with ml."),
        ({"inference_instance_type": "m5.large"}, "RECSYS_INFERENCE_INSTANCE_TYPE must start with ml."),
        ({"training_tags": "team"}, "RECSYS_TRAINING_TAGS: 'team' is not name=value"),
        ({"training_tags": "aws:team=x"}, "RECSYS_TRAINING_TAGS: 'aws:team=x' is not name=value"),
        ({"inference_image": "image"}, "RECSYS_INFERENCE_IMAGE needs RECSYS_TARGET=aws"),
        ({"training_volume_gb": 0}, "RECSYS_TRAINING_VOLUME_GB"),
    ],
)
def test_settings_of_jobs_that_do_not_go_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)):
        settings_of(tmp_path, changes)


def test_everything_wrong_with_jobs_is_said_at_once(tmp_path: Path) -> None:
    wrong = {"training_subnets": "subnet-1", "training_max_wait_s": 60, "training_tags": "team"}
    with pytest.raises(SettingsError) as refusal:
        settings_of(tmp_path, wrong)
    assert all(name in str(refusal.value) for name in ("SUBNETS", "MAX_WAIT_S", "TAGS"))


def test_settings_become_what_a_job_asks_for(
    service: FakeSageMaker, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    settings = settings_of(
        tmp_path,
        AWS,
        {**TRAINING, "training_uri": ROOT},
        {
            "training_spot": False, "training_volume_gb": 77, "training_max_runtime_s": 600,
            "training_subnets": "subnet-1, subnet-2", "training_security_groups": "sg-1", "training_kms_key": "key",
            "training_tags": "team=recsys,cost=shop",
        },
    )  # fmt: skip
    launcher = open_launcher(settings)
    assert isinstance(launcher, SageMakerLauncher)
    client = PipesSageMakerClient(jobs_on(service), launcher.client.places)
    service.scripts.append(Script(fails="ClientError: the rest of this test"))
    with dg.DagsterInstance.ephemeral() as instance:
        materialise(dataclasses.replace(launcher, client=client), fit_of(), instance)
    [job] = service.jobs.values()
    request = job.request
    assert request["ResourceConfig"]["VolumeSizeInGB"] == 77
    assert request["ResourceConfig"]["VolumeKmsKeyId"] == request["OutputDataConfig"]["KmsKeyId"] == "key"
    assert request["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 600}
    assert request["EnableManagedSpotTraining"] is False
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert {"team": "recsys", "cost": "shop", "recsys/model": "popularity"}.items() <= tags.items()
