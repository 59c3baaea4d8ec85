"""Checks before anything is changed, and errors of AWS with their remedies."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.stub import Stubber

from lambda_api.state.table import TableUnavailable
from recsys_assets.aws_errors import AwsCallFailed, AwsErrorKind
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.checks import Checked, check
from recsys_deploy.deploy.errors import DeployError, translated
from recsys_deploy.deploy.terraform import Terraform
from recsys_deploy.deploy.values import Environment, read_environment
from tests.deploy.world import ACCOUNT, REGION, write_tree

BUCKET = "recsys-dev-terraform-state"


class AnyTerraform(Terraform):
    """One that is there."""

    def version(self) -> str:
        return "1.11.4"


def environment(root: Path, backend: str) -> Environment:
    tree = write_tree(root)
    (tree / "environments" / "dev" / "backend.hcl").write_text(backend)
    return read_environment(tree, "dev")


def look(root: Path, backend: str, *, create: bool = False, aws: Aws | None = None) -> Checked:
    found = environment(root, backend)
    terraform = AnyTerraform(root / "terraform", "dev", data_dir=root / "data")
    return check(found, terraform, aws or Aws(REGION), create_state_bucket=create)


def state_in(bucket: str, region: str = REGION) -> str:
    return f'bucket = "{bucket}"\nregion = "{region}"\n'


def failing(code: str, status: int, message: str = "", operation: str = "HeadBucket") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},
        operation,  # type: ignore[arg-type]
    )


def test_a_state_kept_elsewhere_needs_no_bucket(aws: None, tmp_path: Path) -> None:
    assert look(tmp_path, 'path = "x"\n') == Checked(ACCOUNT, "1.11.4", None)


def test_a_missing_bucket_is_named_or_made_safe(aws: None, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=rf"{BUCKET}, does not exist.*--create-state-bucket"):
        look(tmp_path, state_in(BUCKET))
    assert look(tmp_path, state_in(BUCKET), create=True).bucket_made == BUCKET
    s3 = boto3.client("s3")
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == REGION
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
    rules = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert look(tmp_path, state_in(BUCKET), create=True).bucket_made is None


def test_a_bucket_in_another_region(aws: None, tmp_path: Path) -> None:
    boto3.client("s3", region_name="eu-west-1").create_bucket(
        Bucket="state-in-ireland", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    stubbed = Aws(REGION)
    with Stubber(stubbed.client("s3")) as stub:
        stub.add_response("head_bucket", {"BucketRegion": "eu-west-1"})
        with pytest.raises(
            DeployError, match=r'is in eu-west-1, but .*backend\.hcl names eu-central-1; set region = "eu-west-1"'
        ):
            look(tmp_path, state_in("state-in-ireland"), aws=stubbed)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (None, f"belongs to another account than these credentials \\({ACCOUNT}\\)"),
        ("403", "belongs to another account, or the role lacks s3:ListBucket"),
    ],
)
def test_a_bucket_of_another_account(aws: None, tmp_path: Path, second: str | None, words: str) -> None:
    stubbed = Aws(REGION)
    with Stubber(stubbed.client("s3")) as stub:
        stub.add_client_error("head_bucket", "403", "Forbidden", 403)
        if second:
            stub.add_client_error("head_bucket", second, "Forbidden", 403)
        else:
            stub.add_response("head_bucket", {})
        with pytest.raises(DeployError, match=words):
            look(tmp_path, state_in(BUCKET), aws=stubbed)


def test_an_account_that_is_not_allowed(aws: None, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"belong to account 123456789012, but .* allows only 210987654321 for dev"):
        look(tmp_path, 'path = "x"\nallowed_account_ids = ["210987654321"]\n')
    assert look(tmp_path, f'path = "x"\nallowed_account_ids = ["{ACCOUNT}"]\n').account == ACCOUNT
    found = environment(tmp_path, 'path = "x"\n')
    elsewhere = replace(found, values={**found.values, "allowed_account_ids": ["210987654321"]})
    terraform = AnyTerraform(tmp_path / "terraform", "dev", data_dir=tmp_path / "data")
    with pytest.raises(
        DeployError, match=r"terraform.tfvars allows only 210987654321 for dev; .*name the account there"
    ):
        check(elsewhere, terraform, Aws(REGION), create_state_bucket=False)


def test_credentials_that_expired(aws: None, tmp_path: Path) -> None:
    stubbed = Aws(REGION)
    with Stubber(stubbed.client("sts")) as stub:
        stub.add_client_error("get_caller_identity", "ExpiredToken", "The security token is expired", 403)
        with pytest.raises(AwsCallFailed, match="aws sso login"):
            look(tmp_path, 'path = "x"\n', aws=stubbed)


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(DeployError, match="AWS_ACCESS_KEY_ID"), Aws(REGION).shared():
        pass


def test_credentials_are_shared_while_they_are_needed_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    with Aws(REGION).shared():
        assert (os.environ["AWS_REGION"], os.environ["AWS_DEFAULT_REGION"]) == (REGION, REGION)
    assert os.environ["AWS_REGION"] == "us-east-1" and "AWS_SESSION_TOKEN" not in os.environ


RAISED: list[tuple[Exception, AwsErrorKind, str]] = [
    (NoCredentialsError(), AwsErrorKind.CREDENTIALS_MISSING, "aws sso login"),
    (failing("ThrottlingException", 400, "Rate exceeded"), AwsErrorKind.THROTTLED, "run it again"),
    (
        TableUnavailable("table recsys-dev-registry: ExpiredTokenException: expired"),
        AwsErrorKind.CREDENTIALS_EXPIRED,
        "sign in again",
    ),
    (
        OSError("When uploading: AWS Error ACCESS_DENIED during PutObject operation: no"),
        AwsErrorKind.ACCESS_DENIED,
        "allow PutObject",
    ),
    (OSError(28, "No space left on device"), AwsErrorKind.OTHER, "No space left"),
]


@pytest.mark.parametrize(("error", "kind", "words"), RAISED, ids=lambda value: str(value)[:40])
def test_what_a_library_raises_says_what_to_do(error: Exception, kind: AwsErrorKind, words: str) -> None:
    """One of each source; ``tests`` of the classifier have the rest."""
    with pytest.raises(AwsCallFailed, match=words) as raised, translated("the upload of the bundle"):
        raise error
    assert raised.value.problem.kind is kind and "the upload of the bundle" in str(raised.value)
    assert raised.value.__cause__ is error


def test_programming_errors_are_not_translated() -> None:
    with pytest.raises(ZeroDivisionError), translated("a division"):
        _ = 1 / 0


def test_a_client_is_opened_once() -> None:
    with mock.patch("boto3.Session") as session:
        reached: Any = Aws(REGION)
        assert reached.client("s3") is reached.client("s3")
        assert session.return_value.client.call_count == 1


PROCESS = """
import datetime, json, pathlib, sys
count = pathlib.Path(sys.argv[1])
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
# Short enough that boto3 refreshes them at every use.
end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)
print(json.dumps({"Version": 1, "AccessKeyId": f"key{number}", "SecretAccessKey": "s", "SessionToken": "t",
                  "Expiration": end.isoformat()}))
"""


def test_credentials_that_expire_during_an_apply_are_refreshed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Terraform gets the source of the credentials, not a copy of them; every step copies fresh ones for the rest."""
    import os
    import sys

    (tmp_path / "process.py").write_text(PROCESS)
    command = f"{sys.executable} {tmp_path / 'process.py'} {tmp_path / 'count'}"
    (tmp_path / "config").write_text(f"[profile shop]\ncredential_process = {command}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_PROFILE", "shop")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    aws = Aws(REGION)
    with aws.shared():
        first = os.environ["AWS_ACCESS_KEY_ID"]
        aws.refresh()
        assert os.environ["AWS_ACCESS_KEY_ID"] != first
        child = Terraform(tmp_path, "dev", data_dir=tmp_path, environment_variables=aws.environment())._environment()
    assert "AWS_ACCESS_KEY_ID" not in child and child["AWS_PROFILE"] == "shop" and child["AWS_REGION"] == REGION
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    assert aws.expiry() is not None
