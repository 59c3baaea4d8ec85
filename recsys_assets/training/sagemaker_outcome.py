"""What a described SageMaker job or an AWS error means: go on waiting, done, worth another attempt, or final.

Put judgement of answers from AWS here, as pure functions of plain data, each refusal with what to do about it. Keep
making requests (``sagemaker_job.py``), calling AWS (``recsys_assets.resources.sagemaker``) and Dagster out.

Statuses, secondary statuses and failure reasons: ``DescribeTrainingJob`` in the SageMaker API reference.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final

from recsys_assets.training.train import INTERRUPTED


class Verdict(Enum):
    """What to do about a job."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    RETRY = "worth another attempt"
    FAILED = "final"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, the platform's reason and our advice; both empty while there is nothing to say."""

    verdict: Verdict
    reason: str = ""
    advice: str = ""

    def __str__(self) -> str:
        return ". ".join(part.rstrip(".") for part in (self.reason, self.advice) if part)


_CAPACITY: Final = "no instance of this type was free; choose another instance type or region if it goes on"

_FAILURES: Final[Sequence[tuple[str, Verdict, str]]] = (
    ("CapacityError", Verdict.RETRY, _CAPACITY),
    ("InternalServerError", Verdict.RETRY, "SageMaker failed on its side"),
    ("Throttl", Verdict.RETRY, "AWS limits the rate of calls; run fewer jobs at a time if it goes on"),
    (f"exit code: {INTERRUPTED}", Verdict.RETRY, "the program was told to stop; it goes on from its checkpoint"),
    ("exit code: 137", Verdict.FAILED, "the container ran out of memory; use a larger RECSYS_TRAINING_INSTANCE_TYPE"),
    ("OutOfMemory", Verdict.FAILED, "the container ran out of memory; use a larger RECSYS_TRAINING_INSTANCE_TYPE"),
    ("No space left", Verdict.FAILED, "the volume is full; give the job a larger volume_gb"),
    ("PermanentRedirect", Verdict.FAILED, "a bucket is in another region; training and its buckets must share one"),
    ("in this region", Verdict.FAILED, "a bucket is in another region; training and its buckets must share one"),
    ("AccessDenied", Verdict.FAILED, "the job's execution role (RECSYS_TRAINING_ROLE_ARN) lacks a right named above"),
    ("not authorized", Verdict.FAILED, "the job's execution role (RECSYS_TRAINING_ROLE_ARN) lacks a right named above"),
    ("ImagePull", Verdict.FAILED, "the image cannot be pulled; check RECSYS_TRAINING_IMAGE and its repository policy"),
    ("AlgorithmError", Verdict.FAILED, "the training program failed; its log says more"),
    ("ClientError", Verdict.FAILED, "the job is set up wrongly; repeating it changes nothing"),
)
"""Text in a failure reason -> what it means; the first that matches counts."""


def read_outcome(description: Mapping[str, Any]) -> Outcome:
    """Judge the answer of ``describe_training_job``."""
    status, secondary = description["TrainingJobStatus"], description.get("SecondaryStatus", "")
    if status in ("InProgress", "Stopping"):
        return Outcome(Verdict.RUNNING)
    if status == "Completed":
        return Outcome(Verdict.SUCCEEDED)
    reason = description.get("FailureReason") or last_status_message(description) or f"{status} ({secondary})"
    if status == "Stopped":
        return _stopped(secondary, reason, description)
    for text, verdict, advice in _FAILURES:
        if text in reason:
            return Outcome(verdict, reason, advice)
    return Outcome(Verdict.FAILED, reason, "the job's log says more")


def _stopped(secondary: str, reason: str, description: Mapping[str, Any]) -> Outcome:
    limits = description.get("StoppingCondition", {})
    if secondary == "MaxWaitTimeExceeded":
        waited = limits.get("MaxWaitTimeInSeconds")
        advice = f"spot capacity did not suffice within max_wait_s ({waited}); the next attempt goes on from there"
        return Outcome(Verdict.RETRY, reason, advice)
    if secondary == "MaxRuntimeExceeded":
        ran = limits.get("MaxRuntimeInSeconds")
        return Outcome(Verdict.FAILED, reason, f"raise max_runtime_s (now {ran}) or use a faster instance type")
    return Outcome(Verdict.FAILED, reason, "somebody stopped the job; materialise again to go on from its checkpoint")


