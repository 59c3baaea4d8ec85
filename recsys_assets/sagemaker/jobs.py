"""The life cycle of a SageMaker job of any kind: created or found again, followed, stopped, tried again."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from recsys_assets.aws_errors import classify_aws_error, error_code, translate_aws_errors
from recsys_assets.sagemaker.errors import IN_USE, JobFailed, JobRefused
from recsys_assets.sagemaker.job import JobIdentity, JobPlan, create_request, differences
from recsys_assets.sagemaker.kinds import JobKind
from recsys_assets.sagemaker.outcome import (
    Attempts,
    Outcome,
    Verdict,
    figures,
    overdue_start,
    read_outcome,
    transition_lines,
)

AwsError = (ClientError, BotoCoreError)
Answer = TypeVar("Answer")


class Level(Enum):
    """How important a line of progress is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Log = Callable[[Level, str], None]
"""Receives lines of progress."""


@dataclass(frozen=True)
class Session:
    """What accompanies one attempt of a job.

    Attributes:
        variables: environment variables of the program.
        tags: in addition to those of the plan.
        look: called after every look at the job with its description and whether it has ended; may raise `AwsError`.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    look: Callable[[Mapping[str, Any], bool], None] = lambda description, ended: None


OpenSession = Callable[[str], AbstractContextManager[Session]]
"""Opens the session of the attempt with this job name."""


@contextmanager
def no_session(name: str) -> Iterator[Session]:
    """For jobs whose programs report nothing while they run."""
    yield Session()


@dataclass(frozen=True)
class Patience:
    """Time limits, in seconds.

    Attributes:
        between_looks: from one ``describe`` call to the next.
        start: from the creation of a job to the start of its program.
        stop: for a job to end after a ``stop`` call.
        unavailable: for AWS to answer again after it failed to; the job itself goes on meanwhile.
    """

    between_looks: float = 15.0
    start: float = 3600.0
    stop: float = 300.0
    unavailable: float = 900.0


@dataclass(frozen=True)
class FinishedJob:
    """A job that ended well: AWS's description, the number of attempts made by this call, metadata to display."""

    name: str
    description: Mapping[str, Any]
    attempts: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class SageMakerJobs:
    """Jobs of one account and region.

    The name of a job is computed from its identity and the number of the attempt. A caller that was restarted therefore
    finds its job under that name and follows it instead of starting another. An interrupted caller stops its job. After
    a failure that may pass (capacity, errors of SageMaker itself, no spot capacity in time) the job is started again.

    Attributes:
        sagemaker, s3: boto3 clients of one region.
        interruptions: exceptions that tell the caller to stop; its job is stopped before they are raised again.
    """

    sagemaker: Any
    s3: Any
    patience: Patience = field(default_factory=Patience)
    attempts: Attempts = field(default_factory=Attempts)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    chance: random.Random = field(default_factory=random.Random)
    interruptions: tuple[type[BaseException], ...] = (KeyboardInterrupt,)

    @property
    def region(self) -> str:
        """Of the jobs."""
        return str(self.sagemaker.meta.region_name)

    def run(
        self, plan: JobPlan, identity: JobIdentity, log: Log, open_session: OpenSession = no_session
    ) -> FinishedJob:
        """Run ``plan`` to its end.

        Raises:
            JobRefused: the plan breaks one of SageMaker's rules; nothing was started.
            JobFailed: the job failed, or AWS refused a call.
        """
        if problems := plan.problems():
            raise JobRefused(f"{plan.kind.noun} for {identity.label}: {'; '.join(problems)}")
        self.require_buckets(plan)
        number, tried = 0, 0
        while True:
            number, tried = number + 1, tried + 1
            name = identity.name(number, plan.kind.name_length)
            description, outcome, stale = self._attempt(plan, name, identity, log, open_session)
            metadata = job_metadata(plan.kind, description, self.region)
            if outcome.verdict is Verdict.SUCCEEDED:
                return FinishedJob(name, description, tried, {**metadata, "attempts": tried})
            if stale:
                log(Level.INFO, f"{plan.kind.noun} {name} failed earlier ({outcome.reason}); starting another")
                tried -= 1
                continue
            if outcome.verdict is not Verdict.RETRY or tried == self.attempts.most:
                given_up = f" after {tried} attempts" if tried > 1 else ""
                message = f"{plan.kind.noun} {name} failed{given_up}: {outcome}"
                raise JobFailed(message, metadata=metadata, reason=outcome.reason)
            pause = self.attempts.pause(tried, self.chance)
            log(Level.WARNING, f"{plan.kind.noun} {name}: {outcome}; next attempt in {pause:.0f} s")
            self.sleep(pause)

    def require_buckets(self, plan: JobPlan) -> None:
        """Raise `JobFailed` unless every bucket of ``plan`` exists, is open to us and is in the region of the job."""
        for bucket in plan.buckets:
            self._require_bucket(bucket)

    def _attempt(
        self, plan: JobPlan, name: str, identity: JobIdentity, log: Log, open_session: OpenSession
    ) -> tuple[Mapping[str, Any], Outcome, bool]:
        """The ended job, its outcome, and whether it had failed before this call (only where the work is lasting)."""
        with translate_aws_errors("s3:PutObject", JobFailed.of), open_session(name) as session:
            request = create_request(plan, name, session.variables, session.tags)
            try:
                found = self._start_or_attach(plan, name, request, log)
                if found is not None and identity.lasting:
                    outcome = read_outcome(plan.kind, found)
                    if outcome.verdict in (Verdict.RETRY, Verdict.FAILED):
                        return found, outcome, True
                return *self._follow(plan.kind, name, session, log), False
            except self.interruptions:
                log(Level.WARNING, f"interrupted: stopping {plan.kind.noun} {name}")
                self._stop(plan.kind, name, log)
                raise

    def _start_or_attach(
        self, plan: JobPlan, name: str, request: Mapping[str, Any], log: Log
    ) -> Mapping[str, Any] | None:
        """Create the job; where it exists, return its description."""
        kind = plan.kind

        def create() -> bool:
            try:
                self._call("create", kind)(**request)
            except AwsError as error:
                if error_code(error) != IN_USE:
                    raise
                return False
            return True

        if self._answered(create, kind.action("Create"), log, role_arn=plan.placement.role_arn):
            log(Level.INFO, f"started {kind.noun} {name}")
            return None
        found = self._describe(kind, name, log)
        if different := differences(plan, found):
            raise JobFailed(
                f"{kind.noun} {name} exists already and does other work ({'; '.join(different)})",
                remedy="start a new run instead of resuming this one",
            )
        log(Level.INFO, f"{kind.noun} {name} exists already ({found[kind.status_field]}); following it")
        return found

    def _follow(self, kind: JobKind, name: str, session: Session, log: Log) -> tuple[Mapping[str, Any], Outcome]:
        seen = 0
        while True:
            description = self._describe(kind, name, log)
            lines = transition_lines(description, seen)
            seen += len(lines)
            for line in lines:
                log(Level.INFO, f"{name}: {line}")
            outcome = read_outcome(kind, description)
            if outcome.verdict is not Verdict.RUNNING:
                self._answered(partial(session.look, description, True), "s3:GetObject", log)
                return description, outcome
            if overdue := overdue_start(kind, description, self.now(), self.patience.start):
                self._stop(kind, name, log)
                return self._describe(kind, name, log), Outcome(Verdict.FAILED, overdue)
            try:
                session.look(description, False)
            except AwsError as error:  # the job goes on, and so does the next look
                log(Level.WARNING, str(classify_aws_error(error, "s3:GetObject")))
            self.sleep(self.patience.between_looks)

    def _describe(self, kind: JobKind, name: str, log: Log) -> Mapping[str, Any]:
        def describe() -> Mapping[str, Any]:
            answer: Mapping[str, Any] = self._call("describe", kind)(**{kind.name_field: name})
            return answer

        try:
            return self._answered(describe, kind.action("Describe"), log)
        except JobFailed as failure:
            by_hand = kind.by_hand("stop", name)
            raise JobFailed(
                f"{failure}. The {kind.noun} {name} may still be running and billed: look at it, or stop it with: "
                f"{by_hand}"
            ) from failure

    def _answered(self, call: Callable[[], Answer], action: str, log: Log, *, role_arn: str = "") -> Answer:
        """What ``call`` returns, repeated for at most ``patience.unavailable`` while the error is retryable.

        Raises:
            JobFailed: AWS refused the call, or did not answer in that time.
        """
        deadline = self.clock() + self.patience.unavailable
        while True:
            try:
                return call()
            except AwsError as error:
                problem = classify_aws_error(error, action, role_arn)
                if not problem.retryable or self.clock() >= deadline:
                    raise JobFailed.of(problem) from error
                log(Level.WARNING, f"{problem}; trying again")
                self.sleep(self.patience.between_looks)

    def _stop(self, kind: JobKind, name: str, log: Log) -> None:
        """Stop the job and wait until it has ended, for at most ``patience.stop``; logs when it has not."""
        deadline = self.clock() + self.patience.stop
        told = False
        while True:
            try:
                if not told:
                    self._call("stop", kind)(**{kind.name_field: name})
                    told = True
                description = self._call("describe", kind)(**{kind.name_field: name})
                if read_outcome(kind, description).verdict is not Verdict.RUNNING:
                    log(Level.INFO, f"{kind.noun} {name} has ended")
                    return
            except AwsError as error:
                problem = classify_aws_error(error, kind.action("Stop"))
                if error_code(error) == "ValidationException" and not told:
                    return  # it ended by itself before it could be stopped
                log(Level.WARNING, str(problem))
                if not problem.retryable:
                    break
            if self.clock() >= deadline:
                break
            self.sleep(min(self.patience.between_looks, 5.0))
        log(Level.ERROR, f"{kind.noun} {name} has not ended; stop it with: {kind.by_hand('stop', name)}")

    def _call(self, verb: str, kind: JobKind) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self.sagemaker, f"{verb}_{kind.call}")
        return call

    def _require_bucket(self, bucket: str) -> None:
        """Refuse a bucket that is missing, closed to us, or in another region than the job."""
        with translate_aws_errors(f"s3:ListBucket on {bucket}", JobFailed.of):
            try:
                answer = self.s3.head_bucket(Bucket=bucket)
            except ClientError as error:
                answer = error.response
                if self._region_of(answer) in ("", self.region):
                    raise
        if (found := self._region_of(answer)) not in ("", self.region):
            raise JobFailed(
                f"bucket {bucket} is in {found}, training runs in {self.region}; a job reads buckets of its own region "
                "only",
                remedy=f"set AWS_REGION to {found} or RECSYS_TRAINING_URI to a bucket in {self.region}",
            )

    @staticmethod
    def _region_of(answer: Mapping[str, Any]) -> str:
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return str(headers.get("x-amz-bucket-region", ""))


PAGE, LOG = "page", "log"
"""Last words of the metadata that are links."""


def job_metadata(kind: JobKind, description: Mapping[str, Any], region: str) -> dict[str, Any]:
    """Figures of a job that has ended, with links to it and its log."""
    name, own = description[kind.name_field], kind.noun.replace(" ", "_")
    console = f"https://{region}.console.aws.amazon.com"
    group = kind.log_group.replace("/", "$252F")
    metadata: dict[str, Any] = {
        own: name,
        f"{own}_{PAGE}": f"{console}/sagemaker/home?region={region}#/{kind.page}/{name}",
        f"{own}_{LOG}": (
            f"{console}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{group}"
            f"$3FlogStreamNameFilter$3D{name}"
        ),
        "instance_type": kind.instances(description).get("InstanceType", ""),
        **figures(kind, description),
    }
    artefact = description.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    if artefact:
        metadata["model_artefact"] = artefact
    return metadata
