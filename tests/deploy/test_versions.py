"""Function versions: every state in which AWS may report one, and which versions are deleted."""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import CheckFailed
from recsys_deploy.deploy.versions import READY_ATTEMPTS, Function, _wait
from tests.deploy.world import World

FUNCTION = Function("api", "recsys-dev-api", "1", "2", "r")


def waited(states: list[dict[str, str]], invoked: str | None = None) -> tuple[Aws, list[float]]:
    """Wait through these answers of GetFunctionConfiguration; ``invoked``: error of the invocation after the first."""
    aws, pauses = Aws("eu-central-1"), list[float]()
    with Stubber(aws.client("lambda")) as stub:
        for number, state in enumerate(states):
            stub.add_response("get_function_configuration", state)
            if number == 0 and invoked:
                stub.add_client_error("invoke", invoked)
        _wait(aws, FUNCTION, pauses.append)
        stub.assert_no_pending_responses()
    return aws, pauses


def test_a_version_that_is_active_or_becomes_so() -> None:
    assert waited([{"State": "Active"}])[1] == []
    assert len(waited([{"State": "Pending"}, {"State": "Pending"}, {"State": "Active"}])[1]) == 2


@pytest.mark.parametrize("error", ["SnapStartNotReadyException", "ResourceConflictException"])
def test_an_inactive_version_is_woken_by_an_invocation_that_fails(error: str) -> None:
    """After 14 idle days; botocore's waiter would wait in vain."""
    states = [{"State": "Inactive"}, {"State": "Inactive"}, {"State": "Pending"}, {"State": "Active"}]
    assert len(waited(states, error)[1]) == 3


def test_a_version_that_failed_says_why_at_once() -> None:
    with pytest.raises(CheckFailed, match="it does not start: InvalidRuntime: no such module"):
        waited([{"State": "Failed", "StateReason": "InvalidRuntime: no such module"}])


def test_waiting_ends() -> None:
    with pytest.raises(CheckFailed, match=f"it is Pending after {READY_ATTEMPTS * 5} s"):
        waited([{"State": "Pending"}] * READY_ATTEMPTS)


def test_only_the_live_version_the_one_before_and_those_of_aliases_are_kept(world: World) -> None:
    world.deploy()
    for code in ("two", "three", "four", "five"):
        world.publish_code(code)
    client = boto3.client("lambda")
    weights = {"AdditionalVersionWeights": {"2": 0.1}}
    client.create_alias(FunctionName="recsys-dev-shadow", Name="kept", FunctionVersion="3", RoutingConfig=weights)
    done = world.deploy()
    assert done.functions["api"] == "5"
    assert published("api") == ["1", "5"]
    assert published("shadow") == ["1", "2", "3", "5"]
    assert world.live() == "5"


def published(name: str) -> list[str]:
    found: Any = boto3.client("lambda").list_versions_by_function(FunctionName=f"recsys-dev-{name}")["Versions"]
    return [one["Version"] for one in found if one["Version"] != "$LATEST"]
