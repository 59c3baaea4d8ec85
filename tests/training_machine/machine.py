"""One execution of the training machine in moto's interpreter, and what it left."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import boto3
from moto import mock_aws
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl

from tests.patience import wait_until
from tests.training_machine import state_machine_checks
from tests.training_machine.containers import Containers

REGION = "eu-central-1"
ROLE = "arn:aws:iam::123456789012:role/machine"
PREFIX = "recsys-test-"
CLUSTER = f"arn:aws:ecs:{REGION}:123456789012:cluster/recsys-test"

ROLLOUT = json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}})


@dataclass(frozen=True)
class Execution:
    """How an execution ended.

    Attributes:
        status: of Step Functions.
        states: entered, in order.
        error: of a failed one.
        messages: subject and text of what was published.
        rollouts: input of every execution of the rollout machine, by name.
        waited: seconds asked for before repetitions.
    """

    status: str
    states: list[str]
    error: str | None
    messages: list[tuple[str, str]]
    rollouts: dict[str, dict[str, Any]]
    waited: list[float]


@dataclass
class Account:
    """What the machine works on."""

    topic: str
    queue: str
    rollout_machine: str

    def values(self, *, rollout: bool) -> dict[str, str]:
        """Of the placeholders."""
        return {
            "name": "recsys-test",
            "cluster_arn": CLUSTER,
            "task_definition_arn": f"arn:aws:ecs:{REGION}:123456789012:task-definition/recsys-test-run:7",
            "container_name": "run",
            "log_group": "/recsys/recsys-test/runs",
            "subnet_ids": "subnet-a,subnet-b",
            "security_group_ids": "sg-a",
            "registry_table": f"{PREFIX}registry",
            "topic_arn": self.topic,
            "rollout_machine_arn": self.rollout_machine if rollout else "",
        }


@contextmanager
def account() -> Iterator[Account]:
    """An account that executes state machines, with table, topic and a rollout machine."""
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        boto3.client("dynamodb", REGION).create_table(
            TableName=f"{PREFIX}registry",
            KeySchema=[
                {"AttributeName": "partition", "KeyType": "HASH"},
                {"AttributeName": "sort", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("partition", "sort")],
            BillingMode="PAY_PER_REQUEST",
        )
        sns, sqs = boto3.client("sns", REGION), boto3.client("sqs", REGION)
        topic = sns.create_topic(Name="notices")["TopicArn"]
        queue = sqs.create_queue(QueueName="read")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        states = boto3.client("stepfunctions", REGION)
        rollout = states.create_state_machine(name="rollout", definition=ROLLOUT, roleArn=ROLE)["stateMachineArn"]
        yield Account(topic, queue, rollout)


def execute(
    world: Account,
    containers: Containers,
    *,
    name: str = "weekly-1",
    rollout: bool = False,
    changed: Callable[[dict[str, Any]], None] = lambda machine: None,
    patches: tuple[Any, ...] = (),
) -> Execution:
    """Run the machine once; ``changed`` may alter its definition before, ``patches`` hold while it runs."""
    machine = json.loads(state_machine_checks.definition(world.values(rollout=rollout)))
    changed(machine)
    client = boto3.client("stepfunctions", REGION)
    waited: list[float] = []
    arn = client.create_state_machine(name=f"training-{name}", definition=json.dumps(machine), roleArn=ROLE)
    with ExitStack() as stack:
        for patch in (containers.standing_in(), *patches):
            stack.enter_context(patch)
        # In place of the module there alone: `time.sleep` itself belongs to every thread of the process.
        stack.enter_context(mock.patch.object(retrier_decl, "time", SimpleNamespace(sleep=waited.append)))
        started = client.start_execution(stateMachineArn=arn["stateMachineArn"], name=name)["executionArn"]
        ended = _end(client, started)
    history = client.get_execution_history(executionArn=started, maxResults=1000)["events"]
    entered = [event["stateEnteredEventDetails"]["name"] for event in history if "stateEnteredEventDetails" in event]
    return Execution(ended["status"], entered, ended.get("error"), _messages(world), _rollouts(client, world), waited)


def _end(client: Any, arn: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = client.describe_execution(executionArn=arn)
        return None if found["status"] == "RUNNING" else found

    found = wait_until(ended, f"{arn} ended")
    assert found is not None
    return found


def _messages(world: Account) -> list[tuple[str, str]]:
    sqs = boto3.client("sqs", REGION)
    found = sqs.receive_message(QueueUrl=world.queue, MaxNumberOfMessages=10).get("Messages", [])
    bodies = [json.loads(message["Body"]) for message in found]
    return [(body["Subject"], body["Message"]) for body in bodies]


def _rollouts(client: Any, world: Account) -> dict[str, dict[str, Any]]:
    if all(one["stateMachineArn"] != world.rollout_machine for one in client.list_state_machines()["stateMachines"]):
        return {}
    found = client.list_executions(stateMachineArn=world.rollout_machine)["executions"]
    described = [client.describe_execution(executionArn=execution["executionArn"]) for execution in found]
    return {execution["name"]: json.loads(execution["input"]) for execution in described}
