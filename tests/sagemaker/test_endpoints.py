"""Endpoints on moto, which accepts what AWS refuses and is never slow: the guards and the waits are ours."""

import dataclasses
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from moto.sagemaker.models import sagemaker_backends

from lambda_api.handlers.inference_app import load_model
from recsys_deploy.endpoints.archive import publish_archive, write_archive
from recsys_deploy.endpoints.manager import EndpointError, EndpointManager
from recsys_deploy.endpoints.requests import (
    EndpointPlan,
    EndpointRefused,
    RealTime,
    Serverless,
    belongs_to,
    concurrency_problem,
    endpoint_name,
    endpoint_requests,
)
from tests.sagemaker.fake_sagemaker import CREDENTIALS, REGION, violations
from tests.sagemaker.jobs import PLACEMENT
from tests.serving_home import make_home

PLAN = EndpointPlan(
    prefix="recsys-dev",
    version="v7",
    placement=PLACEMENT,
    model_uri="s3://models/abc/model.tar.gz",
    tags={"recsys/version": "v7"},
)
ON_INSTANCES = dataclasses.replace(PLAN, version="v8", capacity=RealTime())


SESSION = boto3.Session()
"""Keeps what botocore has read of the service; moto throws the default session away with every mock."""


@pytest.fixture
def sagemaker() -> Iterator[Any]:
    with mock_aws():
        yield SESSION.client("sagemaker", **CREDENTIALS)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    home = make_home(tmp_path / "shop", products=60, shoppers=5, events=5, kind="factors")
    (catalogue,) = Path(home.settings.catalogue_uri).iterdir()
    shutil.copytree(home.target.bundle_uri, tmp_path / "model" / "bundle")
    shutil.copytree(catalogue, tmp_path / "model" / "catalogue")
    return tmp_path / "model"


@pytest.fixture
def manager(sagemaker: Any) -> EndpointManager:
    seconds = iter(range(10**6))
    return EndpointManager(
        sagemaker, wait_s=50, between_looks_s=1, sleep=lambda _: None, clock=lambda: float(next(seconds))
    )


def moto_endpoint(name: str) -> Any:
    [found] = [e for e in sagemaker_backends["123456789012"][REGION].endpoints.values() if e.endpoint_name == name]
    return found


def left_behind(sagemaker: Any) -> tuple[int, int, int]:
    return (
        len(sagemaker.list_endpoints()["Endpoints"]),
        len(sagemaker.list_endpoint_configs()["EndpointConfigs"]),
        len(sagemaker.list_models()["Models"]),
    )


def born_as(sagemaker: Any, status: str, reason: str = "") -> None:
    """From now on endpoints are created in ``status``."""

    def change(parsed: dict, **_: Any) -> None:
        endpoint = moto_endpoint(parsed["EndpointArn"].rsplit("/", 1)[-1])
        endpoint.endpoint_status, endpoint.failure_reason = status, reason

    sagemaker.meta.events.register("after-call.sagemaker.CreateEndpoint", change)


@pytest.mark.parametrize("plan", [PLAN, ON_INSTANCES], ids=["serverless", "on instances"])
def test_an_endpoint_is_created_once_and_deleted_without_a_trace(
    sagemaker: Any, manager: EndpointManager, plan: EndpointPlan
) -> None:
    state = manager.ensure(plan)
    assert (state.name, state.status) == (plan.name, "InService")
    assert manager.ensure(plan) == state == manager.describe(plan.name)
    assert left_behind(sagemaker) == (1, 1, 1)
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=state.config_name)["ProductionVariants"][0]
    assert ("ServerlessConfig" in variant) == (plan is PLAN)
    manager.delete(plan.name)
    assert left_behind(sagemaker) == (0, 0, 0)
    assert manager.describe(plan.name) is None
    manager.delete(plan.name)


def test_versions_have_endpoints_of_their_own(sagemaker: Any, manager: EndpointManager) -> None:
    plans = [dataclasses.replace(PLAN, version=version) for version in ("v7", "v7-2")]
    for plan in plans:
        manager.ensure(plan)
    manager.delete("recsys-dev-v7")
    assert left_behind(sagemaker) == (1, 1, 1)
    assert manager.ensure(plans[1]).status == "InService"


def test_a_creation_that_was_cut_short_is_finished(sagemaker: Any, manager: EndpointManager) -> None:
    requests = endpoint_requests(PLAN)
    sagemaker.create_model(**requests.model)
    sagemaker.create_endpoint_config(**requests.config)
    assert manager.ensure(PLAN).status == "InService"
    assert left_behind(sagemaker) == (1, 1, 1)


