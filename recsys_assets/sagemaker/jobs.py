"""The life cycle of a SageMaker job of any kind: created or found again, followed, stopped, tried again, accounted for.

Put calling SageMaker about jobs here. Keep what is asked for (`JobPlan`), what answers and errors mean
(``outcome.py`` and ``trouble.py`` of ``recsys_assets.sagemaker``) and Dagster (``sagemaker.py``) out.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from recsys_assets.sagemaker.errors import IN_USE, JobFailed, error_code, read_trouble
from recsys_assets.sagemaker.job import JobIdentity, JobPlan, JobRefused, create_request, differences
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


class Weight(Enum):
    """How much a line matters to people."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Tell = Callable[[Weight, str], None]


@dataclass(frozen=True)
class Session:
    """What accompanies one attempt.

    Attributes:
        variables: for the program.
        tags: beside those of the plan.
        look: called after every look at the job with its description and whether it has ended; may raise `AwsError`.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    look: Callable[[Mapping[str, Any], bool], None] = lambda description, ended: None


@contextmanager
def no_session(name: str) -> Iterator[Session]:
    """For jobs whose programs talk to nobody."""
    yield Session()


@dataclass(frozen=True)
class Patience:
    """How long is waited for what, in seconds.

    Attributes:
        between_looks: at the job.
        start: for an instance, from the creation of the job to the start of its program.
        stop: for a job to end after it was told to.
        trouble: for AWS to answer again once it fails to; the job itself goes on meanwhile.
    """

    between_looks: float = 15.0
    start: float = 3600.0
    stop: float = 300.0
    trouble: float = 900.0


@dataclass(frozen=True)
class FinishedJob:
    """A job that ended well, as AWS describes it; ``attempts`` of this call, ``metadata`` for people."""

    name: str
    description: Mapping[str, Any]
    attempts: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class SageMakerJobs:
    """Jobs of one account and region.

    A job's name is made of its identity and the attempt: asked again after its process died, the caller finds its job
    under that name and follows it instead of starting another. Interrupted, it stops its job. A failure that may pass
    (capacity, SageMaker's own errors, spot capacity beyond the longest wait) is followed by another attempt.

    Attributes:
        sagemaker, s3: boto3 clients of one region.
        interruptions: what tells the caller to stop; its job is stopped before it is raised on.
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
        self,
        plan: JobPlan,
        identity: JobIdentity,
        tell: Tell,
        open_session: Callable[[str], AbstractContextManager[Session]] = no_session,
    ) -> FinishedJob:
        """Run ``plan`` to its end.

        Args:
            tell: hears what happens.
            open_session: given the name of an attempt.

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
            description, outcome, stale = self._attempt(plan, name, identity, tell, open_session)
            metadata = job_metadata(plan.kind, description, self.region)
            if outcome.verdict is Verdict.SUCCEEDED:
                return FinishedJob(name, description, tried, {**metadata, "attempts": tried})
            if stale:
                tell(Weight.INFO, f"{plan.kind.noun} {name} ended badly earlier ({outcome.reason}); starting another")
                tried -= 1
                continue
            if outcome.verdict is not Verdict.RETRY or tried == self.attempts.most:
                given_up = f" after {tried} attempts" if tried > 1 else ""
                message = f"{plan.kind.noun} {name} failed{given_up}: {outcome}"
                raise JobFailed(message, metadata=metadata, reason=outcome.reason)
            pause = self.attempts.pause(tried, self.chance)
            tell(Weight.WARNING, f"{plan.kind.noun} {name}: {outcome}; next attempt in {pause:.0f} s")
            self.sleep(pause)

    def require_buckets(self, plan: JobPlan) -> None:
        """Raise `JobFailed` unless every bucket of ``plan`` is there, open to us and in the job's region."""
        for bucket in plan.buckets:
            self._require_bucket(bucket)

    def _attempt(
        self,
        plan: JobPlan,
        name: str,
        identity: JobIdentity,
        tell: Tell,
        open_session: Callable[[str], AbstractContextManager[Session]],
    ) -> tuple[Mapping[str, Any], Outcome, bool]:
        """The ended job, what it means, and whether it had ended badly before anybody of this call was there."""
        with explained("s3:PutObject"), open_session(name) as session:
            request = create_request(plan, name, session.variables, session.tags)
            try:
                found = self._start_or_attach(plan, name, request, tell)
                if found is not None and identity.lasting:
                    outcome = read_outcome(plan.kind, found)
                    if outcome.verdict in (Verdict.RETRY, Verdict.FAILED):
                        return found, outcome, True
                return *self._follow(plan.kind, name, session, tell), False
            except self.interruptions:
                tell(Weight.WARNING, f"interrupted: stopping {plan.kind.noun} {name}")
                self._stop(plan.kind, name, tell)
                raise

    def _start_or_attach(
        self, plan: JobPlan, name: str, request: Mapping[str, Any], tell: Tell
    ) -> Mapping[str, Any] | None:
        """Create the job; where it exists, its description."""
        kind = plan.kind
        deadline = self.clock() + self.patience.trouble
        while True:
            try:
                self._call("create", kind)(**request)
            except AwsError as error:
                if error_code(error) == IN_USE:
                    return self._attach(plan, name, tell)
                trouble = read_trouble(error, kind.action("Create"), plan.placement.role_arn)
                if not trouble.passing or self.clock() >= deadline:
                    raise JobFailed(trouble.message, passing=trouble.passing) from error
                tell(Weight.WARNING, f"{trouble.message}; trying again")
                self.sleep(self.patience.between_looks)
            else:
                tell(Weight.INFO, f"started {kind.noun} {name}")
                return None

    def _attach(self, plan: JobPlan, name: str, tell: Tell) -> Mapping[str, Any]:
        found = self._describe(plan.kind, name, tell)
        if different := differences(plan, found):
            raise JobFailed(
                f"{plan.kind.noun} {name} exists already and does other work ({'; '.join(different)}); "
                "start a new run instead of resuming this one"
            )
        tell(Weight.INFO, f"{plan.kind.noun} {name} exists already ({found[plan.kind.status_field]}); following it")
        return found

    def _follow(self, kind: JobKind, name: str, session: Session, tell: Tell) -> tuple[Mapping[str, Any], Outcome]:
        seen = 0
        while True:
            description = self._describe(kind, name, tell)
            lines = transition_lines(description, seen)
            seen += len(lines)
            for line in lines:
                tell(Weight.INFO, f"{name}: {line}")
            outcome = read_outcome(kind, description)
            if outcome.verdict is not Verdict.RUNNING:
                self._look(session, description, tell, ended=True)
                return description, outcome
            overdue = overdue_start(kind, description, self.now(), self.patience.start)
            if overdue:
                self._stop(kind, name, tell)
                return self._describe(kind, name, tell), Outcome(Verdict.FAILED, overdue)
            self._look(session, description, tell, ended=False)
            self.sleep(self.patience.between_looks)

    def _look(self, session: Session, description: Mapping[str, Any], tell: Tell, *, ended: bool) -> None:
        """Let the session look. While the job runs AWS may fail; at its end it must answer within ``trouble``."""
        deadline = self.clock() + self.patience.trouble
        while True:
            try:
                session.look(description, ended)
                return
            except AwsError as error:
                trouble = read_trouble(error, "s3:GetObject")
                if ended and (not trouble.passing or self.clock() >= deadline):
                    raise JobFailed(trouble.message, passing=trouble.passing) from error
                tell(Weight.WARNING, trouble.message)
                if not ended:
                    return
                self.sleep(self.patience.between_looks)

    def _describe(self, kind: JobKind, name: str, tell: Tell) -> Mapping[str, Any]:
        deadline = self.clock() + self.patience.trouble
        while True:
            try:
                answer: Mapping[str, Any] = self._call("describe", kind)(**{kind.name_field: name})
                return answer
            except AwsError as error:
                trouble = read_trouble(error, kind.action("Describe"))
                if not trouble.passing or self.clock() >= deadline:
                    raise JobFailed(
                        f"{trouble.message}. The {kind.noun} {name} may still be running and billed: look at it, or "
                        f"stop it with: {kind.by_hand('stop', name)}"
                    ) from error
                tell(Weight.WARNING, f"{trouble.message}; trying again")
                self.sleep(self.patience.between_looks)

    def _stop(self, kind: JobKind, name: str, tell: Tell) -> None:
        """Stop the job and wait until it has ended, for at most ``patience.stop``; says so when it has not."""
        deadline = self.clock() + self.patience.stop
        told = False
        while True:
            try:
                if not told:
                    self._call("stop", kind)(**{kind.name_field: name})
                    told = True
                description = self._call("describe", kind)(**{kind.name_field: name})
                if read_outcome(kind, description).verdict is not Verdict.RUNNING:
                    tell(Weight.INFO, f"{kind.noun} {name} has ended")
                    return
            except AwsError as error:
                trouble = read_trouble(error, kind.action("Stop"))
                if error_code(error) == "ValidationException" and not told:
                    return  # it ended by itself before it could be stopped
                tell(Weight.WARNING, trouble.message)
                if not trouble.passing:
                    break
            if self.clock() >= deadline:
                break
            self.sleep(min(self.patience.between_looks, 5.0))
        tell(Weight.ERROR, f"{kind.noun} {name} has not ended; stop it with: {kind.by_hand('stop', name)}")

    def _call(self, verb: str, kind: JobKind) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self.sagemaker, f"{verb}_{kind.call}")
        return call

    def _require_bucket(self, bucket: str) -> None:
        """Refuse a bucket that is missing, closed to us, or in another region than the job."""
        try:
            found = self.s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        except ClientError as error:
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            found = headers.get("x-amz-bucket-region", self.region)
            if found == self.region:
                trouble = read_trouble(error, f"s3:ListBucket on {bucket}")
                raise JobFailed(trouble.message, passing=trouble.passing) from error
        except BotoCoreError as error:
            trouble = read_trouble(error, f"s3:ListBucket on {bucket}")
            raise JobFailed(trouble.message, passing=trouble.passing) from error
        if found and found != self.region:
            raise JobFailed(
                f"bucket {bucket} is in {found}, training runs in {self.region}; a job reads buckets of its own region "
                f"only: set AWS_REGION to {found} or RECSYS_TRAINING_URI to a bucket in {self.region}"
            )


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Errors of AWS inside become `JobFailed`, as of a call that needs ``action``."""
    try:
        yield
    except AwsError as error:
        trouble = read_trouble(error, action)
        raise JobFailed(trouble.message, passing=trouble.passing) from error


PAGE, LOG = "page", "log"
"""Last words of the metadata that are links."""


def job_metadata(kind: JobKind, description: Mapping[str, Any], region: str) -> dict[str, Any]:
    """What people want to know about a job that has ended, with links to it and its log."""
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
