"""Classifies errors of AWS: what kind it is, whether the same call may work soon, and the remedy.

The same error arrives as an exception of botocore, as an ``OSError`` of Arrow's S3 client, as the table port's
`TableUnavailable`, or as text printed by Terraform. All of them repeat the service's own code and message, so one table
of patterns over that text recognises them all.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from lambda_api.errors import RecsysError

LONGEST_DETAIL: Final = 600
"""Characters of the service's own message that are shown."""


class AwsErrorKind(StrEnum):
    """What went wrong."""

    CREDENTIALS_EXPIRED = "credentials expired"
    CREDENTIALS_MISSING = "credentials missing"
    NO_REGION = "no region"
    WRONG_REGION = "wrong region"
    THROTTLED = "throttled"
    ACCESS_DENIED = "access denied"
    NAME_TAKEN = "name taken"
    BUCKET_MISSING = "bucket missing"
    QUOTA = "quota reached"
    MODEL_ARCHIVE_MISSING = "model archive missing"
    UNAVAILABLE = "service unavailable"
    INVALID_REQUEST = "invalid request"
    OTHER = "other"


RETRYABLE: Final = frozenset({AwsErrorKind.THROTTLED, AwsErrorKind.UNAVAILABLE})
"""Kinds after which the same call may work soon."""


@dataclass(frozen=True, slots=True)
class AwsProblem:
    """A failed call: ``message`` says what was being done and what AWS said, ``remedy`` what to do (may be empty)."""

    kind: AwsErrorKind
    message: str
    remedy: str

    @property
    def retryable(self) -> bool:
        """Whether the same call may work soon."""
        return self.kind in RETRYABLE

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class AwsCallFailed(RecsysError):
    """A call to AWS failed; says what was being done, what AWS said and what to do."""

    def __init__(self, problem: AwsProblem) -> None:
        super().__init__(problem.message, remedy=problem.remedy)
        self.problem = problem


_PATTERNS: Final[Mapping[AwsErrorKind, str]] = {
    AwsErrorKind.CREDENTIALS_EXPIRED: (
        r"ExpiredToken|RequestExpired|InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId"
        r"|SignatureDoesNotMatch|AuthFailure|EXPIRED_TOKEN|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID"
        r"|security token included in the request is (?:expired|invalid)|[Tt]oken has expired"
        r"|SSO session .*expired|TokenRetrievalError|SSOTokenLoadError|UnauthorizedSSOTokenError"
    ),
    AwsErrorKind.CREDENTIALS_MISSING: (
        r"NoCredentialsError|PartialCredentialsError|CredentialRetrievalError|No valid credential sources found"
        r"|no EC2 IMDS role found|failed to refresh cached credentials"
    ),
    AwsErrorKind.NO_REGION: r"NoRegionError",
    AwsErrorKind.WRONG_REGION: (
        r"PermanentRedirect|AuthorizationHeaderMalformed|BucketRegionError|StatusCode: 301|\(301\)"
        r"|\bcode[: ]+301\b|requested bucket from \"[^\"]+\", actual location|HTTP (?:status|response) code:? 301"
    ),
    AwsErrorKind.THROTTLED: (
        r"Throttl|TooManyRequests|SlowDown|SLOW_DOWN|RequestLimitExceeded|Rate exceeded"
        r"|ProvisionedThroughputExceeded"
    ),
    AwsErrorKind.ACCESS_DENIED: (
        r"AccessDenied|UnauthorizedOperation|not authorized to perform|ACCESS_DENIED|StatusCode: 403"
        r"|\b403\b.*Forbidden"
    ),
    AwsErrorKind.NAME_TAKEN: r"AlreadyExists|BucketAlreadyOwnedByYou|already exist",
    AwsErrorKind.BUCKET_MISSING: (
        r"S3 bucket \"[^\"]+\" does not exist|NoSuchBucket|NO_SUCH_BUCKET|\(404\) when calling the HeadBucket"
    ),
    AwsErrorKind.QUOTA: r"ResourceLimitExceeded|LimitExceededException|ServiceQuotaExceeded",
    AwsErrorKind.MODEL_ARCHIVE_MISSING: r"[Cc]ould not find model data",
    AwsErrorKind.UNAVAILABLE: (
        r"no such host|connection refused|i/o timeout|TLS handshake timeout|RequestTimeout|ServiceUnavailable"
        r"|InternalError|InternalServerError|InternalFailure|InternalServiceException|StatusCode: 5\d\d"
        r"|context deadline exceeded|Could not connect|NETWORK_CONNECTION|curlCode|EndpointConnectionError"
        r"|ConnectTimeoutError|ReadTimeoutError|ConnectionClosedError|HTTPClientError"
    ),
    AwsErrorKind.INVALID_REQUEST: r"ValidationException|ParamValidationError|ValidationError",
}
"""Recognises a kind in an error's text, by regular expressions; the first that matches counts."""

