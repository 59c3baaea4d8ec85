"""Interprets the description of a SageMaker job: still running, done, worth another attempt, or failed for good.

Statuses, secondary statuses and failure reasons: ``DescribeTrainingJob`` and its like in the SageMaker API reference.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final

from recsys_assets.sagemaker.kinds import TRAINING, TUNING, JobKind
from recsys_assets.sagemaker.paths import INTERRUPTED


class Verdict(Enum):
    """The state of a job, as it matters to its caller."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    RETRY = "worth another attempt"
    FAILED = "final"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, AWS's reason and our advice; both are empty for a job that runs or ended well."""

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
    (f"exit code: {INTERRUPTED}", Verdict.RETRY, "the program was stopped; it resumes from its checkpoint"),
    ("exit code: 137", Verdict.FAILED, "the container ran out of memory; use a larger RECSYS_TRAINING_INSTANCE_TYPE"),
    ("OutOfMemory", Verdict.FAILED, "the container ran out of memory; use a larger RECSYS_TRAINING_INSTANCE_TYPE"),
    ("No space left", Verdict.FAILED, "the volume is full; raise RECSYS_TRAINING_VOLUME_GB"),
    ("PermanentRedirect", Verdict.FAILED, "a bucket is in another region; training and its buckets must share one"),
    ("in this region", Verdict.FAILED, "a bucket is in another region; training and its buckets must share one"),
    ("AccessDenied", Verdict.FAILED, "the job's execution role (RECSYS_TRAINING_ROLE_ARN) lacks a right named above"),
    ("not authorized", Verdict.FAILED, "the job's execution role (RECSYS_TRAINING_ROLE_ARN) lacks a right named above"),
    ("ImagePull", Verdict.FAILED, "the image cannot be pulled; check RECSYS_TRAINING_IMAGE and its repository policy"),
    ("Could not find model data", Verdict.FAILED, "the model's archive was deleted; run it again, which uploads it"),
    ("AlgorithmError", Verdict.FAILED, "the program failed; its log says more"),
    ("ClientError", Verdict.FAILED, "the job is set up wrongly; repeating it changes nothing"),
)
"""Text in a failure reason -> verdict and advice; the first match counts."""


def read_outcome(kind: JobKind, description: Mapping[str, Any]) -> Outcome:
    """Interpret the answer of the ``describe`` call of ``kind``."""
    status, secondary = description[kind.status_field], description.get("SecondaryStatus", "")
    if status in ("InProgress", "Stopping"):
        return Outcome(Verdict.RUNNING)
    if status == "Completed":
        return Outcome(Verdict.SUCCEEDED)
    # The message file of a processing program says more than the failure reason.
    said = ". ".join(text for name in ("FailureReason", "ExitMessage") if (text := description.get(name)))
    reason = said or last_status_message(description) or f"{status} ({secondary})".removesuffix(" ()")
    if status == "Stopped":
        return _stopped(kind, secondary, reason, description)
    for text, verdict, advice in _FAILURES:
        if text in reason:
            return Outcome(verdict, reason, advice)
    return Outcome(Verdict.FAILED, reason, "the job's log says more")


def _stopped(kind: JobKind, secondary: str, reason: str, description: Mapping[str, Any]) -> Outcome:
    limits = description.get("StoppingCondition", {})
    if secondary == "MaxWaitTimeExceeded":
        waited = limits.get("MaxWaitTimeInSeconds")
        advice = (
            f"spot capacity did not suffice within RECSYS_TRAINING_MAX_WAIT_S ({waited}); the next attempt "
            "resumes from there"
        )
        return Outcome(Verdict.RETRY, reason, advice)
    if kind == TUNING and _time_was_up(description):
        return Outcome(Verdict.SUCCEEDED, "the time for all trials was up")
    ran = limits.get("MaxRuntimeInSeconds")
    longer = f"raise RECSYS_TRAINING_MAX_RUNTIME_S (now {ran}) or use a faster instance type"
    if secondary == "MaxRuntimeExceeded" or _ran_out(kind, description, ran):
        return Outcome(Verdict.FAILED, reason, longer)
    again = "materialise again to resume from its checkpoint" if kind == TRAINING else "run it again"
    return Outcome(Verdict.FAILED, reason, f"somebody stopped the job; {again}")


def _time_was_up(description: Mapping[str, Any]) -> bool:
    """Whether a tuning job ended at its time limit with at least one completed trial."""
    limit_s = description["HyperParameterTuningJobConfig"]["ResourceLimits"].get("MaxRuntimeInSeconds")
    began, ended = description["CreationTime"], description.get("HyperParameterTuningEndTime")
    completed = description.get("TrainingJobStatusCounters", {}).get("Completed", 0)
    return bool(completed and limit_s and ended and (ended - began).total_seconds() >= limit_s)


