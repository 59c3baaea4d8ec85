"""What SageMaker's answers mean, and what people are told to do."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from recsys_assets.sagemaker.kinds import TRAINING
from recsys_assets.sagemaker.outcome import (
    Attempts,
    Verdict,
    figures,
    overdue_start,
    read_outcome,
    transition_lines,
)

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def failed(reason: str) -> dict:
    return {"TrainingJobStatus": "Failed", "SecondaryStatus": "Failed", "FailureReason": reason}


@pytest.mark.parametrize(
    ("description", "verdict", "advice"),
    [
        ({"TrainingJobStatus": "InProgress"}, Verdict.RUNNING, ""),
        ({"TrainingJobStatus": "Stopping"}, Verdict.RUNNING, ""),
        ({"TrainingJobStatus": "Completed"}, Verdict.SUCCEEDED, ""),
        (failed("CapacityError: Unable to provision"), Verdict.RETRY, "another instance type"),
        (failed("InternalServerError: We encountered an internal error"), Verdict.RETRY, "on its side"),
        (failed("ClientError: Throttling: Rate exceeded"), Verdict.RETRY, "rate of calls"),
        (failed("AlgorithmError: , exit code: 75"), Verdict.RETRY, "resumes from its checkpoint"),
        (failed("AlgorithmError: ValueError: x, exit code: 1"), Verdict.FAILED, "its log says more"),
        (failed("AlgorithmError: , exit code: 137"), Verdict.FAILED, "larger RECSYS_TRAINING_INSTANCE_TYPE"),
        (failed("ClientError: Data download failed: PermanentRedirect"), Verdict.FAILED, "another region"),
        (failed("ClientError: AccessDenied: s3:GetObject"), Verdict.FAILED, "RECSYS_TRAINING_ROLE_ARN"),
        (failed("ClientError: No S3 objects found"), Verdict.FAILED, "repeating it changes nothing"),
        (failed("SomethingNew: hm"), Verdict.FAILED, "log"),
        (
            {
                "TrainingJobStatus": "Stopped",
                "SecondaryStatus": "MaxWaitTimeExceeded",
                "StoppingCondition": {"MaxWaitTimeInSeconds": 60},
            },
            Verdict.RETRY,
            "MAX_WAIT_S (60)",
        ),
        (
            {
                "TrainingJobStatus": "Stopped",
                "SecondaryStatus": "MaxRuntimeExceeded",
                "StoppingCondition": {"MaxRuntimeInSeconds": 50},
            },
            Verdict.FAILED,
            "raise RECSYS_TRAINING_MAX_RUNTIME_S (now 50)",
        ),
        ({"TrainingJobStatus": "Stopped", "SecondaryStatus": "Stopped"}, Verdict.FAILED, "somebody stopped the job"),
    ],
)
def test_a_description_has_one_meaning(description: dict, verdict: Verdict, advice: str) -> None:
    outcome = read_outcome(TRAINING, description)
    assert outcome.verdict is verdict
    assert advice in outcome.advice
    assert bool(outcome.reason) == (verdict in (Verdict.RETRY, Verdict.FAILED))


def test_a_start_is_overdue_only_while_it_waits() -> None:
    waiting = {
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Pending",
        "CreationTime": CREATED,
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge"},
    }
    late = CREATED + timedelta(seconds=101)
    assert overdue_start(TRAINING, waiting, CREATED + timedelta(seconds=100), 100) is None
    assert "ml.g5.xlarge is scarce" in (overdue_start(TRAINING, waiting, late, 100) or "")
    assert overdue_start(TRAINING, {**waiting, "TrainingStartTime": CREATED}, late, 100) is None
    assert overdue_start(TRAINING, {**waiting, "TrainingJobStatus": "Stopping"}, late, 100) is None


def test_transitions_are_told_once() -> None:
    description = {"SecondaryStatusTransitions": [{"Status": "Starting", "StatusMessage": "a"}, {"Status": "Training"}]}
    assert transition_lines(description, 0) == ["Starting: a", "Training"]
    assert transition_lines(description, 1) == ["Training"]
    assert transition_lines(description, 2) == []


def test_pauses_grow_to_a_limit_and_are_spread() -> None:
    attempts, chance = Attempts(most=9, first_pause_s=10, longest_pause_s=60), random.Random(0)
    for attempt, most in ((1, 10), (2, 20), (3, 40), (4, 60), (9, 60)):
        pauses = [attempts.pause(attempt, chance) for _ in range(300)]
        assert min(pauses) < most * 0.1
        assert most * 0.9 < max(pauses) <= most


def test_cost_is_what_is_billed() -> None:
    description = {
        "TrainingTimeInSeconds": 3600,
        "BillableTimeInSeconds": 900,
        "EnableManagedSpotTraining": True,
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
    }
    assert figures(TRAINING, description) == {
        "training_seconds": 3600.0,
        "billable_seconds": 900.0,
        "spot_saving": 0.75,
        "estimated_cost_usd": 0.0575,  # 900 s of 3600 s at 0.23 USD an hour
    }
    unpriced = {**description, "ResourceConfig": {"InstanceType": "ml.unheard.of", "InstanceCount": 1}}
    assert "estimated_cost_usd" not in figures(TRAINING, unpriced), "an unknown price is not made up"
    assert figures(TRAINING, {}) == {}
