"""New code is checked before and after it answers shoppers, on one deployed environment whose aliases stay at 1."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from recsys_deploy.deploy.errors import CheckFailed
from tests.deploy.world import World

FUNCTIONS = ("authorizer", "judge", "shadow", "api")


@pytest.fixture(scope="module")
def deployed(shared_world: World) -> World:
    """An environment with a live model."""
    shared_world.home.promote(*(f"p{number}" for number in range(12)))
    shared_world.deploy()
    return shared_world


@pytest.fixture
def world(deployed: World) -> Iterator[World]:
    yield deployed
    deployed.faults.by_version.clear()


def refused(world: World, match: str) -> None:
    """A deployment that is refused and after which the former code answers."""
    with pytest.raises(CheckFailed, match=match):
        world.deploy()
    assert {world.live(name) for name in FUNCTIONS} == {"1"}


def answer(**content: Any) -> dict[str, Any]:
    return {"statusCode": 200, "body": json.dumps({"status": "ok", "recommendations": ["p1"], **content})}


@pytest.mark.parametrize("name", ["authorizer", "shadow", "api"])
def test_new_code_that_fails_is_kept_from_shoppers(world: World, name: str) -> None:
    def broken(event: Any) -> Any:
        raise RuntimeError("no module named numpy")

    version = world.publish_code(f"fails in {name}")
    world.faults.by_version[name, version] = broken
    refused(world, rf"recsys-dev-{name} version {version} .*no module named numpy.*Version 1 still answers")


def test_an_authorizer_that_lets_everybody_in_is_kept_from_shoppers(world: World) -> None:
    version = world.publish_code("lets everybody in")
    world.faults.by_version["authorizer", version] = lambda event: {"isAuthorized": True, "context": {}}
    refused(world, "isAuthorized")


def test_new_code_that_fails_at_the_address_only_is_moved_back(world: World) -> None:
    version, model = world.publish_code("fails behind the gateway"), str(world.champion())

    def fails_behind_the_gateway(event: Any) -> Any:
        return answer(model_version=model) if "requestContext" in event else {"statusCode": 502, "body": "{}"}

    world.faults.by_version["api", version] = fails_behind_the_gateway
    back = r"\(authorizer 1, judge 1, shadow 1, api 1\)"
    refused(world, rf"health answered 502.*previous code answers shoppers again {back}")
    assert ("api", version) in world.asked and sum(world.slept) < 60


def test_new_code_that_cannot_load_the_live_model_is_kept_from_shoppers(world: World) -> None:
    version = world.publish_code("loads no model")
    baseline = answer(model_version="baseline", fallback="bundle: refused")
    world.faults.by_version["api", version] = lambda event: baseline
    refused(world, rf"answered by baseline \(bundle: refused\), not by {world.champion()}")


def test_while_code_is_rolled_out_by_weights_nothing_is_moved(world: World) -> None:
    version, client = world.publish_code("rolled out by weights"), boto3.client("lambda")
    alias = {"FunctionName": "recsys-dev-api", "Name": "live"}
    client.update_alias(**alias, RoutingConfig={"AdditionalVersionWeights": {version: 0.1}})
    refused(world, "a rollout of code is in progress")
    client.update_alias(**alias, RoutingConfig={"AdditionalVersionWeights": {}})


def test_new_code_is_asked_before_shoppers_meet_it(world: World) -> None:
    """The last test: it moves the aliases."""
    version = world.publish_code("works")
    done = world.deploy()
    assert done.moved == FUNCTIONS
    assert {world.live(name) for name in done.functions} == {version}
    # Nobody was asked at the address before every new version had answered directly.
    direct = world.asked[: world.asked.index(("api", version)) + 2]
    assert direct == [(name, version) for name in ("authorizer", "authorizer", "shadow", "api", "api")]
