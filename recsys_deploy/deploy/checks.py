"""Checks before anything is changed: Terraform, credentials, account, region, and the bucket of the state."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from recsys_assets.aws_errors import AwsCallFailed, AwsErrorKind
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import DeployError, translated
from recsys_deploy.deploy.options import EnvironmentOptions
from recsys_deploy.deploy.steps import Steps
from recsys_deploy.deploy.terraform import Terraform
from recsys_deploy.deploy.values import BACKEND, VALUES, Environment

KEY_VARIABLE: Final = "TF_VAR_storefront_key"
WITHOUT_LOCATION: Final = "us-east-1"
"""The only region that CreateBucket refuses as a location (Amazon S3 API Reference, CreateBucket)."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Account, version of Terraform, and the bucket of the state if it was made now."""

    account: str
    terraform_version: str
    bucket_made: str | None


def open_terraform(options: EnvironmentOptions, aws: Aws, steps: Steps, key: str = "") -> Terraform:
    """Terraform on an environment, reporting to ``steps``; ``key`` is that of the shop page, once there is one."""
    return Terraform(
        options.terraform,
        options.environment,
        data_dir=options.data,
        plugin_dir=options.plugin_dir,
        environment_variables=aws.environment(),
        variables={KEY_VARIABLE: key} if key else {},
        on_progress=steps.progress,
    )


def check(environment: Environment, terraform: Terraform, aws: Aws, *, create_state_bucket: bool) -> Checked:
    """Check everything that does not need the environment's state.

    Args:
        create_state_bucket: make the bucket of the state if it is missing.

    Raises:
        DeployError, AwsCallFailed: nothing was changed.
    """
    version = terraform.version()
    account = aws.account()
    for file, given in ((BACKEND, environment.backend), (VALUES, environment.values)):
        allowed = [str(one) for one in given.get("allowed_account_ids") or ()]
        if allowed and account not in allowed:
            raise DeployError(
                f"these credentials belong to account {account}, but {environment.folder / file} allows only "
                f"{', '.join(allowed)} for {environment.name}",
                remedy="choose another profile (AWS_PROFILE), or name the account there",
            )
    return Checked(account, version, _check_bucket(environment, aws, account, create_state_bucket))


def check_standing(environment: Environment, outputs: Mapping[str, Any], account: str, region: str) -> None:
    """Refuse an account or a region that differs from that of the deployed environment.

    Args:
        outputs: of Terraform; empty before the first apply.

    Raises:
        DeployError: nothing was changed.
    """
    for function in (outputs.get("functions") or {}).values():
        _, _, _, its_region, its_account, *_ = str(function["arn"]).split(":")
        if its_account != account:
            raise DeployError(
                f"{environment.name} is deployed in account {its_account}, but these credentials belong to {account}",
                remedy=f"choose a profile of {its_account} (AWS_PROFILE), or name another state in backend.hcl",
            )
        if its_region != region:
            raise DeployError(
                f"{environment.name} is deployed in {its_region}, but its terraform.tfvars now names {region}; "
                "Terraform would lose the existing resources",
                remedy="set the region back, or destroy the environment first",
            )


def _check_bucket(environment: Environment, aws: Aws, account: str, create: bool) -> str | None:
    bucket = environment.backend.get("bucket")
    if not bucket:
        return None  # another kind of backend
    region = str(environment.backend.get("region") or environment.region)
    s3 = aws.client("s3", region)
    file = environment.folder / BACKEND
    try:
        with translated(f"reading the bucket of the state, {bucket}"):
            try:
                found = s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if status == 404 and create:
                    make_state_bucket(s3, str(bucket), region)
                    return str(bucket)
                if status == 404:
                    raise DeployError(
                        f"the bucket of the state, {bucket}, does not exist",
                        remedy=f"make it with --create-state-bucket, or name one of yours in {file}",
                    ) from error
                if status != 403:
                    raise
                s3.head_bucket(Bucket=bucket)
                raise DeployError(
                    f"the bucket of the state, {bucket}, belongs to another account than these credentials ({account})",
                    remedy=f"choose another profile (AWS_PROFILE), or name a bucket of yours in {file}",
                ) from error
    except AwsCallFailed as error:
        if error.problem.kind is not AwsErrorKind.ACCESS_DENIED:
            raise
        raise DeployError(
            f"account {account} may not read the bucket of the state, {bucket}: it belongs to another account, or the "
            "role lacks s3:ListBucket",
            remedy=f"choose another profile (AWS_PROFILE), allow it, or name a bucket of yours in {file}",
        ) from error
    actual = found.get("BucketRegion") or region
    if actual != region:
        raise DeployError(
            f"the bucket of the state, {bucket}, is in {actual}, but {file} names {region}",
            remedy=f'set region = "{actual}" there',
        )
    return None


def make_state_bucket(s3: Any, bucket: str, region: str) -> None:
    """Make a private, versioned, encrypted bucket that accepts TLS only. May be repeated after a failure."""
    where = {} if region == WITHOUT_LOCATION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou):  # made by an earlier call that failed after it
            s3.create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerEnforced", **where)
    except s3.exceptions.BucketAlreadyExists as error:
        raise DeployError(
            f"another account has a bucket named {bucket}", remedy="choose another name in backend.hcl"
        ) from error
    everything = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=everything)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    statement = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
