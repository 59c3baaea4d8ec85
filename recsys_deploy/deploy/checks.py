"""What must hold before anything is changed: program, credentials, account, region, bucket of the state.

Put a check here when its failing later would leave something half-done or waste minutes. Keep what a plan finds out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.errors import AccessDenied, StateBucketMissing, WrongAccount, WrongRegion
from recsys_deploy.deploy.explain import explained
from recsys_deploy.deploy.terraform_runner import Terraform
from recsys_deploy.deploy.values import BACKEND, Environment

WITHOUT_LOCATION: Final = "us-east-1"
"""The one region that CreateBucket must not be told (Amazon S3 API Reference, CreateBucket)."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found. ``bucket_made`` names the bucket of the state if it was made now."""

    account: str
    terraform_version: str
    bucket_made: str | None


def check(environment: Environment, terraform: Terraform, aws: Aws, *, create_state_bucket: bool) -> Checked:
    """Everything that can be known before Terraform is asked about the environment.

    Args:
        create_state_bucket: make the bucket of the state where it is missing.

    Raises:
        TerraformMissing, CredentialsMissing, CredentialsExpired, WrongAccount, WrongRegion, StateBucketMissing,
        AccessDenied: see the message; nothing was changed.
    """
    version = terraform.version()
    account = aws.account()
    allowed = [str(one) for one in environment.backend.get("allowed_account_ids") or ()]
    if allowed and account not in allowed:
        raise WrongAccount(
            f"these credentials belong to account {account}, but {environment.folder / BACKEND} allows "
            f"{', '.join(allowed)} for {environment.name}: choose another profile (AWS_PROFILE)"
        )
    return Checked(account, version, _check_bucket(environment, aws, account, create_state_bucket))


def check_standing(environment: Environment, outputs: Mapping[str, Any], account: str, region: str) -> None:
    """Refuse credentials of another account, or values of another region, than the environment stands in.

    Args:
        outputs: of Terraform; empty before the first apply.

    Raises:
        WrongAccount, WrongRegion: nothing was changed.
    """
    for function in (outputs.get("functions") or {}).values():
        _, _, _, its_region, its_account, *_ = str(function["arn"]).split(":")
        if its_account != account:
            raise WrongAccount(
                f"{environment.name} stands in account {its_account}, these credentials belong to {account}: choose "
                f"the profile of the former (AWS_PROFILE), or give this environment another state in backend.hcl"
            )
        if its_region != region:
            raise WrongRegion(
                f"{environment.name} stands in {its_region}, but its terraform.tfvars says {region} now. Terraform "
                f"would lose sight of what stands: set it back, or destroy the environment first"
            )


def _check_bucket(environment: Environment, aws: Aws, account: str, create: bool) -> str | None:
    bucket = environment.backend.get("bucket")
    if not bucket:
        return None  # the state is kept elsewhere
    region = str(environment.backend.get("region") or environment.region)
    s3 = aws.client("s3", region)
    try:
        with explained(f"looking at the bucket of the state, {bucket}"):
            try:
                found = s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if status == 404:
                    return _missing(environment, s3, str(bucket), region, account, create)
                if status != 403:
                    raise
                s3.head_bucket(Bucket=bucket)
                raise WrongAccount(
                    f"the bucket of the state, {bucket}, belongs to another account than these credentials "
                    f"({account}): choose another profile (AWS_PROFILE), or name a bucket of your own in "
                    f"{environment.folder / BACKEND}"
                ) from error
    except AccessDenied as error:
        raise AccessDenied(
            f"account {account} may not look at the bucket of the state, {bucket}: it is somebody else's, or the role "
            f"lacks s3:ListBucket on it. Choose another profile (AWS_PROFILE), let an administrator allow it, or name "
            f"a bucket of your own in {environment.folder / BACKEND}"
        ) from error
    actual = found.get("BucketRegion") or region
    if actual != region:
        raise WrongRegion(
            f"the bucket of the state, {bucket}, lies in {actual}, but {environment.folder / BACKEND} says {region}: "
            f"write "
            f'region = "{actual}" there'
        )
    return None


def _missing(environment: Environment, s3: Any, bucket: str, region: str, account: str, create: bool) -> str:
    if not create:
        raise StateBucketMissing(
            f"the bucket of the state, {bucket}, does not exist. Make it with --create-state-bucket (versioned, "
            f"encrypted, private), or name one of yours in {environment.folder / BACKEND}"
        )
    make_state_bucket(s3, bucket, region)
    return bucket


def make_state_bucket(s3: Any, bucket: str, region: str) -> None:
    """A bucket fit for a state: private, versioned, encrypted, TLS only. May be repeated after half of it was done."""
    where = {} if region == WITHOUT_LOCATION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        s3.create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerEnforced", **where)
    except s3.exceptions.BucketAlreadyOwnedByYou:
        pass
    except s3.exceptions.BucketAlreadyExists as error:
        raise StateBucketMissing(
            f"the name {bucket} is taken by another account (bucket names are the whole world's): choose another in "
            f"backend.hcl"
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