def test_what_a_cut_short_creation_left_is_deleted(sagemaker: Any, manager: EndpointManager) -> None:
    requests = endpoint_requests(PLAN)
    sagemaker.create_model(**requests.model)
    sagemaker.create_endpoint_config(**requests.config)
    manager.delete(PLAN.name)
    assert left_behind(sagemaker) == (0, 0, 0)


def test_an_endpoint_that_fails_is_removed_and_says_why(sagemaker: Any, manager: EndpointManager) -> None:
    born_as(sagemaker, "Failed", "The primary container did not pass the ping health check.")
    with pytest.raises(EndpointError, match=r"did not pass the ping health check.*log group /aws/sagemaker/Endpoints/"):
        manager.ensure(PLAN)
    assert left_behind(sagemaker) == (0, 0, 0)


def test_an_endpoint_that_failed_earlier_is_replaced(sagemaker: Any, manager: EndpointManager) -> None:
    manager.ensure(PLAN)
    moto_endpoint(PLAN.name).endpoint_status = "Failed"
    assert manager.ensure(PLAN).status == "InService"
    assert left_behind(sagemaker) == (1, 1, 1)


def test_an_endpoint_stuck_in_creating_is_waited_for_within_bounds_and_not_torn_apart(
    sagemaker: Any, manager: EndpointManager
) -> None:
    born_as(sagemaker, "Creating")
    with pytest.raises(EndpointError, match=r"still Creating after 50 s; nothing uses it yet.*run this again"):
        manager.ensure(PLAN)
    assert left_behind(sagemaker) == (1, 1, 1), "AWS is still working on it"
    with pytest.raises(EndpointError, match="is Creating; AWS deletes it only once"):
        manager.delete(PLAN.name)
    moto_endpoint(PLAN.name).endpoint_status = "InService"
    assert manager.ensure(PLAN).status == "InService"


def test_another_configuration_under_the_same_name_is_not_taken_for_this_one(manager: EndpointManager) -> None:
    manager.ensure(PLAN)
    with pytest.raises(EndpointError, match="route its traffic away, delete it"):
        manager.ensure(dataclasses.replace(PLAN, capacity=Serverless(memory_mb=4096)))


def failing(code: str, message: str = "no") -> Callable[..., Any]:
    def answer(**_: Any) -> Any:
        parsed = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        return AWSResponse("", 400, {}, None), parsed

    return answer


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("AccessDeniedException", "iam:PassRole on arn:aws:iam::123456789012:role/training"),
        ("ExpiredTokenException", "sign in again"),
        ("ThrottlingException", "run it again in some minutes"),
        ("ResourceLimitExceeded", "Service Quotas"),
    ],
)
def test_a_refused_creation_leaves_nothing_and_says_what_to_do(
    sagemaker: Any, manager: EndpointManager, code: str, told: str
) -> None:
    sagemaker.meta.events.register("before-call.sagemaker.CreateEndpoint", failing(code))
    with pytest.raises(EndpointError, match=re.escape(told)):
        manager.ensure(PLAN)
    assert left_behind(sagemaker) == (0, 0, 0)


def test_a_deleted_archive_is_told_from_a_wrong_request(sagemaker: Any, manager: EndpointManager) -> None:
    gone = failing("ValidationException", f"Could not find model data at {PLAN.model_uri}.")
    sagemaker.meta.events.register("before-call.sagemaker.CreateModel", gone)
    with pytest.raises(EndpointError, match="archive was deleted, or the role may not read it: run it again"):
        manager.ensure(PLAN)
    assert left_behind(sagemaker) == (0, 0, 0)


def test_the_accounts_concurrency_is_shared_by_every_endpoint(sagemaker: Any, manager: EndpointManager) -> None:
    for version, concurrency in (("v1", 4), ("v2", 5)):
        manager.ensure(dataclasses.replace(PLAN, version=version, capacity=Serverless(max_concurrency=concurrency)))
    with pytest.raises(EndpointRefused, match=r"concurrency 2 on top of 9 \(recsys-dev-v1 4, recsys-dev-v2 5\)"):
        manager.ensure(dataclasses.replace(PLAN, capacity=Serverless(max_concurrency=2)))
    assert left_behind(sagemaker) == (2, 2, 2)
    manager.ensure(dataclasses.replace(PLAN, capacity=Serverless(max_concurrency=1)))
    manager.ensure(ON_INSTANCES)


