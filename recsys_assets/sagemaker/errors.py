"""Errors of SageMaker jobs."""

from collections.abc import Mapping
from typing import Any, Final

from lambda_api.errors import RecsysError
from recsys_assets.aws_errors import AwsProblem

IN_USE: Final = "ResourceInUse"
"""Error code of ``CreateTrainingJob`` and its like for a name that exists."""


class JobRefused(RecsysError, ValueError):
    """SageMaker would refuse this job or could not run it; the message names every setting at fault and the remedy."""


class JobFailed(RecsysError):
    """A job failed, or AWS refused a call about it; the message says why and what to do.

    Attributes:
        retryable: whether the same may work later.
        metadata: of the job, where there was one.
        reason: what SageMaker says of a failed job; empty where a call failed.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        retryable: bool = False,
        metadata: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.retryable = retryable
        self.metadata = dict(metadata or {})
        self.reason = reason

    @classmethod
    def of(cls, problem: AwsProblem) -> "JobFailed":
        """A call about a job that failed."""
        return cls(problem.message, remedy=problem.remedy, retryable=problem.retryable)