_REMEDIES: Final[Mapping[AwsErrorKind, str]] = {
    AwsErrorKind.CREDENTIALS_EXPIRED: "sign in again (aws sso login, or new keys in the environment) and run it again",
    AwsErrorKind.CREDENTIALS_MISSING: "sign in (aws sso login, with AWS_PROFILE set) or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, and run it again",
    AwsErrorKind.NO_REGION: "set AWS_REGION",
    AwsErrorKind.THROTTLED: "AWS limits the rate of calls: run it again in some minutes; if it comes back, ask for a "
    "higher quota in Service Quotas",
    AwsErrorKind.NAME_TAKEN: "make sure that nobody uses what has this name, and delete or rename it",
    AwsErrorKind.BUCKET_MISSING: "create the bucket or correct the setting that names it (for jobs "
    "RECSYS_TRAINING_URI)",
    AwsErrorKind.QUOTA: "ask for a higher quota in Service Quotas (spot instances have quotas of their own), or run "
    "fewer at a time",
    AwsErrorKind.MODEL_ARCHIVE_MISSING: "the archive was deleted, or the role may not read it: run it again, which "
    "uploads it, and allow the role s3:GetObject there",
    AwsErrorKind.UNAVAILABLE: "AWS could not be reached or failed on its side: look at the network and at "
    "health.aws.amazon.com, and run it again",
    AwsErrorKind.INVALID_REQUEST: "correct the setting that the message names",
    AwsErrorKind.OTHER: "",
}

_DENIED_ACTION: Final = re.compile(
    r"not authorized to perform:?\s*(?P<action>[a-zA-Z0-9-]+:[A-Za-z0-9*]+)"
    r"(?:\s+on\s+(?:resource:\s*)?(?P<resource>\S+))?"
)
_OPERATION: Final = re.compile(
    r"calling the (?P<boto>\w+) operation|operation error [A-Za-z0-9 ]+: (?P<sdk>[A-Z]\w+),"
    r"|during (?P<arrow>\w+) operation"
)
_ACTUAL_REGION: Final = re.compile(r"(?:actual location|expecting) [\"']?(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)")


def error_code(error: BaseException) -> str:
    """AWS's code for an error of botocore, or the error's own class name."""
    response: Mapping[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)


def classify_aws_error(error: BaseException | str, action: str, role_arn: str = "") -> AwsProblem:
    """Classify an error, or the text of one.

    Args:
        action: what was being done: an IAM action (``sagemaker:CreateTrainingJob``) or a noun phrase
            (``the upload of the bundle``).
        role_arn: the role passed on by the call, if any.
    """
    error = _cause(error) if isinstance(error, BaseException) else error
    text = _searchable(error)
    kind = next((kind for kind, pattern in _PATTERNS.items() if re.search(pattern, text)), AwsErrorKind.OTHER)
    message = f"{action}: {' '.join(str(error).split())[:LONGEST_DETAIL]}".removesuffix(".")
    if kind is AwsErrorKind.ACCESS_DENIED:
        remedy = _permission(text, action, role_arn)
    elif kind is AwsErrorKind.WRONG_REGION:
        actual = _ACTUAL_REGION.search(text)
        where = f"in {actual['region']}" if actual else "in another region"
        remedy = f"the bucket is {where}: set AWS_REGION to the bucket's region, or name a bucket of this one"
    else:
        remedy = _REMEDIES[kind]
    return AwsProblem(kind, message, remedy)


@contextmanager
def translate_aws_errors(
    action: str,
    as_error: Callable[[AwsProblem], Exception],
    *,
    role_arn: str = "",
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Raise what botocore and boto3 raise inside as ``as_error(problem)``; arguments as of `classify_aws_error`.

    Args:
        also: further exceptions that carry an error of AWS: ``OSError`` where Arrow reads S3, `TableUnavailable`.
    """
    # boto3 takes a tenth of a second to import; who calls AWS has it already.
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    errors: tuple[type[Exception], ...] = (ClientError, BotoCoreError, Boto3Error, *also)
    try:
        yield
    except errors as error:
        raise as_error(classify_aws_error(error, action, role_arn)) from error


def _cause(error: BaseException) -> BaseException:
    """boto3 wraps an error of an upload in a text of its own and keeps the code in the context."""
    return error.__context__ if type(error).__name__ == "S3UploadFailedError" and error.__context__ else error


def _searchable(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error
    status = (getattr(error, "response", None) or {}).get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    return f"{type(error).__name__} {error_code(error)}: {error} StatusCode: {status}"


def _permission(text: str, action: str, role_arn: str) -> str:
    if denied := _DENIED_ACTION.search(text):
        on = f" on {denied['resource'].rstrip('.,')}" if denied["resource"] else ""
        needed = f"{denied['action']}{on}"
    elif ":" in action:
        needed = action
    else:
        called = _OPERATION.search(text)
        needed = (called and (called["boto"] or called["sdk"] or called["arrow"])) or "this"
    passing = f", and iam:PassRole on {role_arn}" if role_arn else ""
    return f"allow {needed}{passing} to the identity that runs this (or use another AWS_PROFILE), and run it again"