def last_status_message(description: Mapping[str, Any]) -> str:
    """The newest message of the secondary status transitions, or an empty text."""
    transitions = description.get("SecondaryStatusTransitions") or []
    return str(transitions[-1].get("StatusMessage") or "") if transitions else ""


def transition_lines(description: Mapping[str, Any], seen: int) -> list[str]:
    """Lines for people about transitions after the first ``seen``, oldest first."""
    transitions = (description.get("SecondaryStatusTransitions") or [])[seen:]
    return [f"{one['Status']}: {one.get('StatusMessage') or ''}".rstrip(": ") for one in transitions]


def overdue_start(description: Mapping[str, Any], now: datetime, start_within_s: float) -> str | None:
    """Why a job that has not started training is given up, or ``None``.

    Args:
        now: aware.
        start_within_s: how long a job may wait for its instance, counted from its creation.
    """
    if description["TrainingJobStatus"] != "InProgress" or description.get("TrainingStartTime"):
        return None
    waited = (now - description["CreationTime"]).total_seconds()
    if waited <= start_within_s:
        return None
    where = description.get("SecondaryStatus", "Starting")
    instance = description.get("ResourceConfig", {}).get("InstanceType", "its instance type")
    said = last_status_message(description)
    return (
        f"it has not started within {start_within_s:.0f} s (still {where}{f': {said}' if said else ''}); {instance} is "
        "scarce here: choose another RECSYS_TRAINING_INSTANCE_TYPE, turn spot off, or allow a longer start_within_s"
    )


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a job may be started, and how long to pause between.

    Attributes:
        most: number of attempts in all, at least 1.
        first_pause_s, longest_pause_s: the pause after the n-th attempt is random, up to
            ``first_pause_s * 2 ** (n - 1)`` and at most ``longest_pause_s`` (full jitter, so that jobs that failed
            together do not return together).
    """

    most: int = 3
    first_pause_s: float = 30.0
    longest_pause_s: float = 600.0

    def pause(self, attempt: int, chance: random.Random) -> float:
        """Seconds to wait after attempt ``attempt`` (from 1)."""
        return chance.uniform(0.0, min(self.longest_pause_s, self.first_pause_s * 2.0 ** (attempt - 1)))


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
    if code in ("ValidationException", "ParamValidationError"):
        return Trouble(False, f"{told}. The request is wrong; correct the setting it names")
    return Trouble(False, told)


USD_PER_HOUR: Final[Mapping[str, float]] = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.g4dn.xlarge": 0.736,
    "ml.g5.xlarge": 1.408,
}
"""List prices of on-demand training in us-east-1, for estimates; a spot job is billed for fewer seconds instead."""


def figures(description: Mapping[str, Any], usd_per_hour: Mapping[str, float] = USD_PER_HOUR) -> dict[str, float]:
    """``training_seconds``, ``billable_seconds``, ``spot_saving`` (share) and ``estimated_cost_usd``, where known."""
    result: dict[str, float] = {}
    trained, billed = description.get("TrainingTimeInSeconds"), description.get("BillableTimeInSeconds")
    if trained is not None:
        result["training_seconds"] = float(trained)
    if billed is None:
        return result
    result["billable_seconds"] = float(billed)
    if trained and description.get("EnableManagedSpotTraining"):
        result["spot_saving"] = round(1.0 - billed / trained, 4)
    resources = description.get("ResourceConfig", {})
    price = usd_per_hour.get(resources.get("InstanceType", ""))
    if price is not None:
        result["estimated_cost_usd"] = round(billed / 3600.0 * price * resources.get("InstanceCount", 1), 4)
    return result
