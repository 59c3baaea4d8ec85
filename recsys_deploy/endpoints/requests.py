"""What AWS is asked for an endpoint, and what it would refuse: names, requests and guards, without calling anything.

Put rules about endpoints here, as pure functions of plain data. Keep calling AWS (``manager.py``) out.

The rules hold where no service enforces them: fakes accept what AWS refuses. Sources: ``ProductionVariant`` and
``ProductionVariantServerlessConfig`` in the SageMaker API reference; "Serverless Inference", "Shadow tests exclusions"
and "Deployment guardrails exclusions" in the developer guide.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lambda_api.errors import RecsysError
from recsys_deploy.endpoints.autoscaling import Scaling, scaling_problems

VARIANT: Final = "AllTraffic"
"""The one variant of an endpoint. Shares of traffic are the routing record's matter."""

NAME_LENGTH: Final = 63
_DIGEST: Final = 10
ENDPOINT_NAME_LENGTH: Final = NAME_LENGTH - _DIGEST - 1
"""Leaves room for the digest in the names of model and configuration, so that these are found by the endpoint's."""

MEMORY_MB: Final = (1024, 2048, 3072, 4096, 5120, 6144)
MAX_CONCURRENCY: Final = 200
DEFAULT_CONCURRENCY_QUOTA: Final = 10
"""Total concurrency of serverless endpoints that new accounts are given in a region; older ones have 200."""

_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_S3: Final = re.compile(r"s3://[^/]+/.+")
_BARRED_WITH_SERVERLESS: Final[Mapping[str, str]] = {
    "DataCaptureConfig": "data capture; the inference log keeps what was asked and answered",
    "ShadowProductionVariants": "shadow variants; the shadow queue asks the other endpoint",
    "AsyncInferenceConfig": "asynchronous inference; use a batch transform",
    "ExplainerConfig": "explanations",
    "VpcConfig": "a VPC; use instances",
    "EnableNetworkIsolation": "network isolation; use instances",
}


class EndpointRefused(RecsysError, ValueError):
    """AWS would refuse this endpoint; the message names every setting at fault and the remedy."""


