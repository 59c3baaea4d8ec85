"""Names and requests of an endpoint, and the checks of what AWS would refuse; pure functions of plain data.

Fakes accept what AWS refuses, so the rules are checked here. Sources: ``ProductionVariant`` and
``ProductionVariantServerlessConfig`` in the SageMaker API reference; "Serverless Inference" in the developer guide.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lambda_api.errors import RecsysError
from recsys_assets.sagemaker.job import Placement, is_s3_uri, placement_problems, slug, tag_list, vpc_config
from recsys_deploy.endpoints.autoscaling import Scaling, scaling_problems

VARIANT: Final = "AllTraffic"
"""The only variant of an endpoint; shares of traffic are in the routing record."""

NAME_LENGTH: Final = 63
_DIGEST: Final = 10
ENDPOINT_NAME_LENGTH: Final = NAME_LENGTH - _DIGEST - 1
"""Leaves room for the digest in the names of model and configuration, which begin with the endpoint's."""

MEMORY_MB: Final = (1024, 2048, 3072, 4096, 5120, 6144)
MAX_CONCURRENCY: Final = 200
DEFAULT_CONCURRENCY_QUOTA: Final = 10
"""Total concurrency of serverless endpoints in a region of a new account; older accounts have 200."""


class EndpointRefused(RecsysError, ValueError):
    """AWS would refuse this endpoint; the message names every setting at fault and the remedy."""


