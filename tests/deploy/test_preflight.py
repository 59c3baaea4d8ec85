"""Checks of the account: quotas that stop a deployment, quotas that are small, images, and expiring credentials."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.deploy.preflight import preflight
from recsys_deploy.deploy.values import Environment

REGION = "eu-central-1"
SIZE = {"memory_mb": 1024, "reserved_concurrency": None}


class Account(Aws):
    """An account with the given quotas; anything not given may not be read."""

    def __init__(
        self, concurrency: int | None = 1000, vcpus: float | None = None, left: timedelta | None = None
    ) -> None:
        super().__init__(REGION)
        self._left = left
        self.stubs = {name: Stubber(self.client(name)) for name in ("lambda", "service-quotas", "ecr")}
        if concurrency is None:
            self.stubs["lambda"].add_client_error("get_account_settings", "AccessDeniedException")
        else:
            limit = {"AccountLimit": {"ConcurrentExecutions": concurrency}}
            self.stubs["lambda"].add_response("get_account_settings", limit)
        if vcpus is not None:
            self.stubs["service-quotas"].add_response("get_service_quota", {"Quota": {"Value": vcpus}})

    def expiry(self) -> datetime | None:
        return None if self._left is None else datetime.now(UTC) + self._left


def look(account: Account, **values: Any) -> list[str]:
    given = {"environment": "dev", "region": REGION, "functions": {"api": SIZE}, **values}
    for stub in account.stubs.values():
        stub.activate()
    return [str(finding) for finding in preflight(Environment("dev", Path("x"), given, {}), account, "abc")]


def test_an_account_with_room_has_no_findings() -> None:
    assert look(Account()) == []


def test_a_new_account_is_warned_and_its_quota_named() -> None:
    (found,) = look(Account(concurrency=10))
    assert "concurrent executions is 10, about 100 requests per second" in found
    assert "eu-central-1.console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384" in found


def test_reservations_beyond_the_quota_stop_the_deployment() -> None:
    sizes = {"api": {**SIZE, "reserved_concurrency": 400}, "shadow": {**SIZE, "reserved_concurrency": 20}}
    with pytest.raises(DeployError, match=r"reservations of 420 exceed the quota.*is 500.*reserved_concurrency = null"):
        look(Account(concurrency=500), functions=sizes)
    assert look(Account(concurrency=520), functions=sizes) == []


@pytest.mark.parametrize(("minutes", "stops"), [(5, True), (40, False)])
def test_credentials_about_to_expire(minutes: int, stops: bool) -> None:
    account = Account(left=timedelta(minutes=minutes, seconds=5))
    if stops:
        with pytest.raises(DeployError, match=rf"expire in {minutes} minutes; sign in again.*Nothing was changed"):
            look(account)
    else:
        (found,) = look(account)
        assert f"expire in {minutes} minutes" in found
    assert look(Account(left=timedelta(hours=2))) == []


def test_fargate_must_hold_runs_and_dagster() -> None:
    runs = {"cpu": 8192, "memory_mb": 32768}
    account = Account(vcpus=6)
    account.stubs["ecr"].add_response("describe_images", {"imageDetails": []})
    (found,) = look(account, runs=runs)
    assert "vCPU resource count is 6, but runs (and Dagster) need 8" in found


def test_missing_images_are_named_with_the_command() -> None:
    account = Account(vcpus=100)
    account.stubs["ecr"].add_client_error("describe_images", "ImageNotFoundException")
    (found,) = look(account, runs={"cpu": 1024, "memory_mb": 2048})
    assert found == "there is no image recsys-dev/dagster:abc; run `recsys images` after this deployment"


def test_a_quota_of_no_instances_is_named() -> None:
    account = Account()
    quotas = [
        {"QuotaName": "ml.m5.xlarge for spot training job usage", "Value": 0.0, "QuotaCode": "L-1"},
        {"QuotaName": "ml.m5.xlarge for training job usage", "Value": 4.0, "QuotaCode": "L-2"},
    ]
    account.stubs["service-quotas"].add_response("list_service_quotas", {"Quotas": quotas})
    for _ in range(2):
        account.stubs["ecr"].add_response("describe_images", {"imageDetails": []})
    (found,) = look(account, sagemaker={"jobs": {"instance_type": "ml.m5.xlarge", "spot": True}})
    assert "spot training job usage is 0" in found and "quotas/L-1, or set spot = false" in found


def test_what_may_not_be_read_is_said() -> None:
    (found,) = look(Account(concurrency=None))
    assert "the quota could not be read" in found and "check it in Service Quotas" in found