def _ran_out(kind: JobKind, description: Mapping[str, Any], limit_s: float | None) -> bool:
    """Whether a job without secondary status reached its time limit, which AWS reports as stopped."""
    return kind != TRAINING and limit_s is not None and ran_seconds(kind, description) >= limit_s


def last_status_message(description: Mapping[str, Any]) -> str:
    """The newest message of the secondary status transitions, or an empty text."""
    transitions = description.get("SecondaryStatusTransitions") or []
    return str(transitions[-1].get("StatusMessage") or "") if transitions else ""


def transition_lines(description: Mapping[str, Any], seen: int) -> list[str]:
    """Lines of progress about transitions after the first ``seen``, oldest first."""
    transitions = (description.get("SecondaryStatusTransitions") or [])[seen:]
    return [f"{one['Status']}: {one.get('StatusMessage') or ''}".rstrip(": ") for one in transitions]


def overdue_start(kind: JobKind, description: Mapping[str, Any], now: datetime, start_within_s: float) -> str | None:
    """Why a job whose program has not started in time is given up; ``None`` while it may still wait.

    Args:
        now: aware.
        start_within_s: limit of the wait for an instance, from the creation of the job.
    """
    # A tuning job has no start of its own; its total time limit applies.
    if description[kind.status_field] != "InProgress" or not kind.began or description.get(kind.began):
        return None
    waited = (now - description["CreationTime"]).total_seconds()
    if waited <= start_within_s:
        return None
    where = description.get("SecondaryStatus", "Starting")
    instance = kind.instances(description).get("InstanceType", "its instance type")
    said = last_status_message(description)
    return (
        f"it has not started within {start_within_s:.0f} s (still {where}{f': {said}' if said else ''}); {instance} is "
        "scarce here: choose another RECSYS_TRAINING_INSTANCE_TYPE, set RECSYS_TRAINING_SPOT=false, or run it again "
        "later"
    )


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a job is started, and the pauses between starts.

    Attributes:
        most: number of attempts in total, at least 1.
        first_pause_s, longest_pause_s: the pause after the n-th attempt is random, up to
            ``first_pause_s * 2 ** (n - 1)`` and at most ``longest_pause_s`` (full jitter, so that jobs that failed
            together do not restart together).
    """

    most: int = 3
    first_pause_s: float = 30.0
    longest_pause_s: float = 600.0

    def pause(self, attempt: int, chance: random.Random) -> float:
        """Seconds to wait after attempt ``attempt`` (from 1)."""
        return chance.uniform(0.0, min(self.longest_pause_s, self.first_pause_s * 2.0 ** (attempt - 1)))


USD_PER_HOUR: Final[Mapping[str, float]] = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.g4dn.xlarge": 0.736,
    "ml.g5.xlarge": 1.408,
}
"""On-demand list prices in us-east-1, for estimates; a spot job is billed for fewer seconds at the same price."""


def ran_seconds(kind: JobKind, description: Mapping[str, Any]) -> float:
    """Seconds between the start of the program and the end of the job; of all trials of a tuning job; 0 if unknown."""
    if kind == TUNING:
        return float(description.get("ConsumedResources", {}).get("RuntimeInSeconds", 0))
    began, ended = description.get(kind.began), description.get(kind.ended)
    return (ended - began).total_seconds() if began and ended else 0.0


def figures(kind: JobKind, description: Mapping[str, Any]) -> dict[str, float]:
    """``<kind>_seconds``, ``billable_seconds``, ``spot_saving`` (share) and ``estimated_cost_usd``, where known."""
    result: dict[str, float] = {}
    if kind == TRAINING:
        ran, billed = description.get("TrainingTimeInSeconds"), description.get("BillableTimeInSeconds")
    else:
        # AWS reports billed seconds for training jobs only; other kinds are billed for every second.
        ran = billed = ran_seconds(kind, description) or None
    if ran is not None:
        result[f"{kind.noun.removesuffix(' job')}_seconds"] = float(ran)
    if billed is None:
        return result
    result["billable_seconds"] = float(billed)
    if ran and description.get("EnableManagedSpotTraining"):
        result["spot_saving"] = round(1.0 - billed / ran, 4)
    instances = kind.instances(description)
    price = USD_PER_HOUR.get(instances.get("InstanceType", ""))
    if price is not None:
        result["estimated_cost_usd"] = round(billed / 3600.0 * price * instances.get("InstanceCount", 1), 4)
    return result
