"""Roles of GitHub's jobs: allowed calls of their commands, refused calls, and IAM's quotas for policies.

`CALLS` lists the calls of ``recsys deploy``, ``recsys endpoints``, ``recsys release`` and ``recsys monitor`` as IAM
names them. Terraform's own calls are in ``terraform/modules/ci-access/actions.tf``.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.terraform.mocked import ACCOUNT, arn
from tests.terraform.runs import ROOT, State
from tests.workflows.rules import jobs, role_of

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
        f"{PAGE}/data/shoppers.json": ("s3:PutObject",),
        f"{PAGE}/js/main.js": ("s3:PutObject", "s3:DeleteObject"),
        "arn:aws:cloudfront::123456789012:distribution/E1": ("cloudfront:CreateInvalidation",),
        FUNCTION: ("lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetFunctionConfiguration"),
        f"{FUNCTION}:7": ("lambda:InvokeFunction", "lambda:GetFunctionConfiguration", "lambda:DeleteFunction"),
        "*": (
            "cloudwatch:DescribeAlarms", "lambda:GetAccountSettings", "rds:DescribeDBInstances",
            "servicequotas:GetServiceQuota", "sns:GetSubscriptionAttributes",
        ),
        f"arn:aws:ecr:{ACCOUNT}:repository/recsys-prod/dagster": ("ecr:DescribeImages",),
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
    # `recsys monitor`, also while a release is watched: alarms, tables, days in the lake, the live bundle.
    "monitor": {
        "*": ("cloudwatch:DescribeAlarms",),
        **{arn(f"table:{name}"): ("dynamodb:GetItem", "dynamodb:Query") for name in ("registry", "serving")},
        LAKE: ("s3:ListBucket",),
        MODELS: ("s3:ListBucket",),
        f"{MODELS}/bundles/0a/manifest.json": ("s3:GetObject",),
        "key": ("kms:Decrypt",),
    },
    "training": {
        f"{LAKE}/lake/interactions/date=2026-11-01/part-0.parquet": FILES,
        f"{MODELS}/bundles/0a/manifest.json": FILES,
        LAKE: ("s3:ListBucket",),
        arn("table:registry"): RECORDS,
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
    "monitor": {arn("table:serving"): ("dynamodb:PutItem",), f"{MODELS}/bundles/0a/manifest.json": ("s3:PutObject",)},
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


DESCRIBED_ON_EVERYTHING = {"rds:DescribeDBInstances", "cloudwatch:DescribeAlarms", "sns:GetSubscriptionAttributes"}
"""Reads that IAM checks against all resources, although they name one (terraform-provider-aws 35737)."""


@pytest.mark.parametrize("role", ["plan", "deploy"])
def test_what_iam_checks_on_everything_is_allowed_on_everything(role: str, environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    assert {action for action in DESCRIBED_ON_EVERYTHING if not _allowed(state, role, action, "*")} == set()


MOST_POLICIES, LARGEST_POLICY = 8, 5632
"""Below IAM's quotas of 10 managed policies per role and 6,144 characters per policy ("IAM and AWS STS quotas")."""


def test_policies_stay_below_the_quotas_of_iam(environment: tuple[str, State]) -> None:
    name, state = environment
    attached = state.of_type("aws_iam_role_policy_attachment").values()
    counts = Counter(str(one["role"]) for one in attached)
    assert name != "prod" or len(counts) == 3, "CI's plan and deploy, and the role of backups"
    assert max(counts.values(), default=0) <= MOST_POLICIES, counts
    for address, policy in state.of_type("aws_iam_policy").items():
        assert len(policy["policy"]) <= LARGEST_POLICY, (address, len(policy["policy"]))
    inline = {address: len(one["policy"]) for address, one in state.of_type("aws_iam_role_policy").items()}
    assert max(inline.values()) <= 10_240, inline
    for kind in ("aws_iam_role", "aws_iam_policy"):
        assert max((len(one["name"]) for one in state.of_type(kind).values()), default=0) <= 64


COMMANDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "release": CALLS["release"],
    "monitor": CALLS["monitor"],
    "run": CALLS["training"],
    "models": {arn("table:registry"): ("dynamodb:GetItem", "dynamodb:Query")},
}
"""Calls of each command that a workflow runs with a role."""

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_each_job_takes_a_role_that_allows_its_commands(file: Path, environments: Mapping[str, State]) -> None:
    state = environments["prod"]
    key = str(state.one("aws_kms_key")["arn"])
    longest = {
        a.split('"')[1]: v["max_session_duration"] for a, v in state.of_type("aws_iam_role").items() if "ci_acc" in a
    }
    for name, job in jobs(yaml.safe_load(file.read_text())):
        if (role := role_of(job)) is None:
            continue
        assert role[1] <= longest[role[0]], name
        lines = [step["run"].split() for step in job["steps"] if "recsys " in step.get("run", "")]
        for command in {words[1] for words in lines}:
            calls = [(a, key if on == "key" else on) for on, actions in COMMANDS[command].items() for a in actions]
            assert [call for call in calls if not _allowed(state, role[0], *call)] == [], (name, command)


def test_sessions_of_jobs_outlast_the_jobs(environments: Mapping[str, State]) -> None:
    """Credentials of a job cannot be refreshed; a job asks for the seconds that its role allows."""
    roles = environments["prod"].of_type("aws_iam_role")
    longest = {a.split('"')[1]: v["max_session_duration"] for a, v in roles.items() if "ci_access" in a}
    assert (longest["training"], longest["monitor"]) == (21_600, 21_600) and longest["deploy"] >= 7_200


def test_a_mapping_is_made_with_its_tags(environments: Mapping[str, State]) -> None:
    """Its id is Lambda's own, so the row that names functions does not cover it."""
    made_by = [
        one for one in _statements(environments["prod"], "deploy") if "lambda:CreateEventSourceMapping" in one["Action"]
    ]
    assert made_by and all("lambda:TagResource" in one["Action"] and one["Resource"] == ["*"] for one in made_by)


def _allowed(state: State, role: str, action: str, resource: str) -> bool:
    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in _listed(statement["Resource"]))
        for statement in _statements(state, role)
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _statements(state: State, role: str) -> Iterator[Mapping[str, Any]]:
    """Statements of the role's own policy, and of those Terraform's permissions that are attached to it."""
    texts = [
        v["policy"]
        for a, v in state.of_type("aws_iam_role_policy").items()
        if a.endswith(f'ci_access[0].aws_iam_role_policy.this["{role}"]')
    ]
    assert len(texts) == 1
    for address in state.of_type("aws_iam_role_policy_attachment"):
        if found := re.search(rf'\["{role}-(\w+)"\]$', address):
            name = f"recsys-prod-ci-{'read' if role == 'plan' else 'change'}-{found[1]}"
            texts.append(state.one("aws_iam_policy", name=name)["policy"])
    for text in texts:
        yield from json.loads(text)["Statement"]