def test_concurrency_is_no_matter_of_instances() -> None:
    full = endpoint_requests(dataclasses.replace(PLAN, capacity=Serverless(max_concurrency=10))).config
    assert concurrency_problem(endpoint_requests(ON_INSTANCES).config, {"full": full}) is None
    assert concurrency_problem(full, {}) is None
    assert concurrency_problem(full, {"full": full}) is not None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"capacity": Serverless(memory_mb=1500)}, "choose one of 1024, 2048, 3072, 4096, 5120, 6144"),
        ({"capacity": Serverless(max_concurrency=0)}, "must be 1 to 200"),
        ({"capacity": Serverless(max_concurrency=201)}, "must be 1 to 200"),
        ({"capacity": Serverless(provisioned_concurrency=4)}, "must be 1 to max_concurrency (3)"),
        ({"capacity": RealTime(instance_type="t3")}, "must start with ml."),
        ({"capacity": RealTime(instance_count=0)}, "needs at least one"),
        (
            {"placement": dataclasses.replace(PLACEMENT, subnets=("a",), security_groups=("b",))},
            "do not take a VPC; use instances",
        ),
        ({"placement": dataclasses.replace(PLACEMENT, subnets=("a",))}, "subnets and security groups go together"),
        ({"placement": dataclasses.replace(PLACEMENT, image="")}, "no image; set RECSYS_INFERENCE_IMAGE"),
        ({"placement": dataclasses.replace(PLACEMENT, role_arn="me")}, "'me' is not a role ARN"),
        ({"model_uri": "/tmp/model.tar.gz"}, "is not an s3:// address"),
        ({"many_models": True, "model_uri": "s3://models/abc/"}, "one container with one model"),
    ],
)
def test_what_aws_would_refuse_is_refused_here(
    sagemaker: Any, manager: EndpointManager, changes: dict, told: str
) -> None:
    with pytest.raises(EndpointRefused, match=re.escape(told)):
        manager.ensure(dataclasses.replace(PLAN, **changes))
    assert left_behind(sagemaker) == (0, 0, 0)


@pytest.mark.parametrize("plan", [PLAN, ON_INSTANCES], ids=["serverless", "on instances"])
def test_requests_are_ones_that_the_service_model_takes(plan: EndpointPlan) -> None:
    model = boto3.client("sagemaker", **CREDENTIALS).meta.service_model
    requests = endpoint_requests(plan)
    for operation, request in (
        ("CreateModel", requests.model),
        ("CreateEndpointConfig", requests.config),
        ("CreateEndpoint", requests.endpoint),
    ):
        assert list(violations(request, model.operation_model(operation).input_shape)) == []


@given(st.text(max_size=70), st.text(min_size=1, max_size=70))
def test_every_version_has_a_name_that_sagemaker_takes(prefix: str, version: str) -> None:
    name = endpoint_name(prefix, version)
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,51}", name)
    requests = endpoint_requests(dataclasses.replace(PLAN, prefix=prefix, version=version))
    for part in (requests.config["EndpointConfigName"], requests.model["ModelName"]):
        assert len(part) <= 63
        assert belongs_to(part, name)


def test_versions_that_read_alike_are_told_apart() -> None:
    names = {endpoint_name("recsys", version) for version in ("v1.0", "v1-0", "v1_0", "v1--0")}
    assert len(names) == 4


def test_content_makes_the_name_and_tags_do_not() -> None:
    first, tagged = (endpoint_requests(dataclasses.replace(PLAN, tags=tags)) for tags in ({}, {"a": "b"}))
    other = endpoint_requests(dataclasses.replace(PLAN, environment={"MODEL_SERVER_WORKERS": "1"}))
    assert first.config["EndpointConfigName"] == tagged.config["EndpointConfigName"]
    assert first.model["ModelName"] != other.model["ModelName"]
    assert first.config["EndpointConfigName"] != other.config["EndpointConfigName"]


def test_the_archive_is_reproducible_and_what_the_container_serves(model_folder: Path, tmp_path: Path) -> None:
    checksums = {
        write_archive(model_folder / "bundle", model_folder / "catalogue", tmp_path / f"{number}.tar.gz")
        for number in range(2)
    }
    assert len(checksums) == 1
    with tarfile.open(tmp_path / "0.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert load_model(tmp_path / "unpacked").version
    with mock_aws():
        s3 = boto3.client("s3", **CREDENTIALS)
        s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": REGION})
        address = publish_archive(s3, "s3://models/endpoints/", model_folder / "bundle", model_folder / "catalogue")
        assert address == f"s3://models/endpoints/{checksums.pop()}/model.tar.gz"
        assert s3.list_objects_v2(Bucket="models")["KeyCount"] == 1
