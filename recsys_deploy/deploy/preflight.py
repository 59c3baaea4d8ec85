"""Checks of the account before anything is created: quotas, images, and how long the credentials are still valid.

New accounts have small quotas: often 10 concurrent executions of Lambda, 0 spot instances of a SageMaker type, few
vCPUs of Fargate. What would stop the deployment is an error; the rest is shown as a warning. A quota that the
credentials may not read is a warning too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from recsys_assets.aws_errors import error_code
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.deploy.images import needed_images
from recsys_deploy.deploy.values import Environment

LEFT_UNRESERVED: Final = 100
"""Concurrent executions that Lambda keeps for functions without a reservation."""

FEW_EXECUTIONS: Final = 100
SHORTEST_LIFE: Final = timedelta(minutes=10)
SHORT_LIFE: Final = timedelta(hours=1)
"""A first deployment with CloudFront or a database takes up to half an hour."""

CONCURRENCY: Final = ("lambda", "L-B99A9384", "Lambda, concurrent executions")
FARGATE: Final = ("fargate", "L-3032A538", "Fargate On-Demand vCPU resource count")
QUOTA_PAGE: Final = "https://{region}.console.aws.amazon.com/servicequotas/home/services/{service}/quotas/{code}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of the account: ``stops``: the deployment would fail. ``remedy``: what to request and where."""

    message: str
    remedy: str
    stops: bool = False

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


def preflight(environment: Environment, aws: Aws, image_tag: str) -> list[Finding]:
    """Check the account for this environment; nothing is changed.

    Returns:
        Warnings.

    Raises:
        DeployError: every finding that would stop the deployment.
    """
    values = environment.values
    found = [
        *_credentials(aws.expiry(), datetime.now(UTC)),
        *_concurrency(values, aws),
        *_fargate(values, aws),
        *_training(values, aws),
        *_images(values, aws, environment.prefix, image_tag),
        *_page(values),
    ]
    if stopping := [str(finding) for finding in found if finding.stops]:
        raise DeployError(f"account of {environment.name}: {'. '.join(stopping)}. Nothing was changed")
    return found


def _credentials(expiry: datetime | None, now: datetime) -> Iterator[Finding]:
    if expiry is not None and expiry - now < SHORT_LIFE:
        left = max(0, round((expiry - now).total_seconds() / 60))
        remedy = "sign in again (aws sso login), or use a profile whose credentials are refreshed"
        yield Finding(f"the credentials expire in {left} minutes", remedy, expiry - now < SHORTEST_LIFE)


def _concurrency(values: Mapping[str, Any], aws: Aws) -> Iterator[Finding]:
    service, code, what = CONCURRENCY
    remedy = f"request a higher quota at {_page_of(aws, service, code)}"
    try:
        limit = int(aws.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"])
    except (ClientError, BotoCoreError) as error:
        yield _unread(what, error)
        return
    sizes = values["functions"].values()
    reserved = sum(size.get("reserved_concurrency") or 0 for size in sizes)
    if reserved and reserved > limit - LEFT_UNRESERVED:
        message = (
            f"reservations of {reserved} exceed the quota: {what} is {limit}, of which {LEFT_UNRESERVED} stay free"
        )
        yield Finding(message, f"{remedy}, or set reserved_concurrency = null", stops=True)
    elif limit < FEW_EXECUTIONS:
        yield Finding(f"{what} is {limit}, about {limit * 10} requests per second at 100 ms", remedy)


def _fargate(values: Mapping[str, Any], aws: Aws) -> Iterator[Finding]:
    if (runs := values.get("runs")) is None:
        return
    dagster = values.get("dagster")
    needed = runs["cpu"] / 1024 + (4 * dagster["size"]["cpu"] / 1024 if dagster else 0)
    service, code, what = FARGATE
    try:
        quota = aws.client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"]
    except (ClientError, BotoCoreError) as error:
        yield _unread(what, error)
        return
    if quota < needed:
        message = f"{what} is {quota:g}, but runs (and Dagster) need {needed:g}"
        yield Finding(message, f"request it at {_page_of(aws, service, code)}")


def _training(values: Mapping[str, Any], aws: Aws) -> Iterator[Finding]:
    jobs = (values.get("sagemaker") or {}).get("jobs")
    if not jobs:
        return
    what = f"{jobs['instance_type']} for {'spot ' if jobs.get('spot') else ''}training job usage"
    try:
        pages = aws.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
        quotas = [one for page in pages for one in page["Quotas"] if one["QuotaName"] == what]
    except (ClientError, BotoCoreError) as error:
        yield _unread(what, error)
        return
    for quota in quotas:
        if quota["Value"] < 1:
            page = _page_of(aws, "sagemaker", quota["QuotaCode"])
            yield Finding(f"the quota of {what} is {quota['Value']:g}", f"request 1 at {page}, or set spot = false")


def _images(values: Mapping[str, Any], aws: Aws, prefix: str, tag: str) -> Iterator[Finding]:
    for name in needed_images(values):
        repository = f"{prefix}/{name}"
        try:
            aws.client("ecr").describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        except (ClientError, BotoCoreError) as error:
            if error_code(error) in ("ImageNotFoundException", "RepositoryNotFoundException"):
                yield Finding(f"there is no image {repository}:{tag}", "run `recsys images` after this deployment")
            else:
                yield _unread(f"image {repository}:{tag}", error)


def _page(values: Mapping[str, Any]) -> Iterator[Finding]:
    if values.get("storefront") is not None:
        yield Finding(
            "AWS verifies some new accounts before they may create a CloudFront distribution, which cannot be checked",
            "if the apply says so, open a case with AWS Support, or set storefront = null",
        )


def _unread(what: str, error: Exception) -> Finding:
    return Finding(f"{what}: the quota could not be read ({str(error)[:120]})", "check it in Service Quotas")


def _page_of(aws: Aws, service: str, code: str) -> str:
    return QUOTA_PAGE.format(region=aws.region, service=service, code=code)