@dataclass(frozen=True, slots=True)
class Serverless:
    """Capacity that is paid by use.

    Attributes:
        memory_mb: one of `MEMORY_MB`.
        max_concurrency: simultaneous requests, counted against the account's quota.
        provisioned_concurrency: kept warm and paid by the hour; at most ``max_concurrency``.
    """

    memory_mb: int = 2048
    max_concurrency: int = 3
    provisioned_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class RealTime:
    """Capacity on instances that are always on; ``instance_count`` is the initial number where ``scaling`` is set."""

    instance_type: str = "ml.m5.large"
    instance_count: int = 1
    scaling: Scaling | None = None


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """The endpoint of one model version.

    Attributes:
        prefix: project and environment, such as ``recsys-dev``.
        version: of the registered model; the endpoint with several models has a fixed name instead.
        placement: inference image and role; network only with instances.
        model_uri: ``s3://`` address of ``model.tar.gz`` (`recsys_deploy.endpoints.archive`); with ``many_models`` the
            prefix of such archives, ending with a slash.
        many_models: one endpoint for every archive below the prefix, each loaded when it is first asked for; only with
            instances. Callers name the archive (``TargetModel``).
    """

    prefix: str
    version: str
    placement: Placement
    model_uri: str
    capacity: Serverless | RealTime = field(default_factory=Serverless)
    many_models: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the endpoint: the same for the same version, whatever else changes."""
        return endpoint_name(self.prefix, self.version)


@dataclass(frozen=True, slots=True)
class EndpointRequests:
    """Arguments of ``create_model``, ``create_endpoint_config`` and ``create_endpoint``, in that order.

    Names of model and configuration contain a digest of their content: AWS changes neither once it exists, so other
    content needs another name, and the same content is found again.
    """

    model: Mapping[str, Any]
    config: Mapping[str, Any]
    endpoint: Mapping[str, Any]


def endpoint_name(prefix: str, version: str) -> str:
    """``<prefix>-<version>`` in letters, digits and hyphens, at most `ENDPOINT_NAME_LENGTH`; unique by both."""
    readable = slug(f"{prefix}-{version}")
    if readable == f"{prefix}-{version}" and len(readable) <= ENDPOINT_NAME_LENGTH:
        return readable
    # Versions that differ only in characters that names cannot contain need different endpoints.
    digest = hashlib.sha256(f"{prefix}\0{version}".encode()).hexdigest()[:_DIGEST]
    return f"{readable[: ENDPOINT_NAME_LENGTH - _DIGEST - 1].rstrip('-') or 'endpoint'}-{digest}"


def belongs_to(part: str, endpoint: str) -> bool:
    """Whether a model or configuration of this name was made for ``endpoint``."""
    return re.fullmatch(f"{re.escape(endpoint)}-[0-9a-f]{{{_DIGEST}}}", part) is not None


def endpoint_requests(plan: EndpointPlan) -> EndpointRequests:
    """Requests that create the endpoint of ``plan``. Raises `EndpointRefused`."""
    if problems := [*_model_problems(plan), *_capacity_problems(plan)]:
        raise EndpointRefused(f"endpoint {plan.name}: {'; '.join(problems)}")
    model = model_request(plan)
    variant = {"VariantName": VARIANT, "ModelName": model["ModelName"], **_capacity(plan.capacity)}
    config: dict[str, Any] = {"ProductionVariants": [variant], "Tags": model["Tags"]}
    config = {"EndpointConfigName": _named_by_content(plan.name, config), **config}
    names = {"EndpointName": plan.name, "EndpointConfigName": config["EndpointConfigName"]}
    return EndpointRequests(model, config, {**names, "Tags": model["Tags"]})


def model_request(plan: EndpointPlan) -> dict[str, Any]:
    """Arguments of ``create_model`` for an endpoint or a batch transform. Raises `EndpointRefused`."""
    if problems := _model_problems(plan):
        raise EndpointRefused(f"endpoint {plan.name}: {'; '.join(problems)}")
    container = {
        "Image": plan.placement.image,
        "ModelDataUrl": plan.model_uri,
        "Environment": dict(plan.environment),
        **({"Mode": "MultiModel"} if plan.many_models else {}),
    }
    model: dict[str, Any] = {
        "PrimaryContainer": container,
        "ExecutionRoleArn": plan.placement.role_arn,
        "Tags": tag_list(plan.tags),
        **vpc_config(plan.placement),
    }
    return {"ModelName": _named_by_content(plan.name, model), **model}


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


def _model_problems(plan: EndpointPlan) -> list[str]:
    problems = placement_problems(plan.placement, image_setting="RECSYS_INFERENCE_IMAGE")
    if not is_s3_uri(plan.model_uri):
        problems.append(f"{plan.model_uri!r} is not an s3:// address of a model archive")
    elif plan.many_models != plan.model_uri.endswith("/"):
        problems.append(
            f"{plan.model_uri!r}: an endpoint with many models takes a prefix that ends with a slash, one with a "
            "single model its archive"
        )
    return problems


def _capacity_problems(plan: EndpointPlan) -> list[str]:
    capacity, problems = plan.capacity, []
    if isinstance(capacity, RealTime):
        if not capacity.instance_type.startswith("ml."):
            problems.append(f"instance type {capacity.instance_type!r} must start with ml., such as ml.m5.large")
        if capacity.instance_count < 1:
            problems.append("an endpoint on instances needs at least one")
        if capacity.scaling is not None:
            problems += scaling_problems(capacity.scaling, capacity.instance_count)
        return problems
    if plan.placement.subnets:
        problems.append("serverless endpoints do not take a VPC; use instances")
    if plan.many_models:
        problems.append("serverless endpoints take one container with one model; use instances")
    if capacity.memory_mb not in MEMORY_MB:
        problems.append(f"memory_mb is {capacity.memory_mb}; choose one of {', '.join(map(str, MEMORY_MB))}")
    if not 1 <= capacity.max_concurrency <= MAX_CONCURRENCY:
        problems.append(f"max_concurrency is {capacity.max_concurrency}; it must be 1 to {MAX_CONCURRENCY}")
    warm = capacity.provisioned_concurrency
    if warm is not None and not 1 <= warm <= capacity.max_concurrency:
        problems.append(
            f"provisioned_concurrency is {warm}; it must be 1 to max_concurrency ({capacity.max_concurrency})"
        )
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


def _named_by_content(name: str, content: Mapping[str, Any]) -> str:
    """``name`` and a digest of ``content`` without its tags, which AWS lets change."""
    counted = {key: value for key, value in content.items() if key != "Tags"}
    return f"{name}-{hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:_DIGEST]}"
