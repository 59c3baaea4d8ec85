"""Whether the roles of GitHub's jobs may do what the commands of those jobs call, and no more than needed of IAM.

Put here calls of ``recsys deploy`` and ``recsys endpoints`` (``recsys_deploy/deploy``, ``recsys_deploy/endpoints``) as
IAM names them, each with a resource it is made on. Keep what Terraform itself calls out: ``actions.tf`` lists it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.terraform.mocked import ACCOUNT, arn
from tests.terraform.runs import State

LAKE, MODELS = arn("bucket:lake"), arn("bucket:models")
PAGE = "arn:aws:s3:::recsys-prod-page-123456789012"
STATE = "arn:aws:s3:::recsys-prod-terraform-state"
FUNCTION = f"arn:aws:lambda:{ACCOUNT}:function:recsys-prod-api"
PARAMETER = f"arn:aws:ssm:{ACCOUNT}:parameter/recsys-prod/storefront-key"
SAGEMAKER = f"arn:aws:sagemaker:{ACCOUNT}"
ROLE = "arn:aws:iam::123456789012:role/recsys-prod-sagemaker"
SCALING = "role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com"

FILES = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
RECORDS = (
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:PutItem",
    "dynamodb:DeleteItem",
    "dynamodb:ConditionCheckItem",
)

CALLS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "deploy": {
        STATE: ("s3:ListBucket",),
        f"{STATE}/recsys/terraform.tfstate": ("s3:GetObject", "s3:PutObject"),
        f"{STATE}/recsys/terraform.tfstate.tflock": ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
        PARAMETER: ("ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"),
        **{arn(f"table:{name}"): RECORDS for name in ("api_keys", "registry", "serving", "history")},
        MODELS: ("s3:ListBucket",),
        f"{MODELS}/bundles/": ("s3:PutObject",),
        f"{MODELS}/bundles/0a/manifest.json": FILES,
        f"{MODELS}/catalogue/0a/manifest.json": FILES,
        LAKE: ("s3:ListBucket",),
        f"{LAKE}/lake/": ("s3:PutObject",),
        f"{LAKE}/lake/published_histories/": ("s3:PutObject",),
        f"{LAKE}/lake/published_histories/part-0.parquet": FILES,
        PAGE: ("s3:ListBucket",),
        f"{PAGE}/data/shoppers.json": ("s3:GetObject", "s3:PutObject"),
        "arn:aws:cloudfront::123456789012:distribution/E1": ("cloudfront:CreateInvalidation",),
        FUNCTION: ("lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetFunctionConfiguration"),
        f"{FUNCTION}:7": ("lambda:InvokeFunction", "lambda:GetFunctionConfiguration"),
        "key": ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"),
    },
    "release": {
        arn("table:registry"): RECORDS,
        arn("table:serving"): RECORDS,
        f"{MODELS}/bundles/0a/manifest.json": ("s3:GetObject",),
        f"{MODELS}/catalogue/0a/manifest.json": ("s3:GetObject",),
        f"{MODELS}/archives/0a/model.tar.gz": ("s3:PutObject", "s3:AbortMultipartUpload"),
        f"{SAGEMAKER}:model/recsys-prod-v1-4-0-0a": (
            "sagemaker:CreateModel", "sagemaker:DeleteModel", "sagemaker:AddTags",
        ),
        f"{SAGEMAKER}:endpoint-config/recsys-prod-v1-4-0-0a": (
            "sagemaker:CreateEndpointConfig", "sagemaker:DescribeEndpointConfig", "sagemaker:DeleteEndpointConfig",
            "sagemaker:AddTags",
        ),
        f"{SAGEMAKER}:endpoint/recsys-prod-v1-4-0": (
            "sagemaker:CreateEndpoint", "sagemaker:DescribeEndpoint", "sagemaker:DeleteEndpoint", "sagemaker:AddTags",
        ),
        # Of others: the account's quota is shared.
        f"{SAGEMAKER}:endpoint/somebody-else": ("sagemaker:DescribeEndpoint",),
        f"{SAGEMAKER}:endpoint-config/somebody-else": ("sagemaker:DescribeEndpointConfig",),
        "*": ("sagemaker:ListEndpoints", "sagemaker:ListEndpointConfigs"),
        f"arn:aws:application-autoscaling:{ACCOUNT}:scalable-target/0ec5": (
            "application-autoscaling:RegisterScalableTarget", "application-autoscaling:DeregisterScalableTarget",
            "application-autoscaling:PutScalingPolicy",
        ),
        f"arn:aws:cloudwatch:{ACCOUNT}:alarm:TargetTracking-endpoint/recsys-prod-v1-4-0/variant/AllTraffic-AlarmHigh": (
            "cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms",
        ),
        f"arn:aws:iam::123456789012:{SCALING}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint": (
            "iam:CreateServiceLinkedRole",
        ),
        ROLE: ("iam:PassRole",),
        "key": ("kms:Decrypt", "kms:GenerateDataKey"),
    },
}  # fmt: skip

REFUSED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "deploy": {f"{LAKE}/lake/interactions/part-0.parquet": ("s3:GetObject", "s3:PutObject")},
    "release": {
        f"{MODELS}/bundles/0a/manifest.json": ("s3:PutObject", "s3:DeleteObject"),
        f"{SAGEMAKER}:endpoint/somebody-else": ("sagemaker:DeleteEndpoint",),
        "arn:aws:iam::123456789012:role/recsys-prod-run": ("iam:PassRole",),
        arn("table:history"): ("dynamodb:PutItem",),
    },
    "plan": {f"{STATE}/recsys/terraform.tfstate": ("s3:PutObject",), FUNCTION: ("lambda:UpdateAlias",)},
}


@pytest.mark.parametrize("role", CALLS)
def test_role_may_do_what_its_commands_call(role: str, environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    key = str(state.one("aws_kms_key")["arn"])
    calls = [(action, key if on == "key" else on) for on, actions in CALLS[role].items() for action in actions]
    assert [call for call in calls if not _allowed(state, role, *call)] == []
    boundary = json.loads(state.one("aws_iam_policy", name="recsys-prod-ci-boundary")["policy"])["Statement"]
    ceiling = [pattern for statement in boundary if statement["Effect"] == "Allow" for pattern in statement["Action"]]
    assert [action for action, _ in calls if not any(fnmatchcase(action, one) for one in ceiling)] == []


@pytest.mark.parametrize("role", REFUSED)
def test_role_may_do_no_more(role: str, environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    calls = [(action, on) for on, actions in REFUSED[role].items() for action in actions]
    assert [call for call in calls if _allowed(state, role, *call)] == []


def test_a_mapping_is_made_with_its_tags(environments: Mapping[str, State]) -> None:
    """Its id is Lambda's own, so the row that names functions does not cover it."""
    made_by = [
        one for one in _statements(environments["prod"], "deploy") if "lambda:CreateEventSourceMapping" in one["Action"]
    ]
    assert made_by and all("lambda:TagResource" in one["Action"] and one["Resource"] == ["*"] for one in made_by)


def _allowed(state: State, role: str, action: str, resource: str) -> bool:
    return any(
        action in statement["Action"] and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in _statements(state, role)
    )


def _statements(state: State, role: str) -> Iterator[Mapping[str, Any]]:
    """Statements of the role's own policy, and of those Terraform's permissions that are attached to it."""
    texts = [
        v["policy"]
        for a, v in state.of_type("aws_iam_role_policy").items()
        if a.endswith(f'ci_access[0].aws_iam_role_policy.this["{role}"]')
    ]
    assert len(texts) == 1
    for address in state.of_type("aws_iam_role_policy_attachment"):
        if found := re.search(rf'\["{role}-(\w+)(?:-(read|write))?"\]$', address):
            name = f"recsys-prod-ci-{found[2] or 'read'}-{found[1]}"
            texts.append(state.one("aws_iam_policy", name=name)["policy"])
    for text in texts:
        yield from json.loads(text)["Statement"]
