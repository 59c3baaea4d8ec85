"""Autoscaling of an endpoint on instances: requests to Application Auto Scaling, and the checks of their settings.

Source: "Automatic scaling of Amazon SageMaker AI models" in the developer guide.
"""

from dataclasses import dataclass
from typing import Any, Final

DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
METRIC: Final = "SageMakerVariantInvocationsPerInstance"
POLICY: Final = "invocations-per-instance"


@dataclass(frozen=True, slots=True)
class Scaling:
    """Autoscaling bounds and target value.

    Attributes:
        invocations_per_minute: target for each instance; about half of what one was measured to handle.
        out_cooldown_s, in_cooldown_s: pause after adding or removing instances; a new one takes minutes to start.
    """

    min_instances: int = 1
    max_instances: int = 4
    invocations_per_minute: float = 3_000.0
    out_cooldown_s: int = 60
    in_cooldown_s: int = 300


def scaling_problems(scaling: Scaling, instance_count: int) -> list[str]:
    """What is wrong with ``scaling``, each with its remedy."""
    problems = []
    if not 1 <= scaling.min_instances <= scaling.max_instances:
        problems.append(
            f"autoscaling between {scaling.min_instances} and {scaling.max_instances} instances; the minimum must be "
            "at least 1 and not above the maximum"
        )
    elif not scaling.min_instances <= instance_count <= scaling.max_instances:
        problems.append(
            f"starts with {instance_count} instances, outside of {scaling.min_instances} to {scaling.max_instances}"
        )
    if not scaling.invocations_per_minute > 0:
        problems.append(f"target of {scaling.invocations_per_minute} invocations per minute; give more than 0")
    if scaling.out_cooldown_s < 0 or scaling.in_cooldown_s < 0:
        problems.append("cooldowns are seconds, 0 or more")
    return problems


def target(endpoint: str, variant: str) -> dict[str, Any]:
    """The scaled variant: arguments common to all calls."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{variant}",
        "ScalableDimension": DIMENSION,
    }


def target_request(endpoint: str, variant: str, scaling: Scaling) -> dict[str, Any]:
    """Arguments of ``register_scalable_target``."""
    bounds = {"MinCapacity": scaling.min_instances, "MaxCapacity": scaling.max_instances}
    return {**target(endpoint, variant), **bounds}


def policy_request(endpoint: str, variant: str, scaling: Scaling) -> dict[str, Any]:
    """Arguments of ``put_scaling_policy``."""
    return {
        **target(endpoint, variant),
        "PolicyName": POLICY,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": scaling.invocations_per_minute,
            "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC},
            "ScaleOutCooldown": scaling.out_cooldown_s,
            "ScaleInCooldown": scaling.in_cooldown_s,
        },
    }
