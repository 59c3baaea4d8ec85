"""``recsys account-test``: a scripted hour in a real account, with its price beforehand and a report afterwards.

It deploys a disposable environment, uses every part of it once, and removes it. A step that fails is reported, and the
environment is removed all the same. Steps that need an optional part are skipped with the reason.
"""

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from lambda_api.atomic_files import write_text
from lambda_api.errors import RecsysError
from lambda_api.recommender.bundle import BundleError
from recsys_assets.code_revision import git_revision
from recsys_deploy.deploy import page
from recsys_deploy.deploy.api_check import CHECK_USER, TIMEOUT_S, HttpCall, call, fault_of_api, read_json
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.command import Deployment, deploy
from recsys_deploy.deploy.cost.estimate import estimate
from recsys_deploy.deploy.cost.prices import REFERENCE, read_prices
from recsys_deploy.deploy.cost.usage import HOURS, Usage
from recsys_deploy.deploy.deployed import DeployedEnvironment
from recsys_deploy.deploy.errors import Confirm, DeployError, require_consent, translated
from recsys_deploy.deploy.options import DeployOptions
from recsys_deploy.deploy.removal import destroy
from recsys_deploy.deploy.values import Environment, read_environment
from recsys_deploy.release.moves import Releases
from recsys_deploy.release.strategies import Strategy

REQUESTS: Final = 1_000
"""Far more than the test makes, for the price beforehand."""

BATCH_INSTANCE: Final = "ml.m5.large"
"""Default of ``sagemaker.batch_instance_type`` in terraform/stack."""

TRAINING_PAUSE_S: Final = 30
TRAINING_WITHIN_S: Final = 3 * 3600


class Skipped(RecsysError):
    """The environment has no part for this step; the message is the reason."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step of the report; ``outcome`` is ``passed``, ``skipped`` or ``failed``."""

    name: str
    outcome: str
    seconds: float
    note: str


