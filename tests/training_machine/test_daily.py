"""``recsys run --daily`` as a process against a simulated AWS: what it ingests, reports, decides, starts and tells."""

import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from rich.console import Console

from lambda_api.recommender.bundle import BundleInfo, DataWindow, write_bundle
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.popularity import PopularityRecommender
from lambda_api.state.dynamodb_table import DynamoDbTable
from recsys_assets.aws_errors import AwsCallFailed
from recsys_assets.data_gate import mark_waiting
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.lake import Lake
from recsys_assets.monitoring.drift import EVIDENCE_SCHEMA, EVIDENCE_TABLE
from recsys_assets.monitoring.retraining import Decision
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.schema import INTERACTIONS
from recsys_assets.sensors import DECISIONS_TABLE
from recsys_deploy.monitoring.daily_metrics import figures_of
from recsys_deploy.run.daily import MachineNotNamed, TrainingMachine, decide_and_start, run_daily
from tests.moto_server import moto_server
from tests.recsys_command import Done, in_a_process
from tests.training_machine.machine import ROLE, ROLLOUT

REGION = "eu-central-1"
DAYS = 12


def today() -> date:
    return datetime.now(UTC).date()


class Shop:
    """A shop on AWS whose export has one day more than the lake, with a champion that is ten days old."""

    def __init__(self, folder: Path) -> None:
        name = f"daily-{uuid.uuid4().hex[:8]}"
        self.s3 = boto3.client("s3")
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.lake = Lake(f"s3://{name}/lake")
        boto3.client("dynamodb").create_table(
            TableName=f"{name}-registry",
            KeySchema=[
                {"AttributeName": name, "KeyType": kind} for name, kind in (("partition", "HASH"), ("sort", "RANGE"))
            ],
            AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in ("partition", "sort")],
            BillingMode="PAY_PER_REQUEST",
        )
        self.table = DynamoDbTable(f"{name}-registry", boto3.client("dynamodb"))
        self.states = boto3.client("stepfunctions")
        self.machine = self.states.create_state_machine(name=name, definition=ROLLOUT, roleArn=ROLE)["stateMachineArn"]
        sns, sqs = boto3.client("sns"), boto3.client("sqs")
        topic = sns.create_topic(Name=name)["TopicArn"]
        self.queue = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self._export(name, folder)
        self.environment = {
            "RECSYS_TARGET": "aws",
            "RECSYS_HOME": str(folder / "home"),
            "RECSYS_DATA": f"s3://{name}/raw",
            "RECSYS_SOURCE": "canonical",
            "RECSYS_FIRST_DAY": (today() - timedelta(days=DAYS)).isoformat(),
            "RECSYS_LAKE_URI": self.lake.root,
            "RECSYS_MODELS_URI": f"s3://{name}/models",
            "RECSYS_CATALOGUE_URI": f"s3://{name}/catalogue",
            "RECSYS_TABLE_PREFIX": f"{name}-",
            "RECSYS_TRAINING_MACHINE_ARN": self.machine,
            "RECSYS_ALERTS": topic,
        }

    def _export(self, bucket: str, folder: Path) -> None:
        first = today() - timedelta(days=DAYS)
        shop = SyntheticShop(SyntheticShopConfig(seed=3, start=first, days=DAYS, n_users=80, n_products=40))
        self.lake.write_table("products", shop.products())
        tables = {"products.csv": shop.products(), "users.csv": shop.users()}
        for number in range(DAYS):
            day = first + timedelta(days=number)
            tables[f"interactions/{day}.csv"] = shop.day_events(day)
            if number < DAYS - 1:
                self.lake.write_day("interactions", day, INTERACTIONS.conform(shop.day_events(day)))
        for name, table in tables.items():
            sink = pa.BufferOutputStream()
            pa_csv.write_csv(table, sink)
            self.s3.put_object(Bucket=bucket, Key=f"raw/{name}", Body=sink.getvalue().to_pybytes())
        end = datetime(first.year, first.month, first.day, tzinfo=UTC) + timedelta(days=2)
        window = DataWindow(start=end - timedelta(days=2), end=end)
        info = BundleInfo(
            trainer="popularity",
            created_at=end,
            hyper_parameters={},
            data_window=window,
            metrics={},
            git_revision="0a1b",
        )
        products = IdMap.from_ids(shop.products()["product_id"].to_pylist())
        popularity = np.arange(len(products), dtype=np.float32)
        write_bundle(PopularityRecommender(products, popularity), folder / "b", info)
        registry = ModelRegistry(self.table, clock=lambda: datetime.now(UTC) - timedelta(days=10))
        version = register_bundle(registry, BundleStore(f"s3://{bucket}/models"), folder / "b", run_id="r")
        registry.promote(version.version, None)

    def run(self) -> Done:
        return in_a_process("run", "--daily", environment=self.environment)

    def alarm(self, family: str, day: date) -> None:
        """Evidence of one family, as the drift report of that day keeps it."""
        row = {"family": family, "since": day, "sentence": f"{family}: changed"}
        self.lake.write_day(EVIDENCE_TABLE, day, pa.Table.from_pylist([row], EVIDENCE_SCHEMA))

    def executions(self) -> list[str]:
        return [one["name"] for one in self.states.list_executions(stateMachineArn=self.machine)["executions"]]

    def decision(self) -> Any:
        (row,) = self.lake.read(DECISIONS_TABLE, start=today(), end=today() + timedelta(days=1)).to_pylist()
        return row

    def told(self) -> list[str]:
        found = boto3.client("sqs").receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(one["Body"])["Message"] for one in found]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with moto_server(REGION):
        yield Shop(tmp_path)


