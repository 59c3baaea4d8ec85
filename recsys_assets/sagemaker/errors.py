"""What an error of a call to AWS means: whether the same call may work soon, and what people should do.

Put judgement of errors that botocore raises here, as pure functions. Keep what a described job means
(``outcome.py``) and calling AWS out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lambda_api.errors import RecsysError


class JobFailed(RecsysError):
    """A job failed, or AWS refused a call about it; the message says why and what to do.

    Attributes:
        passing: whether the same may work later.
        metadata: of the job, where there was one.
        reason: what SageMaker says of a failed job; empty where a call failed.
    """

    def __init__(
        self, message: str, *, passing: bool = False, metadata: Mapping[str, Any] | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.passing = passing
        self.metadata = dict(metadata or {})
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Trouble:
    """An AWS call that failed: whether the same call may work soon, and what to say to people."""

    passing: bool
    message: str


_PASSING: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServiceException",
    }
)
_CREDENTIALS: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "RequestExpired"}
)
_NETWORK: Final = frozenset(
    {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "HTTPClientError"}
)
_NO_CREDENTIALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"}
)

_AGAIN: Final = "run it again, which uploads it, and allow the role s3:GetObject there"

IN_USE: Final = "ResourceInUse"
"""Error code of ``CreateTrainingJob`` for a name that exists."""


def error_code(error: Exception) -> str:
    """AWS's code for an error of botocore, or the error's own class name."""
    response: Mapping[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)


def read_trouble(error: Exception, action: str, role_arn: str = "") -> Trouble:
    """Judge an error that botocore raised.

    Args:
        action: the IAM action of the call, such as ``sagemaker:CreateTrainingJob``.
        role_arn: the role passed on by the call, if any.
    """
    code = error_code(error)
    status = (getattr(error, "response", None) or {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    told = f"{action}: {error}"
    if code in _CREDENTIALS or code in _NO_CREDENTIALS:
        return Trouble(False, f"{told}. The AWS credentials are missing or expired; renew them and run again")
    if code in _PASSING or code in _NETWORK or status >= 500:
        return Trouble(True, f"{told}. AWS did not answer properly; run again later if it goes on")
    if code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"):
        passing = f", and iam:PassRole on {role_arn}" if role_arn else ""
        return Trouble(False, f"{told}. Allow the role Dagster runs under {action}{passing}")
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "301"):
        return Trouble(False, f"{told}. The bucket is in another region; training and its buckets must share one")
    if code in ("NoSuchBucket", "404"):
        return Trouble(False, f"{told}. The bucket does not exist; create it or correct RECSYS_TRAINING_URI")
    if code == "ResourceLimitExceeded":
        return Trouble(
            False,
            f"{told}. Ask for a higher quota of this instance type in Service Quotas (spot has a quota of its own), or "
            "run fewer jobs at a time",
        )
    if "could not find model data" in told.lower():
        return Trouble(False, f"{told}. The model's archive was deleted, or the role may not read it; {_AGAIN}")
    if code in ("ValidationException", "ParamValidationError"):
        return Trouble(False, f"{told}. The request is wrong; correct the setting it names")
    return Trouble(False, told)
