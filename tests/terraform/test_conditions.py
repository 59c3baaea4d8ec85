"""Conditions of the rendered policies: which service a role may be passed to, where, and what a made-up call gets."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.aws.policies import OPERATORS, allows
from tests.terraform.runs import State

ROLE = "arn:aws:iam::123456789012:role/recsys-prod-sagemaker"
REGION = {"aws:RequestedRegion": "eu-central-1"}


def _inline(state: State, suffix: str) -> list[Mapping[str, Any]]:
    found = [v["policy"] for address, v in state.of_type("aws_iam_role_policy").items() if address.endswith(suffix)]
    assert len(found) == 1, suffix
    statements: list[Mapping[str, Any]] = json.loads(found[0])["Statement"]
    return statements


@pytest.mark.parametrize("suffix", ["runs[0].aws_iam_role_policy.task", 'aws_iam_role_policy.this["release"]'])
def test_a_role_is_passed_to_its_service_alone(environments: Mapping[str, State], suffix: str) -> None:
    statements = _inline(environments["prod"], suffix)
    assert allows(statements, "iam:PassRole", ROLE, {"iam:PassedToService": "sagemaker.amazonaws.com"})
    assert not allows(statements, "iam:PassRole", ROLE, {"iam:PassedToService": "lambda.amazonaws.com"})
    assert not allows(statements, "iam:PassRole", ROLE), "a call that names no service"


def test_the_boundary_ends_at_the_region(environments: Mapping[str, State]) -> None:
    policy = environments["prod"].one("aws_iam_policy", name="recsys-prod-ci-boundary")["policy"]
    boundary = json.loads(policy)["Statement"]
    function = "arn:aws:lambda:eu-central-1:123456789012:function:recsys-prod-api"
    assert allows(boundary, "lambda:UpdateAlias", function, REGION)
    assert not allows(boundary, "lambda:UpdateAlias", function, {"aws:RequestedRegion": "eu-west-1"})
    own = "arn:aws:iam::123456789012:role/recsys-prod-ci-deploy"
    assert not allows(boundary, "iam:PutRolePolicy", own, REGION), "the roles may not change themselves"
    assert allows(boundary, "iam:PutRolePolicy", "arn:aws:iam::123456789012:role/recsys-prod-api", REGION)
    assert not allows(boundary, "iam:CreateUser", "*", REGION)


def test_every_condition_of_a_role_is_understood(environment: tuple[str, State]) -> None:
    _, state = environment
    policies = [v["policy"] for kind in ("aws_iam_role_policy", "aws_iam_policy") for v in state.of_type(kind).values()]
    used = {
        operator
        for text in policies
        for statement in json.loads(text)["Statement"]
        for operator in statement.get("Condition", {})
    }
    assert used <= set(OPERATORS)
