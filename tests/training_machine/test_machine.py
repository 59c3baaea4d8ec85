"""Every way through the training machine, executed: what it starts, what it tells whom, and how it ends."""

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_dynamodb as table_service,
)
from statelint.linter import Linter  # type: ignore[import-untyped]

from lambda_api.state.dynamodb_table import DynamoDbTable
from recsys_deploy.run.outcome import Outcome, RunOutcome, keep_outcome
from tests.training_machine import state_machine_checks
from tests.training_machine.containers import Containers, Program, refused
from tests.training_machine.machine import CLUSTER, PREFIX, REGION, Account, account, execute

THROTTLED = ClientError(
    {
        "Error": {"Code": "ProvisionedThroughputExceededException", "Message": "slow down"},
        "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "r"},  # type: ignore[typeddict-item]
    },
    "GetItem",
)
NO_ROOM = refused("AmazonECSException", "Capacity is unavailable at this time.")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with account() as found:
        yield found


def leaving(outcome: Outcome, code: int = 0, **facts_of: Any) -> Program:
    """A container that keeps ``outcome`` under the name it is given, as the pipeline does, and ends with ``code``."""

    def program(command: list[str]) -> int:
        module, option, name = command
        assert (module, option) == ("recsys_deploy.run", "--name")
        table = DynamoDbTable(f"{PREFIX}registry", boto3.client("dynamodb", REGION))
        keep_outcome(table, RunOutcome(name, outcome, **{"reason": "Because.", "run_id": "r", **facts_of}))
        return code

    return program


def ending(code: int | None) -> Program:
    """A container that keeps nothing."""
    return lambda command: code


def test_the_definition_is_sound() -> None:
    values = {name: "arn:aws:states:eu-central-1:123456789012:x" for name in state_machine_checks.placeholders()}
    machine = json.loads(state_machine_checks.definition(values))
    assert Linter.validate(json.dumps(machine)) == []
    assert state_machine_checks.problems(machine, state_machine_checks.services()) == []


def test_mistakes_that_aws_accepts_are_named() -> None:
    values = dict.fromkeys(state_machine_checks.placeholders(), "x")
    machine = json.loads(state_machine_checks.definition(values))
    del machine["TimeoutSeconds"], machine["States"]["ReadOutcome"]["TimeoutSeconds"]
    del machine["States"]["StartRollout"]["Parameters"]["Name.$"], machine["States"]["NotifyFailed"]["Retry"]
    del machine["States"]["RunGraph"]["Retry"][0]["JitterStrategy"]
    machine["States"]["NotifyLost"]["Resource"] = "arn:aws:states:::lambda:invoke"
    table = {**state_machine_checks.services(), "arn:aws:states:::sqs:sendMessage": {}}
    assert state_machine_checks.problems(machine, table) == [
        "the machine has no time limit",
        "RunGraph retries without jitter",
        "ReadOutcome has no time limit of at most 43200 s",
        "StartRollout starts an execution without a name, so a repetition starts another",
        "NotifyFailed does not retry",
        "arn:aws:states:::lambda:invoke is called and not in the table of services",
        "arn:aws:states:::sqs:sendMessage is in the table of services and not called",
    ]
    with pytest.raises(ValueError, match="disagree on topic_arn"):
        state_machine_checks.definition({name: "x" for name in state_machine_checks.placeholders() - {"topic_arn"}})


def test_a_better_model_waits_for_its_release(world: Account) -> None:
    containers = Containers([leaving(Outcome.REGISTERED, version="v1.2.0")])
    ended = execute(world, containers)
    assert ended.status == "SUCCEEDED"
    assert ended.states == [
        "Settings", "RunGraph", "ReadOutcome", "Outcome", "Registered", "NotifyRegistered", "Waiting",
    ]  # fmt: skip
    ((subject, message),) = ended.messages
    assert subject == "recsys-test: a better model waits for its release"
    assert "Run weekly-1" in message and "v1.2.0" in message
    assert ended.rollouts == {}
    (task,) = containers.started
    assert task["cluster"] == CLUSTER
    assert (task["launchType"], task["propagateTags"]) == ("FARGATE", "TASK_DEFINITION")
    assert task["taskDefinition"].endswith(":task-definition/recsys-test-run:7")
    assert task["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-a", "subnet-b"],
        "securityGroups": ["sg-a"],
        "assignPublicIp": "DISABLED",
    }


def test_a_better_model_is_rolled_out_where_there_is_a_machine_for_it(world: Account) -> None:
    ended = execute(world, Containers([leaving(Outcome.REGISTERED, version="v1.2.0")]), rollout=True)
    assert (ended.status, ended.states[-2:]) == ("SUCCEEDED", ["StartRollout", "RolloutStarted"])
    assert ended.messages == []
    started = ended.rollouts["weekly-1"]
    assert (started["run_name"], started["version"]) == ("weekly-1", "v1.2.0")
    assert started["AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"].endswith(":training-weekly-1:weekly-1")


def test_a_rollout_that_runs_already_is_not_started_again(world: Account) -> None:
    boto3.client("stepfunctions", REGION).start_execution(
        stateMachineArn=world.rollout_machine, name="weekly-1", input="{}"
    )
    ended = execute(world, Containers([leaving(Outcome.REGISTERED, version="v1.2.0")]), rollout=True)
    assert (ended.status, ended.states[-2:]) == ("SUCCEEDED", ["StartRollout", "RolloutStarted"])
    assert list(ended.rollouts) == ["weekly-1"]