@dataclass(frozen=True, slots=True)
class Serverless:
    """Capacity that is paid by use.

    Attributes:
        memory_mb: one of `MEMORY_MB`.
        max_concurrency: requests at the same time, counted against the account's quota.
        provisioned_concurrency: kept warm and paid by the hour; at most ``max_concurrency``.
    """

    memory_mb: int = 2048
    max_concurrency: int = 3
    provisioned_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class RealTime:
    """Capacity on instances, always on.

    Attributes:
        instance_count: to begin with; and always, without ``scaling``.
        scaling: bounds and aim of autoscaling.
        capture_uri: ``s3://`` prefix of SageMaker's own data capture; empty for none. ``capture_percent`` of requests.
    """

    instance_type: str = "ml.m5.large"
    instance_count: int = 1
    scaling: Scaling | None = None
    capture_uri: str = ""
    capture_percent: int = 100


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """The endpoint of one model version.

    Attributes:
        prefix: project and environment, such as ``recsys-dev``.
        version: of the registered model; of an endpoint with several models, its name.
        image: ECR address of the inference container.
        model_uri: ``s3://`` address of ``model.tar.gz`` (`recsys_deploy.endpoints.archive`); with ``many_models`` the
            prefix of such archives, ending with a slash.
        many_models: one endpoint for every archive below the prefix, each loaded when it is first asked; only with
            instances. Callers name the archive (``TargetModel``).
        subnets, security_groups: only with instances.
    """

    prefix: str
    version: str
    image: str
    role_arn: str
    model_uri: str
    capacity: Serverless | RealTime = field(default_factory=Serverless)
    many_models: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the endpoint: the same for the same version, whatever else changes."""
        return endpoint_name(self.prefix, self.version)


@dataclass(frozen=True, slots=True)
class EndpointRequests:
    """Arguments of ``create_model``, ``create_endpoint_config`` and ``create_endpoint``, in that order.

    Names of model and configuration carry a digest of their content: AWS does not change either once it exists, so
    other content needs another name, and the same content is found again.
    """

    model: Mapping[str, Any]
    config: Mapping[str, Any]
    endpoint: Mapping[str, Any]


def endpoint_name(prefix: str, version: str) -> str:
    """``<prefix>-<version>`` in letters, digits and hyphens, at most `ENDPOINT_NAME_LENGTH`; unique by both."""
    readable = re.sub(r"[^a-zA-Z0-9]+", "-", f"{prefix}-{version}").strip("-")
    # Two versions that differ only in characters no name may have must not meet in one endpoint.
    if readable == f"{prefix}-{version}" and len(readable) <= ENDPOINT_NAME_LENGTH:
        return readable
    digest = hashlib.sha256(f"{prefix}\0{version}".encode()).hexdigest()[:_DIGEST]
    return f"{readable[: ENDPOINT_NAME_LENGTH - _DIGEST - 1].rstrip('-') or 'endpoint'}-{digest}"


def belongs_to(part: str, endpoint: str) -> bool:
    """Whether a model or configuration of this name was made for ``endpoint``."""
    return re.fullmatch(f"{re.escape(endpoint)}-[0-9a-f]{{{_DIGEST}}}", part) is not None


def endpoint_requests(plan: EndpointPlan) -> EndpointRequests:
    """What creates the endpoint of ``plan``. Raises `EndpointRefused`."""
    model = model_request(plan)
    tags = model["Tags"]
    variant = {"VariantName": VARIANT, "ModelName": model["ModelName"], **_capacity(plan.capacity)}
    config: dict[str, Any] = {"ProductionVariants": [variant], "Tags": tags}
    if isinstance(plan.capacity, RealTime) and plan.capacity.capture_uri:
        config["DataCaptureConfig"] = _capture(plan.capacity)
    config = {"EndpointConfigName": _named_by_content(plan.name, config), **config}
    if problems := refusals(config, model):
        raise EndpointRefused(f"endpoint {plan.name}: {'; '.join(problems)}")
    endpoint = {"EndpointName": plan.name, "EndpointConfigName": config["EndpointConfigName"], "Tags": tags}
    return EndpointRequests(model, config, endpoint)


def model_request(plan: EndpointPlan) -> dict[str, Any]:
    """Arguments of ``create_model``: what an endpoint, and a batch transform, runs. Raises `EndpointRefused`."""
    if problems := _plan_problems(plan):
        raise EndpointRefused(f"endpoint {plan.name}: {'; '.join(problems)}")
    tags = [{"Key": key, "Value": value} for key, value in sorted(plan.tags.items())]
    container = {
        "Image": plan.image,
        "ModelDataUrl": plan.model_uri,
        "Environment": dict(plan.environment),
        **({"Mode": "MultiModel"} if plan.many_models else {}),
    }
    model: dict[str, Any] = {"PrimaryContainer": container, "ExecutionRoleArn": plan.role_arn, "Tags": tags}
    if plan.subnets:
        model["VpcConfig"] = {"Subnets": list(plan.subnets), "SecurityGroupIds": list(plan.security_groups)}
    return {"ModelName": _named_by_content(plan.name, model), **model}


def refusals(config: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """What AWS refuses in an endpoint configuration and its model, each with the remedy; empty when nothing is.

    Args:
        config: arguments of ``create_endpoint_config``; ``model``: of ``create_model``.
    """
    variants = config.get("ProductionVariants", [])
    serverless = [variant for variant in variants if "ServerlessConfig" in variant]
    if not variants:
        return ["no production variant; give one"]
    problems = [problem for variant in variants for problem in _variant_problems(variant)]
    if not serverless:
        return problems
    if len(variants) > 1:
        problems.append(
            f"serverless endpoints have one variant, not {len(variants)}; make one endpoint per version and let the "
            "routing record share the traffic"
        )
    problems += [
        f"serverless endpoints do not take {what}"
        for name, what in _BARRED_WITH_SERVERLESS.items()
        if config.get(name) or model.get(name)
    ]
    if len(model.get("Containers", [])) > 1 or model.get("PrimaryContainer", {}).get("Mode") == "MultiModel":
        problems.append("serverless endpoints take one container with one model; use instances")
    return problems


def concurrency_problem(
    wanted: Mapping[str, Any], existing: Mapping[str, Mapping[str, Any]], quota: int = DEFAULT_CONCURRENCY_QUOTA
) -> str | None:
    """Why the account's quota of serverless concurrency does not allow another endpoint, or ``None``.

    Args:
        wanted: arguments of ``create_endpoint_config``.
        existing: configurations of the other endpoints in the region, by endpoint name.
    """
    asked = _concurrency(wanted)
    taken = {name: used for name, config in existing.items() if (used := _concurrency(config))}
    total = asked + sum(taken.values())
    if not asked or total <= quota:
        return None
    listed = ", ".join(f"{name} {used}" for name, used in sorted(taken.items()))
    return (
        f"serverless concurrency {asked} on top of {total - asked} ({listed or 'none'}) is more than the quota of "
        f"{quota}: lower max_concurrency, delete an endpoint, or raise the quota in Service Quotas"
    )


def _concurrency(config: Mapping[str, Any]) -> int:
    variants: Iterable[Mapping[str, Any]] = config.get("ProductionVariants", [])
    return sum(int(variant.get("ServerlessConfig", {}).get("MaxConcurrency", 0)) for variant in variants)


def _plan_problems(plan: EndpointPlan) -> list[str]:
    problems = []
    if not plan.image:
        problems.append("no inference image; give the container's ECR address")
    if not _ROLE.fullmatch(plan.role_arn):
        problems.append(f"{plan.role_arn!r} is no role ARN; give the SageMaker execution role")
    if not _S3.fullmatch(plan.model_uri):
        problems.append(f"{plan.model_uri!r} is no s3:// address of a model archive")
    elif plan.many_models != plan.model_uri.endswith("/"):
        problems.append(
            f"{plan.model_uri!r}: an endpoint with many models takes a prefix that ends with a slash, one with a "
            "single model its archive"
        )
    if bool(plan.subnets) != bool(plan.security_groups):
        problems.append("subnets and security groups go together; give both or neither")
    if isinstance(plan.capacity, RealTime) and plan.capacity.scaling is not None:
        problems += scaling_problems(plan.capacity.scaling, plan.capacity.instance_count)
    return problems


def _variant_problems(variant: Mapping[str, Any]) -> list[str]:
    if "ServerlessConfig" not in variant:
        problems = []
        if not str(variant.get("InstanceType", "")).startswith("ml."):
            problems.append(f"instance type {variant.get('InstanceType')!r} must start with ml., such as ml.m5.large")
        if int(variant.get("InitialInstanceCount", 0)) < 1:
            problems.append("an endpoint on instances needs at least one")
        return problems
    capacity, problems = variant["ServerlessConfig"], []
    if capacity["MemorySizeInMB"] not in MEMORY_MB:
        problems.append(f"memory_mb is {capacity['MemorySizeInMB']}; choose one of {', '.join(map(str, MEMORY_MB))}")
    if not 1 <= capacity["MaxConcurrency"] <= MAX_CONCURRENCY:
        problems.append(f"max_concurrency is {capacity['MaxConcurrency']}; it must be 1 to {MAX_CONCURRENCY}")
    warm = capacity.get("ProvisionedConcurrency")
    if warm is not None and not 1 <= warm <= capacity["MaxConcurrency"]:
        problems.append(
            f"provisioned_concurrency is {warm}; it must be 1 to max_concurrency ({capacity['MaxConcurrency']})"
        )
    if "InstanceType" in variant or "InitialInstanceCount" in variant:
        problems.append("a variant is serverless or on instances, not both")
    return problems


def _capacity(capacity: Serverless | RealTime) -> dict[str, Any]:
    if isinstance(capacity, RealTime):
        return {
            "InstanceType": capacity.instance_type,
            "InitialInstanceCount": capacity.instance_count,
            "InitialVariantWeight": 1.0,
        }
    serverless = {"MemorySizeInMB": capacity.memory_mb, "MaxConcurrency": capacity.max_concurrency}
    if capacity.provisioned_concurrency is not None:
        serverless["ProvisionedConcurrency"] = capacity.provisioned_concurrency
    return {"ServerlessConfig": serverless}


def _capture(capacity: RealTime) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": capacity.capture_percent,
        "DestinationS3Uri": capacity.capture_uri,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }


def _named_by_content(name: str, content: Mapping[str, Any]) -> str:
    """``name`` and a digest of ``content``; tags do not count, AWS lets them change."""
    counted = {key: value for key, value in content.items() if key != "Tags"}
    return f"{name}-{hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:_DIGEST]}"
