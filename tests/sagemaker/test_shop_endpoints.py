"""Autoscaling, many models on one endpoint, and a shop's endpoints by version, on moto."""

import dataclasses
import tarfile
from pathlib import Path
from typing import Any

import boto3
import pytest

from lambda_api.handlers.inference_app import load_model
from lambda_api.recommender.bundle import BundleError
from lambda_api.settings import Settings, make_settings
from lambda_api.state.routing_record import RouteTarget, RoutingRecord, Variant, write_routing
from recsys_assets.registry.model_registry import RegistryError
from recsys_deploy.endpoints.autoscaling import Scaling
from recsys_deploy.endpoints.manager import EndpointError, EndpointManager
from recsys_deploy.endpoints.requests import EndpointRefused, RealTime, Serverless
from recsys_deploy.endpoints.shop_endpoints import Endpoints
from recsys_deploy.subject import subject_of
from tests.sagemaker.batch_shop import BatchShop
from tests.sagemaker.fake_sagemaker import CREDENTIALS, REGION
from tests.sagemaker.test_endpoints import PLAN, SESSION, failing, left_behind, manager, sagemaker

__all__ = ["manager", "sagemaker"]


@pytest.fixture
def scaling(sagemaker: Any) -> Any:
    return SESSION.client("application-autoscaling", **CREDENTIALS)


SCALED = dataclasses.replace(PLAN, version="v9", capacity=RealTime(scaling=Scaling(1, 3, 500.0)))


def targets(scaling: Any) -> list[dict[str, Any]]:
    return scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]


def test_an_endpoint_on_instances_scales_within_its_bounds(
    sagemaker: Any, scaling: Any, manager: EndpointManager
) -> None:
    manager = dataclasses.replace(manager, scaling=scaling)
    for _ in range(2):
        manager.ensure(SCALED)
    [target] = targets(scaling)
    assert (target["ResourceId"], target["MinCapacity"], target["MaxCapacity"]) == (
        f"endpoint/{SCALED.name}/variant/AllTraffic", 1, 3,
    )  # fmt: skip
    [policy] = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 500.0
    assert tracking["PredefinedMetricSpecification"] == {
        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
    }
    manager.delete(SCALED.name)
    assert targets(scaling) == []
    assert left_behind(sagemaker) == (0, 0, 0)
    manager.delete(SCALED.name)


def test_an_endpoint_that_cannot_scale_answers_and_says_so(
    sagemaker: Any, scaling: Any, manager: EndpointManager
) -> None:
    manager = dataclasses.replace(manager, scaling=scaling)
    scaling.meta.events.register(
        "before-call.application-autoscaling.PutScalingPolicy", failing("AccessDeniedException")
    )
    with pytest.raises(EndpointError, match=r"answers, but does not scale: .*allow .*PutScalingPolicy"):
        manager.ensure(SCALED)
    assert left_behind(sagemaker) == (1, 1, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scaling": Scaling(0, 3)}, "between 0 and 3 instances"),
        ({"scaling": Scaling(3, 2)}, "between 3 and 2 instances"),
        ({"scaling": Scaling(2, 3)}, "starts with 1 instances, outside of 2 to 3"),
        ({"scaling": Scaling(1, 3, 0.0)}, "give more than 0"),
        ({"scaling": Scaling(1, 3, 1.0, out_cooldown_s=-1)}, "cooldowns"),
    ],
)
def test_scaling_that_makes_no_sense_is_refused(manager: EndpointManager, changes: dict, told: str) -> None:
    with pytest.raises(EndpointRefused, match=told):
        manager.ensure(dataclasses.replace(PLAN, capacity=RealTime(**changes)))


MANY = dataclasses.replace(
    PLAN, version="models", model_uri="s3://models/archives/", many_models=True, capacity=RealTime()
)


def test_many_models_share_one_endpoint_on_instances(sagemaker: Any, manager: EndpointManager) -> None:
    manager.ensure(MANY)
    [model] = sagemaker.list_models()["Models"]
    container = sagemaker.describe_model(ModelName=model["ModelName"])["PrimaryContainer"]
    assert (container["Mode"], container["ModelDataUrl"]) == ("MultiModel", "s3://models/archives/")
    with pytest.raises(EndpointRefused, match="one container with one model; use instances"):
        manager.ensure(dataclasses.replace(MANY, capacity=Serverless()))
    with pytest.raises(EndpointRefused, match="takes a prefix that ends with a slash"):
        manager.ensure(dataclasses.replace(MANY, model_uri="s3://models/abc/model.tar.gz"))
    with pytest.raises(EndpointRefused, match="takes a prefix that ends with a slash"):
        manager.ensure(dataclasses.replace(PLAN, model_uri="s3://models/archives/"))


