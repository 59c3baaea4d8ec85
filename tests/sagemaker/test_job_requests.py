"""What is asked of SageMaker: names, places and requests, and what is refused before anything is asked."""

import dataclasses
import re

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_assets.sagemaker.errors import JobRefused
from recsys_assets.sagemaker.job import (
    Hardware,
    JobIdentity,
    JobPlaces,
    Placement,
    create_request,
    differences,
)
from recsys_assets.sagemaker.training_job import TrainingJobPlan
from tests.sagemaker.fake_sagemaker import CREDENTIALS, violations

PLAN = TrainingJobPlan(
    placement=Placement("image", "arn:aws:iam::123456789012:role/service-role/training"),
    hyperparameters={"model": "ncf", "epochs": "4"},
    channels={"interactions": "s3://bucket/in/interactions", "products": "s3://bucket/in/products"},
    output_uri="s3://bucket/out",
    checkpoint_uri="s3://bucket/checkpoints/ncf",
    tags={"recsys/model": "ncf"},
)
NAME = JobIdentity("run", "asset", "ncf").name(1)


@given(st.text(max_size=40), st.text(max_size=80), st.text(max_size=120), st.integers(0, 99), st.integers(1, 99))
def test_every_identity_has_a_name_that_sagemaker_takes(run: str, asset: str, label: str, retry: int, n: int) -> None:
    identity = JobIdentity(run, asset, label, retry)
    name = identity.name(n)
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)
    assert len(name) <= 63
    assert name == JobIdentity(run, asset, label, retry).name(n)


def test_names_differ_in_everything_that_tells_jobs_apart() -> None:
    base = JobIdentity("0d1f7a1e-6f0e", "shop/ncf_model", "ncf-20240301")
    changes = ({}, {"run_id": "0d1f7a1e-6f0f"}, {"asset": "shop/other"}, {"label": "ncf-20240302"}, {"retry": 1})
    names = [dataclasses.replace(base, **change).name(attempt) for change in changes for attempt in (1, 2, 3)]
    assert len(set(names)) == len(names)
    assert names[0].startswith("ncf-20240301-0d1f7a1e-"), "a person can find it"


def test_the_request_is_one_that_the_service_model_takes() -> None:
    kms = dataclasses.replace(
        PLAN,
        placement=dataclasses.replace(PLAN.placement, subnets=("subnet-1",), security_groups=("sg-1",), kms_key="k"),
    )
    model = boto3.client("sagemaker", **CREDENTIALS).meta.service_model.operation_model("CreateTrainingJob")
    for plan in (PLAN, kms, dataclasses.replace(PLAN, hardware=Hardware(spot=False), checkpoint_uri="")):
        request = create_request(plan, NAME, {"A": "b"})
        assert set(request) <= set(model.input_shape.members)
        assert list(violations(request, model.input_shape)) == []
        stopping = request["StoppingCondition"]
        assert request["EnableManagedSpotTraining"] == ("MaxWaitTimeInSeconds" in stopping)
    assert create_request(kms, NAME)["OutputDataConfig"]["KmsKeyId"] == "k"


def test_checkpoints_outlive_the_run_and_nothing_else_does() -> None:
    places = JobPlaces("s3://bucket/root/")
    first, second = (JobIdentity(run, "a", "ncf-20240301") for run in ("one", "two"))
    assert places.checkpoints(first.label) == places.checkpoints(second.label)
    for place in (places.output, lambda identity: places.channel(identity, "products")):
        assert place(first).startswith("s3://bucket/root/runs/one/")
        assert place(first) != place(second)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"placement": Placement("", "arn:aws:iam::123456789012:role/r")}, "set RECSYS_TRAINING_IMAGE"),
        ({"placement": Placement("image", "role")}, "'role' is not a role ARN; set RECSYS_TRAINING_ROLE_ARN"),
        (
            {"placement": Placement("image", "arn:aws:iam::123456789012:role/r", subnets=("a",))},
            "subnets and security groups go together",
        ),
        ({"hardware": Hardware(max_runtime_s=100, max_wait_s=99)}, "must be at least max_runtime_s (100)"),
        ({"hardware": Hardware(max_runtime_s=29 * 86400, max_wait_s=30 * 86400)}, "28 days"),
        ({"hardware": Hardware(instance_type="m5.xlarge")}, "must start with ml."),
        ({"hardware": Hardware(volume_gb=0)}, "give at least 1"),
        ({"checkpoint_uri": ""}, "spot without checkpoint_uri would start from nothing"),
        ({"hyperparameters": {"epochs": 4}}, "SageMaker takes strings only"),
        ({"hyperparameters": {"x": "y" * 2501}}, "hyper-parameter x is 2501 characters long"),
        ({"hyperparameters": {f"p{i}": "" for i in range(101)}}, "at most 100"),
        ({"channels": {}}, "no input channels"),
        ({"output_uri": "/tmp/out"}, "output: '/tmp/out' is not an s3://bucket/prefix URI; set RECSYS_TRAINING_URI"),
        ({"tags": {f"t{i}": "" for i in range(51)}}, "51 tags"),
    ],
)
def test_what_sagemaker_would_refuse_is_refused_here(changes: dict, told: str) -> None:
    with pytest.raises(JobRefused, match=re.escape(told)):
        create_request(dataclasses.replace(PLAN, **changes), NAME)


def test_every_problem_is_named_at_once() -> None:
    plan = dataclasses.replace(PLAN, placement=Placement("", ""), hardware=Hardware(volume_gb=0))
    assert len(plan.problems()) == 3


def test_names_and_variables_have_their_limits() -> None:
    with pytest.raises(JobRefused, match="letters, digits and hyphens"):
        create_request(PLAN, "under_score")
    with pytest.raises(JobRefused, match="variable LONG is 513 characters long"):
        create_request(PLAN, NAME, {"LONG": "x" * 513})
    create_request(PLAN, NAME, {"LONG": "x" * 512})


def test_a_job_is_the_same_work_whatever_it_runs_on() -> None:
    assert differences(PLAN, create_request(dataclasses.replace(PLAN, hardware=Hardware(volume_gb=99)), NAME)) == []
    other = dataclasses.replace(PLAN, hyperparameters={"model": "ncf", "epochs": "5"}, output_uri="s3://bucket/else")
    assert [text.split(":")[0] for text in differences(PLAN, create_request(other, NAME))] == [
        "hyper-parameters",
        "output",
    ]
