"""What an error of AWS means, as botocore, boto3, Arrow and Terraform say it, and what people are told to do."""

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError

from recsys_assets.aws_clients import open_clients
from recsys_assets.aws_errors import AwsCallFailed, AwsErrorKind, classify_aws_error, error_code, translate_aws_errors

Kind = AwsErrorKind


def refused(code: str, status: int = 400, message: str = "no", operation: str = "CreateTrainingJob") -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)  # type: ignore[arg-type]


RAISED: list[tuple[Exception | str, Kind, str]] = [
    (refused("ThrottlingException"), Kind.THROTTLED, "in some minutes"),
    (OSError("AWS Error SLOW_DOWN during PutObject operation: no"), Kind.THROTTLED, "in some minutes"),
    (refused("InternalFailure", 500), Kind.UNAVAILABLE, "failed on its side"),
    (refused("Whatever", 503), Kind.UNAVAILABLE, "failed on its side"),
    (EndpointConnectionError(endpoint_url="https://x"), Kind.UNAVAILABLE, "look at the network"),
    (OSError("AWS Error NETWORK_CONNECTION during PutObject: curlCode: 28"), Kind.UNAVAILABLE, "look at the network"),
    (refused("ExpiredTokenException"), Kind.CREDENTIALS_EXPIRED, "aws sso login"),
    ("Error: ... StatusCode: 403, api error ExpiredToken: expired", Kind.CREDENTIALS_EXPIRED, "aws sso login"),
    (NoCredentialsError(), Kind.CREDENTIALS_MISSING, "AWS_PROFILE"),
    ("Error: No valid credential sources found", Kind.CREDENTIALS_MISSING, "AWS_PROFILE"),
    (NoRegionError(), Kind.NO_REGION, "set AWS_REGION"),
    (refused("AccessDeniedException"), Kind.ACCESS_DENIED, "sagemaker:CreateTrainingJob, and iam:PassRole on arn:role"),
    (
        refused("AccessDenied", 403, "User: u is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b."),
        Kind.ACCESS_DENIED,
        "allow s3:GetObject on arn:aws:s3:::b, and",
    ),
    (OSError("AWS Error ACCESS_DENIED during PutObject operation: no"), Kind.ACCESS_DENIED, "allow"),
    (refused("403", 403, "Forbidden", "HeadBucket"), Kind.ACCESS_DENIED, "allow"),
    (refused("PermanentRedirect", 301), Kind.WRONG_REGION, "in another region"),
    ('requested bucket from "eu-west-1", actual location "us-east-1"', Kind.WRONG_REGION, "the bucket is in us-east-1"),
    (refused("404", 404, "Not Found", "HeadBucket"), Kind.BUCKET_MISSING, "create the bucket or correct"),
    (refused("EntityAlreadyExists", 409), Kind.NAME_TAKEN, "nobody uses"),
    (refused("ResourceLimitExceeded"), Kind.QUOTA, "Service Quotas"),
    (
        refused("ValidationException", message="Could not find model data at s3://b/model.tar.gz."),
        Kind.MODEL_ARCHIVE_MISSING,
        "which uploads it",
    ),
    (refused("ValidationException"), Kind.INVALID_REQUEST, "correct the setting"),
    (refused("Novel"), Kind.OTHER, ""),
    (refused("404", 404, "Not Found", "HeadObject"), Kind.OTHER, ""),
]


@pytest.mark.parametrize(("error", "kind", "remedy"), RAISED, ids=lambda value: str(value)[:40])
def test_an_error_has_one_kind_and_its_remedy(error: Exception | str, kind: Kind, remedy: str) -> None:
    problem = classify_aws_error(error, "sagemaker:CreateTrainingJob", "arn:role")
    assert problem.kind is kind
    assert remedy in problem.remedy and bool(remedy) == bool(problem.remedy)
    assert problem.retryable == (kind in (Kind.THROTTLED, Kind.UNAVAILABLE))
    assert problem.message.startswith("sagemaker:CreateTrainingJob: ")
    assert isinstance(error, str) or error_code(error)


def test_an_operation_is_named_where_the_action_is_a_phrase() -> None:
    problem = classify_aws_error(refused("403", 403, "Forbidden", "HeadBucket"), "the upload of the bundle")
    assert "allow HeadBucket to the identity" in problem.remedy


def test_errors_are_translated_with_their_cause_and_others_are_left_alone() -> None:
    error = refused("ThrottlingException")
    with pytest.raises(AwsCallFailed, match="in some minutes") as raised, translate_aws_errors("x", AwsCallFailed):
        raise error
    assert raised.value.__cause__ is error and raised.value.problem.kind is Kind.THROTTLED
    with pytest.raises(OSError, match="disk"), translate_aws_errors("x", AwsCallFailed):
        raise OSError("disk")
    with pytest.raises(AwsCallFailed, match="disk"), translate_aws_errors("x", AwsCallFailed, also=(OSError,)):
        raise OSError("disk")


def test_a_failed_upload_is_read_by_its_cause() -> None:
    with pytest.raises(AwsCallFailed) as raised, translate_aws_errors("x", AwsCallFailed):
        try:
            raise refused("NoSuchBucket", 404)
        except ClientError:
            raise S3UploadFailedError("Failed to upload")  # noqa: B904
    assert raised.value.problem.kind is Kind.BUCKET_MISSING


def test_clients_need_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(AwsCallFailed, match="set AWS_REGION"):
        open_clients("sagemaker", "s3")