@dataclass
class AccountReport:
    """The report: Markdown that can be pasted into an issue; it holds no account number, key or address."""

    environment: str
    region: str
    price: float
    left: list[str] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no step failed and nothing is left."""
        return not self.left and all(step.outcome != "failed" for step in self.steps)

    def markdown(self) -> str:
        """The report as text."""
        head = f"recsys account-test: {'passed' if self.passed else 'FAILED'}"
        facts = f"environment {self.environment}, {self.region}, revision {git_revision()}, Python "
        rows = [f"| {one.name} | {one.outcome} | {one.seconds:.0f} | {one.note} |" for one in self.steps]
        left = ", ".join(self.left) or "nothing"
        return "\n".join(
            [
                f"## {head}",
                f"{facts}{platform.python_version()}; price of the hour about {self.price:.2f} USD",
                "",
                "| step | outcome | s | note |",
                "|---|---|--:|---|",
                *rows,
                "",
                f"Left in the account: {left}",
                "",
            ]
        )


@dataclass
class AccountTest:
    """The steps of the hour, which share what the deployment returned."""

    options: DeployOptions
    console: Console
    http: HttpCall = call
    sleep: Callable[[float], None] = time.sleep
    report: AccountReport = field(init=False)
    environment: Environment = field(init=False)
    aws: Aws = field(init=False)

    def __post_init__(self) -> None:
        self.environment = read_environment(self.options.terraform, self.options.environment)
        self.aws = Aws(self.environment.region)
        price = price_of_an_hour(self.environment)
        self.report = AccountReport(self.environment.name, self.environment.region, price)

    def run(self, confirm: Confirm | None) -> AccountReport:
        """Run every step and remove the environment.

        Raises:
            DeployError: the environment is not disposable.
            NotConfirmed: nobody agreed to the price; nothing was created.
        """
        if not self.environment.is_disposable:
            raise DeployError(f"{self.environment.name} is not disposable", remedy="use dev, or a copy of it")
        self.console.print(f"price of the hour: about {self.report.price:.2f} USD")
        if not self.options.yes:
            question = f"create {self.environment.name}, use it and remove it, for about {self.report.price:.2f} USD?"
            require_consent(confirm, question, "not started; nothing was created")
        made: list[Deployment] = []
        with self._step("deploy") as notes:
            made.append(deploy(self.options, self.console, http=self.http, sleep=self.sleep))
            notes.append(f"{made[0].changes} changes, model {made[0].model or 'baseline'}")
        if made:
            self.use(self.steps(made[0]))
        with self._step("destroy") as notes:
            gone = destroy(replace(self.options, yes=True), self.console)
            notes.append(f"{gone.resources} resources")
        with self._step("what is left") as notes, self.aws.shared():
            self.report.left = self._left()
            notes.append(", ".join(self.report.left) or "nothing")
        return self.report

    def steps(self, made: Deployment) -> dict[str, Callable[[], str]]:
        """The steps between deploying and destroying, in their order; each returns a note for the report."""
        there = DeployedEnvironment(made.outputs, self.options.data / "account-test")
        key = page.read_key(self.aws, self.environment.prefix) or ""
        return {
            "ask": lambda: self._ask(made, key),
            "feedback": lambda: self._feedback(made, key),
            "train once": lambda: self._train(made),
            "serverless endpoint": lambda: self._endpoint(made, there),
            "batch": lambda: self._batch(there),
            "release and rollback": lambda: self._release(made, there, key),
            "alarms": self._alarms,
        }

    def use(self, steps: Mapping[str, Callable[[], str]]) -> None:
        """Run ``steps`` and record their outcomes."""
        with self.aws.shared():
            for name, step in steps.items():
                with self._step(name) as notes:
                    notes.append(step())

    def _ask(self, made: Deployment, key: str) -> str:
        if fault := fault_of_api(self.http, made.api_url, key, (), filled=True, sleep=self.sleep):
            raise DeployError(fault)
        return "health and a list"

    def _feedback(self, made: Deployment, key: str) -> str:
        headers = {"content-type": "application/json", "x-api-key": key}
        answer = self.http("GET", f"{made.api_url}/popular", headers, None, TIMEOUT_S)
        products = read_json(answer.body).get("recommendations") or [{}]
        event = {"event_id": f"account-test-{time.time_ns()}", "user_id": CHECK_USER, "event_type": "view"}
        body = {"events": [{**event, "product_id": products[0].get("product_id", "none")}]}
        answer = self.http("POST", f"{made.api_url}/feedback", headers, json.dumps(body).encode(), TIMEOUT_S)
        if answer.status not in (200, 202):
            raise DeployError(f"POST /feedback answered {answer.status}")
        return f"status {answer.status}"

    def _train(self, made: Deployment) -> str:
        if (machine := made.outputs.get("training_machine_arn")) is None:
            raise Skipped("training = null in terraform.tfvars")
        machines = self.aws.client("stepfunctions")
        with translated("running the training machine"):
            name = f"account-test-{time.time_ns()}"
            execution = machines.start_execution(stateMachineArn=machine, name=name)["executionArn"]
            for _ in range(TRAINING_WITHIN_S // TRAINING_PAUSE_S):
                status = machines.describe_execution(executionArn=execution)["status"]
                if status != "RUNNING":
                    break
                self.sleep(TRAINING_PAUSE_S)
        if status != "SUCCEEDED":
            raise DeployError(f"the training machine ended as {status}")
        return "registered"

    def _endpoint(self, made: Deployment, there: DeployedEnvironment) -> str:
        if made.outputs.get("endpoint") is None:
            raise Skipped("sagemaker = null in terraform.tfvars")
        if made.model is None:
            raise Skipped("no model was uploaded")
        from recsys_deploy.endpoints.requests import Serverless
        from recsys_deploy.endpoints.shop_endpoints import open_endpoints

        endpoints = open_endpoints(there.settings)
        stores, serving = there.stores, there.table("serving")
        capacity = Serverless(memory_mb=2048, max_concurrency=1)
        state, _ = endpoints.create(made.model, capacity, stores.registry, stores.bundles, serving)
        endpoints.delete(made.model, serving)
        return f"{state.name} in service and deleted"

    def _batch(self, there: DeployedEnvironment) -> str:
        if not there.stores.lake.days("interactions"):
            raise Skipped("the lake holds no interactions; a training brings them in")
        from recsys_deploy.batch.terminal import batch_of

        def log(level: object, line: str) -> None:
            self.console.print(line, markup=False)

        serving, label = there.table("serving"), "account-test-questions"
        outcome = batch_of(there.settings, serving, there.stores, log, lambda _: None, label)
        where = "a batch transform" if there.settings.inference_image else "this process (sagemaker = null)"
        return f"{outcome.records} lists by {where}, {outcome.tally.bad} bad lines"

    def _release(self, made: Deployment, there: DeployedEnvironment, key: str) -> str:
        others = [one for one in there.stores.registry.list_versions() if str(one.version) != made.model]
        if made.model is None or not others:
            raise Skipped("needs a second registered version; a training registers one")
        cache = self.options.data / "bundles"
        releases = Releases(there.stores.registry, there.stores.bundles, there.table("serving"), cache)
        try:
            started = releases.start(others[-1].version, Strategy.CANARY, even_if_refused=True)
            back = releases.rollback("account-test")
        except BundleError as error:
            raise DeployError(str(error)) from error
        if fault := fault_of_api(self.http, made.api_url, key, {made.model}, filled=True, sleep=self.sleep):
            raise DeployError(fault)
        return f"{started}; {back}"

    def _alarms(self) -> str:
        with translated("cloudwatch:DescribeAlarms"):
            found = self.aws.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{self.environment.prefix}-")
        states = [f"{one['AlarmName']} {one['StateValue']}" for one in found["MetricAlarms"]]
        return ", ".join(states) or "none exist"

    def _left(self) -> list[str]:
        """Resources with the environment's tag, without the parts of the ARN that name the account."""
        client = self.aws.client("resourcegroupstaggingapi")
        tag = {"Key": "Environment", "Values": [self.environment.prefix]}
        with translated("tag:GetResources"):
            pages: Any = client.get_paginator("get_resources").paginate(TagFilters=[tag])
            arns = [one["ResourceARN"] for page in pages for one in page["ResourceTagMappingList"]]
        # A key waits for its deletion for days, and costs nothing meanwhile.
        return sorted(f"{arn.split(':')[2]} {arn.split(':', 5)[5]}" for arn in arns if ":kms:" not in arn)

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        """Time a step and record its outcome; an expected error does not stop the test."""
        began, notes, outcome = time.perf_counter(), list[str](), "passed"
        try:
            yield notes
        except Skipped as reason:
            outcome, notes = "skipped", [str(reason)]
        except (RecsysError, OSError) as error:
            outcome, notes = "failed", [" ".join(str(error).split())[:300]]
        self.report.steps.append(StepResult(name, outcome, time.perf_counter() - began, "; ".join(notes)))
        self.console.print(f"{outcome:<8}{name}  {'; '.join(notes)}", soft_wrap=True, markup=False)


def price_of_an_hour(environment: Environment) -> float:
    """US dollars of one hour with `REQUESTS` requests, one training and one hour of batch transform."""

    def month(requests: float, training_hours: float = 0) -> float:
        usage = Usage(requests=requests, lake_gb=1, shoppers=1_000, training_hours=training_hours)
        found = estimate(dict(environment.values), usage)
        return found.known + found.reference

    idle = month(0)
    # Between two rates at which metrics, charged by the hour, cost the same.
    per_request = (month(2e6) - month(1e6)) / 1e6
    training = (month(0, training_hours=1) - idle) / (HOURS / 168)
    batch = 0.0
    if made := environment.values.get("sagemaker"):
        price = read_prices().get(f"sagemaker.{made.get('batch_instance_type') or BATCH_INSTANCE}")
        here = price.of(1, str(environment.values["region"])) if price else None
        batch = (here or price.of(1, REFERENCE) or 0.0) if price else 0.0
    return idle / HOURS + REQUESTS * per_request + training + batch


def write_report(report: AccountReport, folder: Path) -> Path:
    """Write the report and return its file."""
    return write_text(folder / "account_test.md", report.markdown())
