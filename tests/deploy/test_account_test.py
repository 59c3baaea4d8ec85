"""``recsys account-test`` on a simulated account: every step, its price, its report, and removal after a failure."""

import json
import os
import time
from typing import Any

import boto3
import pytest
from moto.core.config import default_user_config
from rich.console import Console

from recsys_assets.lake import Lake
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_deploy.deploy.account_test import AccountReport, AccountTest, StepResult, price_of_an_hour, write_report
from recsys_deploy.deploy.errors import DeployError, NotConfirmed
from recsys_deploy.deploy.values import Environment, read_environment
from tests.deploy.world import ACCOUNT, BUCKETS, REGION, World
from tests.sagemaker.fake_sagemaker import CREDENTIALS, running
from tests.sagemaker.jobs import jobs_on
from tests.terraform.runs import SOURCE

pytestmark = pytest.mark.slow

PRODUCTS = tuple(f"p{number}" for number in range(12))


@pytest.fixture(autouse=True)
def small_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack of these tests has no values to price."""
    monkeypatch.setattr("recsys_deploy.deploy.account_test.price_of_an_hour", lambda environment: 0.02)


def tried(world: World, **changes: Any) -> AccountReport:
    test = AccountTest(world.options(**changes), Console(quiet=True), http=world.http, sleep=lambda _: None)
    return test.run(None)


def outcomes(report: AccountReport) -> dict[str, str]:
    return {step.name: step.outcome for step in report.steps}


def test_an_hour_from_nothing_to_nothing(world: World) -> None:
    world.home.promote(*PRODUCTS)
    report = tried(world)
    assert outcomes(report) == {
        "deploy": "passed", "ask": "passed", "feedback": "passed", "train once": "skipped",
        "serverless endpoint": "skipped", "batch": "skipped", "release and rollback": "skipped", "alarms": "passed",
        "destroy": "passed", "what is left": "passed",
    }, report.markdown()  # fmt: skip
    assert report.passed and "Left in the account: nothing" in report.markdown()
    assert ACCOUNT not in report.markdown() and "training = null" in report.markdown()


def test_every_step_runs_where_the_environment_has_its_part(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """State machine, functions, endpoint and transform are simulated."""
    monkeypatch.setitem(default_user_config, "stepfunctions", {"execute_state_machine": True})
    definition = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 1, "End": True}}}
    role = f"arn:aws:iam::{ACCOUNT}:role/functions"
    machine = boto3.client("stepfunctions").create_state_machine(
        name="recsys-dev-training", definition=json.dumps(definition), roleArn=role
    )["stateMachineArn"]
    bucket = f"s3://{BUCKETS['models']}"
    world.have(
        {
            "RECSYS_INFERENCE_IMAGE": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/recsys-dev/inference:1",
            "RECSYS_TRAINING_ROLE_ARN": role,
            "RECSYS_TRAINING_URI": f"{bucket}/training",
        },
        training_machine_arn=machine,
        endpoint={"serverless": {"memory_mb": 2048, "max_concurrency": 1}},
    )
    world.home.promote(*PRODUCTS)
    trained: list[str] = []

    def train(seconds: float) -> None:
        """While the test waits: what a training leaves, the lake and a version."""
        time.sleep(0.2)
        if not trained:
            home, there = world.home.lake, Lake(world.there().lake_uri)
            for day in home.days("interactions"):
                there.write_day("interactions", day, home.read_day("interactions", day))
            there.write_table("products", home.read("products"))
            folder = BundleStore(world.home.settings.models_uri).fetch(
                world.home.promote(*PRODUCTS[:6], seed=9), world.root / "trained"
            )
            store = BundleStore(world.there().models_uri)
            trained.append(str(register_bundle(world.registry(), store, folder, run_id="trained").version))

    monkeypatch.setitem(CREDENTIALS, "region_name", REGION)
    with running(world.root / "instances", os.environ["AWS_ENDPOINT_URL"]) as service:
        monkeypatch.setattr("recsys_assets.sagemaker.client.open_jobs", lambda: jobs_on(service))
        report = AccountTest(world.options(), Console(quiet=True), http=world.http, sleep=train).run(None)
    assert set(outcomes(report).values()) == {"passed"}, report.markdown()
    notes = {step.name: step.note for step in report.steps}
    assert notes["batch"] == "20 lists by a batch transform, 0 bad lines"
    assert trained == ["v1.0.1"] and trained[0] in notes["release and rollback"]
    assert not boto3.client("sagemaker").list_endpoints()["Endpoints"], "what was made is deleted"


def test_a_failing_step_is_reported_and_everything_is_removed(world: World) -> None:
    def broken(method: str, url: str, *arguments: Any) -> Any:
        answer = world.http(method, url, *arguments)
        if "/feedback" in url:
            raise OSError("connection reset")
        return answer

    test = AccountTest(world.options(), Console(quiet=True), http=broken, sleep=lambda _: None)
    report = test.run(None)
    found = outcomes(report)
    assert (found["feedback"], found["alarms"], found["destroy"]) == ("failed", "passed", "passed")
    assert not report.passed and "account-test: FAILED" in report.markdown() and "connection reset" in report.markdown()


def test_what_is_left_is_found_by_its_tag(world: World) -> None:
    boto3.client("s3").put_bucket_tagging(
        Bucket="recsys-dev-lake-123456789012", Tagging={"TagSet": [{"Key": "Environment", "Value": "recsys-dev"}]}
    )
    report = tried(world)
    assert report.left == ["s3 recsys-dev-lake-123456789012"] and not report.passed


def test_nothing_starts_without_consent_or_in_an_environment_with_a_shop(world: World) -> None:
    with pytest.raises(NotConfirmed, match="nothing was created; agree with --yes"):
        tried(world, yes=False)
    file = world.tree / "environments" / "dev" / "terraform.tfvars"
    file.write_text(file.read_text().replace("disposable = true", "disposable = false"))
    with pytest.raises(DeployError, match="dev is not disposable"):
        tried(world)


def test_the_report_is_written(tmp_path: Any) -> None:
    report = AccountReport("dev", "eu-central-1", 0.02, steps=[StepResult("ask", "passed", 1.0, "a list")])
    assert "| ask | passed | 1 | a list |" in write_report(report, tmp_path).read_text()


def test_the_hour_of_dev_costs_cents() -> None:
    environment: Environment = read_environment(SOURCE, "dev")
    assert 0 < price_of_an_hour(environment) < 0.10