def metric(name: str) -> list[float]:
    """Sums of the metric as the alarms read it."""
    now = datetime.now(UTC)
    found = boto3.client("cloudwatch").get_metric_statistics(
        Namespace="Recsys", MetricName=name, Dimensions=[{"Name": "service", "Value": "daily"}],
        StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=1), Period=7_200, Statistics=["Sum"],
    )  # fmt: skip
    return [one["Sum"] for one in found["Datapoints"]]


@pytest.mark.slow
def test_a_night_that_asks_for_a_training_and_the_same_look_again(shop: Shop) -> None:
    yesterday = today() - timedelta(days=1)
    shop.alarm("concept", yesterday - timedelta(days=1))
    done = shop.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert yesterday in shop.lake.days("interactions"), "the export's new day was ingested"
    name = f"drift-{today()}-1"
    assert shop.executions() == [name]
    assert (shop.decision()["episode"], shop.decision()["started"]) == (today().isoformat(), 1)
    assert (metric("ReportsMade"), metric("DriftFamilies"), metric("DataAge")) == ([1.0], [0.0], [0.0])
    (said,) = shop.told()
    assert said.startswith(f"Training {name} was started, since {today()}.")
    assert "concept: changed" in said and "Nothing has to be done" in said

    # The task died after the start and before it kept its decision; the execution has ended meanwhile.
    shop.lake.delete_day(DECISIONS_TABLE, today())
    execution = shop.states.list_executions(stateMachineArn=shop.machine)["executions"][0]["executionArn"]
    shop.states.stop_execution(executionArn=execution)
    done = shop.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (shop.executions(), shop.decision()["started"]) == ([name], 1)


def test_decisions_and_figures_of_nights(shop: Shop) -> None:
    registry, machine = ModelRegistry(shop.table), TrainingMachine(shop.states, shop.machine)

    def night(days_later: int = 0) -> Decision:
        return decide_and_start(shop.lake, registry, machine, datetime.now(UTC) + timedelta(days=days_later))

    assert night().reason == "No alarm, and the last training is 10 days old."
    assert (shop.executions(), shop.decision()["start"]) == ([], False)
    shop.alarm("concept", today())
    shop.alarm("feature", today() - timedelta(days=1))
    assert night().start
    assert night().reason == "A training is queued or running."
    # The episode goes on from what was recorded: nothing else is left of the night before.
    (execution,) = shop.states.list_executions(stateMachineArn=shop.machine)["executions"]
    shop.states.stop_execution(executionArn=execution["executionArn"])
    next_one = today() + timedelta(days=7)
    assert night(1).reason == f"The next training of the episode since {today()} is due on {next_one}."
    assert (night(7).start, shop.executions()[0]) == (True, f"drift-{today()}-2")

    assert figures_of(shop.lake, today()) == {"DriftFamilies": 1.0, "GatesClosed": 0.0, "DataAge": 2.0}
    mark_waiting(shop.lake, today())
    shop.lake.write_day("served_lists", today() - timedelta(days=5), pa.table({"user_id": ["a"]}))
    figures = figures_of(shop.lake, today())
    assert (figures["GatesClosed"], figures["StreamAge"]) == (1.0, 5.0)


def test_a_machine_that_aws_refuses_and_one_that_is_not_named(shop: Shop) -> None:
    machine = TrainingMachine(shop.states, shop.machine + "-gone")
    with pytest.raises(AwsCallFailed, match="states:StartExecution"):
        machine.start("drift-1")
    del shop.environment["RECSYS_TRAINING_MACHINE_ARN"]
    named = pytest.raises(MachineNotNamed, match=r"RECSYS_TRAINING_MACHINE_ARN.*terraform\.tfvars")
    with mock.patch.dict(os.environ, shop.environment), named:
        run_daily(Console(quiet=True))