@pytest.fixture
def shop_endpoints(sagemaker: Any, scaling: Any, manager: EndpointManager, tmp_path: Path) -> Endpoints:
    s3 = boto3.client("s3", **CREDENTIALS)
    s3.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": REGION})
    settings = Settings.model_construct(
        **{
            **make_settings({"home": tmp_path / "home"}).model_dump(),
            "models_uri": "s3://models/bundles",
            "inference_image": PLAN.placement.image,
            "training_role_arn": PLAN.placement.role_arn,
            "training_tags": "team=recsys",
            "endpoint_prefix": "recsys-dev",
        }
    )
    return Endpoints(settings, dataclasses.replace(manager, scaling=scaling), s3)


def test_a_registered_version_gets_an_endpoint_and_loses_it_only_when_nobody_is_routed_there(
    sagemaker: Any, shop: BatchShop, shop_endpoints: Endpoints, tmp_path: Path
) -> None:
    stores = (shop.registry, shop.bundles, shop.serving)
    state, address = shop_endpoints.create("v1.0.0", Serverless(), *stores)
    assert shop_endpoints.create("v1.0.0", Serverless(), *stores) == (state, address)
    assert (state.status, address) == ("InService", state.name)
    assert [one.name for one in shop_endpoints.list()] == [state.name]
    [model] = sagemaker.list_models()["Models"]
    described = sagemaker.describe_model(ModelName=model["ModelName"])
    archive = described["PrimaryContainer"]["ModelDataUrl"].removeprefix("s3://models/")
    shop_endpoints.s3.download_file("models", archive, str(tmp_path / "model.tar.gz"))
    with tarfile.open(tmp_path / "model.tar.gz") as content:
        content.extractall(tmp_path / "unpacked", filter="data")
    assert load_model(tmp_path / "unpacked").version
    target = RouteTarget("v1.0.0", "somewhere", "abc", endpoint=state.name)
    record = RoutingRecord("none", "none", (Variant("champion", target, 10_000),), None, revision=1, updated_at=1)
    write_routing(shop.serving, record, None)
    with pytest.raises(EndpointRefused, match=r"answers for v1\.0\.0: route its traffic away, then delete it"):
        shop_endpoints.delete("v1.0.0", shop.serving)
    target = dataclasses.replace(target, endpoint=None)
    variants = (Variant("champion", target, 10_000),)
    write_routing(shop.serving, dataclasses.replace(record, variants=variants, revision=2), 1)
    assert shop_endpoints.delete("v1.0.0", shop.serving) == state.name
    assert left_behind(sagemaker) == (0, 0, 0)
    _, address = shop_endpoints.create("v1.0.0", RealTime(), *stores, many_models=True)
    assert address == f"recsys-dev-models/{archive.removeprefix('archives/')}"


def test_what_cannot_be_served_makes_no_endpoint(
    sagemaker: Any, shop: BatchShop, shop_endpoints: Endpoints, tmp_path: Path
) -> None:
    stores = (shop.registry, shop.bundles, shop.serving)
    with pytest.raises(RegistryError):
        shop_endpoints.create("v9.0.0", Serverless(), *stores)
    without = dataclasses.replace(shop_endpoints, settings=make_settings({"home": tmp_path / "other"}))
    with pytest.raises(EndpointRefused, match="set RECSYS_INFERENCE_IMAGE"):
        without.create("v1.0.0", Serverless(), *stores)
    shop_endpoints.s3.delete_bucket(Bucket="models")
    with pytest.raises(EndpointError, match="create the bucket"):
        shop_endpoints.create("v1.0.0", Serverless(), *stores)
    (subject_of(*stores, tmp_path).bundle / "manifest.json").unlink()
    with pytest.raises(BundleError):
        shop_endpoints.create("v1.0.0", Serverless(), *stores)
    assert left_behind(sagemaker) == (0, 0, 0)
