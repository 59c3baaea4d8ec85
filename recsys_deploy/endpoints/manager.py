"""Creates, describes and deletes the endpoint of a model version, and waits for it."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lambda_api.errors import RecsysError
from recsys_assets.aws_errors import AwsProblem, error_code, translate_aws_errors
from recsys_deploy.endpoints.autoscaling import policy_request, target, target_request
from recsys_deploy.endpoints.requests import (
    DEFAULT_CONCURRENCY_QUOTA,
    VARIANT,
    EndpointPlan,
    EndpointRefused,
    EndpointRequests,
    RealTime,
    belongs_to,
    concurrency_problem,
    endpoint_requests,
)

IN_SERVICE, CREATING, FAILED, DELETING = "InService", "Creating", "Failed", "Deleting"


class EndpointError(RecsysError):
    """An endpoint could not be created, changed or deleted; the message says its state and what to do."""

    @classmethod
    def of(cls, problem: AwsProblem) -> "EndpointError":
        """A call about an endpoint that failed."""
        return cls(problem.message, remedy=problem.remedy)


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An endpoint as AWS describes it: SageMaker's own ``status``, and the ``reason`` of a failure."""

    name: str
    status: str
    config_name: str
    reason: str = ""


@dataclass(frozen=True)
class EndpointManager:
    """Endpoints of one account and region. Every method can be repeated after an interruption.

    Attributes:
        sagemaker: a ``boto3.client("sagemaker")``.
        scaling: a ``boto3.client("application-autoscaling")``; needed for endpoints that scale, and to delete any.
        concurrency_quota: the account's total of serverless concurrency.
        wait_s: time limit for an endpoint to come into service or to disappear.
    """

    sagemaker: Any
    scaling: Any = None
    concurrency_quota: int = DEFAULT_CONCURRENCY_QUOTA
    wait_s: float = 1800.0
    between_looks_s: float = 15.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def ensure(self, plan: EndpointPlan) -> EndpointState:
        """The endpoint of ``plan``, in service; created unless it exists. No traffic is routed to it.

        An endpoint that failed earlier is removed first. When the endpoint fails, what this call created is removed.

        Raises:
            EndpointRefused: AWS would refuse it; nothing was created.
            EndpointError: it failed, does not come into service in time, or exists with another configuration.
        """
        requests = endpoint_requests(plan)
        with _translated("sagemaker:CreateEndpoint", plan.placement.role_arn):
            state = self.describe(plan.name)
            if state is not None and state.status in (FAILED, DELETING):
                self.delete(plan.name)
                state = None
            if state is None:
                self._create(requests)
            elif state.config_name != requests.config["EndpointConfigName"]:
                raise EndpointError(
                    f"endpoint {plan.name} exists with configuration {state.config_name}, not "
                    f"{requests.config['EndpointConfigName']}: route its traffic away, delete it, then create it again"
                )
            state = self._wait_until_in_service(plan.name, requests)
        self._scale(plan)
        return state

    def list(self, prefix: str) -> list[EndpointState]:
        """Endpoints whose names begin with ``prefix``, by name. Raises `EndpointError` when a call fails."""
        with _translated("sagemaker:ListEndpoints"):
            pages = self.sagemaker.get_paginator("list_endpoints").paginate(NameContains=prefix)
            names = sorted(item["EndpointName"] for page in pages for item in page["Endpoints"])
            states = [self.describe(name) for name in names if name.startswith(prefix)]
            return [state for state in states if state is not None]

    def ensure_model(self, request: Mapping[str, Any]) -> None:
        """Create the model of ``request`` (`model_request`) unless it exists. Raises `EndpointError`."""
        with _translated("sagemaker:CreateModel", request["ExecutionRoleArn"]):
            self._unless_present(self.sagemaker.create_model, request)

    def delete_model(self, name: str) -> None:
        """Delete a model that no endpoint uses, if it exists. Raises `EndpointError`."""
        with _translated("sagemaker:DeleteModel"):
            self._tolerate_missing(self.sagemaker.delete_model, ModelName=name)

    def describe(self, name: str) -> EndpointState | None:
        """The endpoint, or ``None`` when it does not exist. Raises `EndpointError` when the call fails."""
        with _translated("sagemaker:DescribeEndpoint"):
            try:
                answer = self.sagemaker.describe_endpoint(EndpointName=name)
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise
            return EndpointState(
                name, answer["EndpointStatus"], answer["EndpointConfigName"], answer.get("FailureReason", "")
            )

    def delete(self, name: str) -> None:
        """Delete the endpoint, its configuration and its models, those that still exist.

        Raises:
            EndpointError: it is being created or updated, which AWS does not interrupt, or it is not deleted in time.
        """
        with _translated("sagemaker:DeleteEndpoint"):
            state = self.describe(name)
            if state is not None:
                if state.status not in (IN_SERVICE, FAILED, DELETING, "OutOfService", "UpdateRollbackFailed"):
                    raise EndpointError(
                        f"endpoint {name} is {state.status}; AWS deletes it only once it is InService or Failed: "
                        "delete it again later"
                    )
                if self.scaling is not None:
                    self._tolerate_missing(self.scaling.deregister_scalable_target, **target(name, VARIANT))
                if state.status != DELETING:
                    self._tolerate_missing(self.sagemaker.delete_endpoint, EndpointName=name)
                self._wait_until_gone(name)
            for config_name in self._config_names(name, state):
                self._delete_config(config_name)

    def _scale(self, plan: EndpointPlan) -> None:
        """Set autoscaling as planned; both calls replace earlier settings. The endpoint answers even if they fail."""
        scaling = plan.capacity.scaling if isinstance(plan.capacity, RealTime) else None
        if scaling is None:
            return
        try:
            with _translated("application-autoscaling:RegisterScalableTarget and PutScalingPolicy"):
                self.scaling.register_scalable_target(**target_request(plan.name, VARIANT, scaling))
                self.scaling.put_scaling_policy(**policy_request(plan.name, VARIANT, scaling))
        except EndpointError as error:
            raise EndpointError(
                f"endpoint {plan.name} answers, but does not scale: {error}. Create it again"
            ) from error

    def _create(self, requests: EndpointRequests) -> None:
        name = requests.endpoint["EndpointName"]
        if problem := concurrency_problem(requests.config, self._other_configs(name), self.concurrency_quota):
            raise EndpointRefused(f"endpoint {name}: {problem}")
        try:
            self._unless_present(self.sagemaker.create_model, requests.model)
            self._unless_present(self.sagemaker.create_endpoint_config, requests.config)
            self._unless_present(self.sagemaker.create_endpoint, requests.endpoint)
        except (ClientError, BotoCoreError):
            self._clean(requests)
            raise

    def _wait_until_in_service(self, name: str, requests: EndpointRequests) -> EndpointState:
        deadline = self.clock() + self.wait_s
        while True:
            state = self.describe(name)
            if state is None:
                raise EndpointError(f"endpoint {name} was deleted while it was waited for; create it again")
            if state.status == IN_SERVICE:
                return state
            if state.status == FAILED:
                self._clean(requests)
                raise EndpointError(
                    f"endpoint {name} failed and was removed: {state.reason or 'AWS gives no reason'}. Look at the log "
                    f"group /aws/sagemaker/Endpoints/{name}; the container must answer GET /ping, and the model's "
                    "archive must be there (creating the endpoint again uploads it)"
                )
            if self.clock() >= deadline:
                raise EndpointError(
                    f"endpoint {name} is still {state.status} after {self.wait_s:.0f} s; nothing uses it yet. Look at "
                    f"the log group /aws/sagemaker/Endpoints/{name}; run this again to go on waiting. AWS cannot "
                    "interrupt a creation: delete it once it has failed"
                )
            self.sleep(self.between_looks_s)

    def _wait_until_gone(self, name: str) -> None:
        deadline = self.clock() + self.wait_s
        while (state := self.describe(name)) is not None:
            if self.clock() >= deadline:
                raise EndpointError(
                    f"endpoint {name} is still {state.status} after {self.wait_s:.0f} s; delete it again"
                )
            self.sleep(self.between_looks_s)

    def _clean(self, requests: EndpointRequests) -> None:
        """Remove the parts left by a failed creation, in the order of their dependencies."""
        name = requests.endpoint["EndpointName"]
        state = self.describe(name)
        if state is not None and state.status in (CREATING, IN_SERVICE):
            return  # another process is creating the same endpoint and needs its parts
        if state is not None:
            self._tolerate_missing(self.sagemaker.delete_endpoint, EndpointName=name)
            self._wait_until_gone(name)
        config, model = requests.config["EndpointConfigName"], requests.model["ModelName"]
        self._tolerate_missing(self.sagemaker.delete_endpoint_config, EndpointConfigName=config)
        self._tolerate_missing(self.sagemaker.delete_model, ModelName=model)

    def _config_names(self, name: str, state: EndpointState | None) -> set[str]:
        """The endpoint's configuration, and those left by an interrupted creation of the same endpoint."""
        pages = self.sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=name)
        left = {item["EndpointConfigName"] for page in pages for item in page["EndpointConfigs"]}
        own = {config for config in left if belongs_to(config, name)}
        return own | ({state.config_name} if state else set())

    def _delete_config(self, config_name: str) -> None:
        try:
            config = self.sagemaker.describe_endpoint_config(EndpointConfigName=config_name)
        except ClientError as error:
            if _is_missing(error):
                return
            raise
        self._tolerate_missing(self.sagemaker.delete_endpoint_config, EndpointConfigName=config_name)
        for variant in config["ProductionVariants"]:
            self._tolerate_missing(self.sagemaker.delete_model, ModelName=variant["ModelName"])

    def _other_configs(self, name: str) -> dict[str, Mapping[str, Any]]:
        configs: dict[str, Mapping[str, Any]] = {}
        for page in self.sagemaker.get_paginator("list_endpoints").paginate():
            for item in page["Endpoints"]:
                other = item["EndpointName"]
                state = self.describe(other) if other != name and item["EndpointStatus"] != FAILED else None
                if state is not None:
                    configs[other] = self.sagemaker.describe_endpoint_config(EndpointConfigName=state.config_name)
        return configs

    def _unless_present(self, create: Callable[..., Any], request: Mapping[str, Any]) -> None:
        try:
            create(**request)
        except ClientError as error:
            # Names contain a digest of the content, so what has this name is identical.
            if "already exist" not in str(error).lower():
                raise

    def _tolerate_missing(self, delete: Callable[..., Any], **names: str) -> None:
        try:
            delete(**names)
        except ClientError as error:
            if not _is_missing(error):
                raise


def _translated(action: str, role_arn: str = "") -> AbstractContextManager[None]:
    return translate_aws_errors(action, EndpointError.of, role_arn=role_arn)


def _is_missing(error: ClientError) -> bool:
    code, message = error_code(error), error.response["Error"].get("Message", "").lower()
    return code in ("ResourceNotFound", "ResourceNotFoundException", "ObjectNotFoundException") or (
        code == "ValidationException"
        and any(words in message for words in ("could not find", "not found", "not exist", "no scalable target"))
    )
