"""Where trainings run is one choice of settings, and everything the choice needs is asked for at once."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lambda_api.settings import Settings, SettingsError, make_settings
from recsys_assets.resources import open_launcher, resources_for
from recsys_assets.training.sagemaker_training import SageMakerLauncher
from recsys_assets.training.subprocess_training import SubprocessLauncher

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
    assert launcher.client.sagemaker.meta.region_name == launcher.client.s3.meta.region_name == "eu-west-1"
    assert launcher.client.places.root == "s3://shop/training"
    assert launcher.placement.role_arn == TRAINING["training_role_arn"]
    assert launcher.hardware.instance_type == "ml.g5.xlarge"


def test_a_missing_region_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(dg.Failure, match="set AWS_REGION"):
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