def test_a_rollout_that_does_not_start_is_told_and_fails(world: Account) -> None:
    boto3.client("stepfunctions", REGION).delete_state_machine(stateMachineArn=world.rollout_machine)
    ended = execute(world, Containers([leaving(Outcome.REGISTERED, version="v1.2.0")]), rollout=True)
    assert (ended.status, ended.error) == ("FAILED", "RolloutNotStarted")
    ((subject, message),) = ended.messages
    assert subject == "recsys-test: a rollout did not start"
    assert "v1.2.0" in message and "StateMachineDoesNotExist" in message


def test_a_model_that_is_not_better_is_told(world: Account) -> None:
    program = leaving(Outcome.NOT_BETTER, version="v1.2.1", reason="NDCG fell.")
    ended = execute(world, Containers([program]), rollout=True)
    assert (ended.status, ended.states[-2:]) == ("SUCCEEDED", ["NotifyNotBetter", "ChampionStays"])
    ((subject, message),) = ended.messages
    assert subject == "recsys-test: the champion stays"
    assert "v1.2.1" in message and "NDCG fell." in message
    assert ended.rollouts == {}


@pytest.mark.parametrize("code", [0, 1])
def test_a_graph_that_fails_is_told_in_its_own_words(world: Account, code: int) -> None:
    """Whatever the container ended with: what it kept counts."""
    program = leaving(Outcome.FAILED, code, reason="check dates_are_known on raw_interactions: 3 rows 'from' {nowhere}")
    ended = execute(world, Containers([program]), rollout=True)
    assert (ended.status, ended.error, ended.states[-2:]) == ("FAILED", "GraphFailed", ["NotifyFailed", "GraphFailed"])
    ((subject, message),) = ended.messages
    assert subject == "recsys-test: a training run failed"
    assert "3 rows 'from' {nowhere}" in message


def test_no_room_for_a_task_is_waited_out(world: Account) -> None:
    containers = Containers([NO_ROOM, NO_ROOM, leaving(Outcome.REGISTERED, version="v1.0.0")])
    ended = execute(world, containers)
    assert (ended.status, len(containers.started)) == ("SUCCEEDED", 3)
    assert len(ended.waited) == 2


def test_a_task_that_never_starts_is_told(world: Account) -> None:
    containers = Containers([NO_ROOM])
    ended = execute(world, containers)
    assert (ended.status, ended.error) == ("FAILED", "GraphLost")
    assert len(containers.started) == 7
    ((subject, message),) = ended.messages
    assert subject == "recsys-test: a training run left no outcome"
    assert "Capacity is unavailable" in message and "/recsys/recsys-test/runs" in message


def test_a_container_that_is_lost_is_started_once_more_under_the_same_name(world: Account) -> None:
    containers = Containers([ending(137), leaving(Outcome.REGISTERED, version="v1.0.0")])
    ended = execute(world, containers)
    assert ended.status == "SUCCEEDED"
    commands = [task["overrides"]["containerOverrides"][0]["command"] for task in containers.started]
    assert commands == [["recsys_deploy.run", "--name", "weekly-1"]] * 2


def test_a_container_that_is_lost_again_is_told(world: Account) -> None:
    containers = Containers([ending(137)])
    ended = execute(world, containers)
    assert (ended.status, ended.error, len(containers.started)) == ("FAILED", "GraphLost", 2)
    ((_, message),) = ended.messages
    assert "States.TaskFailed" in message and '"ExitCode":137' in message.replace(" ", "")


def test_a_container_lost_after_it_kept_its_outcome_changes_nothing(world: Account) -> None:
    ended = execute(world, Containers([leaving(Outcome.REGISTERED, 137, version="v1.0.0")]))
    assert (ended.status, ended.states[-1]) == ("SUCCEEDED", "Waiting")


def test_a_container_that_keeps_no_outcome_is_told(world: Account) -> None:
    ended = execute(world, Containers([ending(0)]))
    assert (ended.status, ended.error) == ("FAILED", "GraphLost")
    ((_, message),) = ended.messages
    assert "OutcomeMissing" in message


def test_a_graph_that_takes_too_long_is_ended(world: Account) -> None:
    def impatient(machine: dict[str, Any]) -> None:
        machine["States"]["RunGraph"]["TimeoutSeconds"] = 1

    containers = Containers([ending(None)])
    ended = execute(world, containers, changed=impatient)
    assert (ended.status, ended.error, len(containers.started)) == ("FAILED", "GraphLost", 1)
    ((_, message),) = ended.messages
    assert "States.Timeout" in message


@pytest.mark.parametrize("times", [2, 99])
def test_a_table_that_throttles(world: Account, times: int) -> None:
    """For a while: read again. For ever: told as lost, because nobody knows what became of the run."""
    asked = []
    real = table_service.boto_client_for

    def throttled(**arguments: Any) -> Any:
        client = real(**arguments)
        asked.append(client)
        if len(asked) <= times:
            client.get_item = mock.Mock(side_effect=THROTTLED)
        return client

    containers = Containers([leaving(Outcome.REGISTERED, version="v1.0.0")])
    ended = execute(world, containers, patches=(mock.patch.object(table_service, "boto_client_for", throttled),))
    assert len(containers.started) == 1
    if times == 2:
        assert (ended.status, len(asked)) == ("SUCCEEDED", 3)
    else:
        assert (ended.status, ended.error, len(asked)) == ("FAILED", "GraphLost", 7)
        assert "slow down" in ended.messages[0][1]
