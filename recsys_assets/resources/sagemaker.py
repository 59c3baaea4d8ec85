"""A Pipes client that runs the ``train`` program as a SageMaker training job.

Put calling SageMaker and telling Dagster here. Keep what is asked for (``recsys_assets.training.sagemaker_job``), what
an answer means (``sagemaker_outcome.py``) and messages (``sagemaker_session.py``) out.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from botocore.exceptions import BotoCoreError, ClientError

from recsys_assets.resources.sagemaker_session import S3ContextInjector, S3MessageReader
from recsys_assets.training.sagemaker_job import (
    JobIdentity,
    JobPlaces,
    TrainingJobPlan,
    bucket_and_key,
    create_request,
    differences,
)
from recsys_assets.training.sagemaker_outcome import (
    IN_USE,
    Attempts,
    Outcome,
    Verdict,
    error_code,
    figures,
    overdue_start,
    read_outcome,
    read_trouble,
    transition_lines,
)

AwsError = (ClientError, BotoCoreError)
Context = dg.OpExecutionContext | dg.AssetExecutionContext


@dataclass(frozen=True)
class Patience:
    """How long the client waits for what, in seconds.

    Attributes:
        between_looks: at the job.
        start: for an instance, from the creation of the job to the start of training.
        stop: for a job to end after it was told to.
        trouble: for AWS to answer again once it fails to; the job itself goes on meanwhile.
    """

    between_looks: float = 15.0
    start: float = 3600.0
    stop: float = 300.0
    trouble: float = 900.0


@dataclass(frozen=True)
class PipesSageMakerClient(dg.PipesClient):
    """Starts a training job, follows it, and hands on what its program reports.

    A job's name is made of the run, the asset, the retry and the attempt: started again after its process died, a step
    of the same run finds its job under that name and follows it instead of starting another. An interrupted step stops
    its job. A failure that may pass (capacity, SageMaker's own errors, spot capacity beyond the longest wait) is
    followed by another attempt; every other one ends the step and is not retried by Dagster either.

    Attributes:
        sagemaker, s3: boto3 clients of one region.
        places: where files of jobs lie; its bucket must be in that region.
    """

    sagemaker: Any
    s3: Any
    places: JobPlaces
    patience: Patience = field(default_factory=Patience)
    attempts: Attempts = field(default_factory=Attempts)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    chance: random.Random = field(default_factory=random.Random)

    def run(  # type: ignore[override]
        self,
        *,
        context: Context,
        plan: TrainingJobPlan,
        label: str,
        extras: Mapping[str, Any] | None = None,
    ) -> dg.PipesClientCompletedInvocation:
        """Run ``plan`` to its end.

        Args:
            label: tells the jobs of one step apart; part of the name.
            extras: passed to the program through the context.

        Raises:
            JobRefused: the plan breaks one of SageMaker's rules; nothing was started.
            dagster.Failure: the job failed, or AWS refused a call; says why and what to do.
        """
        identity = job_identity(context, label)
        self.require_buckets(plan)
        for attempt in range(1, self.attempts.most + 1):
            name = identity.name(attempt)
            done, outcome, description = self._attempt(context, plan, identity, name, extras)
            metadata = job_metadata(description, self.sagemaker.meta.region_name)
            if outcome.verdict is Verdict.SUCCEEDED:
                return dg.PipesClientCompletedInvocation(done, metadata={**metadata, "attempts": attempt})
            if outcome.verdict is not Verdict.RETRY or attempt == self.attempts.most:
                given_up = f" after {attempt} attempts" if attempt > 1 else ""
                raise dg.Failure(
                    f"training job {name} failed{given_up}: {outcome}", metadata=metadata, allow_retries=False
                )
            pause = self.attempts.pause(attempt, self.chance)
            context.log.warning(f"[pipes] training job {name}: {outcome}; next attempt in {pause:.0f} s")
            self.sleep(pause)
        raise AssertionError("Attempts.most is at least 1")

    def require_buckets(self, plan: TrainingJobPlan) -> None:
        """Raise `dagster.Failure` unless every bucket of ``plan`` is there, open to us and in the job's region."""
        for bucket in plan.buckets:
            self._require_bucket(bucket)

    def _attempt(
        self,
        context: Context,
        plan: TrainingJobPlan,
        identity: JobIdentity,
        name: str,
        extras: Mapping[str, Any] | None,
    ) -> tuple[Any, Outcome, Mapping[str, Any]]:
        bucket, prefix = bucket_and_key(self.places.pipes(identity, name))
        reader = S3MessageReader(self.s3, bucket, prefix)
        injector = S3ContextInjector(self.s3, bucket, prefix)
        with (
            self._explained("s3:PutObject"),
            dg.open_pipes_session(
                context=context, context_injector=injector, message_reader=reader, extras=dict(extras or {})
            ) as session,
        ):
            request = create_request(plan, name, session.get_bootstrap_env_vars())
            tags = {**session.default_remote_invocation_info, **plan.tags}
            request["Tags"] = [{"Key": key, "Value": value[:256]} for key, value in tags.items()]
            try:
                self._start_or_attach(context, request)
                description, outcome = self._follow(context, name, reader)
            except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
                context.log.warning(f"[pipes] interrupted: stopping training job {name}")
                self._stop(context, name)
                raise
        return session, outcome, description

    def _start_or_attach(self, context: Context, request: Mapping[str, Any]) -> None:
        name = request["TrainingJobName"]
        deadline = self.clock() + self.patience.trouble
        while True:
            try:
                self.sagemaker.create_training_job(**request)
            except AwsError as error:
                if error_code(error) == IN_USE:
                    self._attach(context, request)
                    return
                trouble = read_trouble(error, "sagemaker:CreateTrainingJob", request["RoleArn"])
                if not trouble.passing or self.clock() >= deadline:
                    raise dg.Failure(trouble.message, allow_retries=trouble.passing) from error
                context.log.warning(f"[pipes] {trouble.message}; trying again")
                self.sleep(self.patience.between_looks)
            else:
                context.log.info(f"[pipes] started training job {name}")
                return

    def _attach(self, context: Context, request: Mapping[str, Any]) -> None:
        name = request["TrainingJobName"]
        found = self._describe(context, name)
        if different := differences(request, found):
            raise dg.Failure(
                f"training job {name} exists already and does other work ({'; '.join(different)}); "
                "start a new run instead of resuming this one",
                allow_retries=False,
            )
        context.log.info(f"[pipes] training job {name} exists already ({found['TrainingJobStatus']}); following it")

    def _follow(self, context: Context, name: str, reader: S3MessageReader) -> tuple[Mapping[str, Any], Outcome]:
        seen, stopped_because = 0, None
        while True:
            description = self._describe(context, name)
            lines = transition_lines(description, seen)
            seen += len(lines)
            for line in lines:
                context.log.info(f"[pipes] {name}: {line}")
            outcome = read_outcome(description)
            if outcome.verdict is not Verdict.RUNNING:
                self._drain(context, reader, ended=True)
                return description, outcome
            stopped_because = overdue_start(description, self.now(), self.patience.start)
            if stopped_because:
                self._stop(context, name)
                return self._describe(context, name), Outcome(Verdict.FAILED, stopped_because)
            self._drain(context, reader)
            self.sleep(self.patience.between_looks)

    def _drain(self, context: Context, reader: S3MessageReader, *, ended: bool = False) -> None:
        """Pass messages on. While the job runs S3 may fail; at its end it must answer within ``patience.trouble``."""
        deadline = self.clock() + self.patience.trouble
        while True:
            try:
                reader.drain(ended=ended)
                return
            except AwsError as error:
                trouble = read_trouble(error, "s3:GetObject")
                if ended and (not trouble.passing or self.clock() >= deadline):
                    raise dg.Failure(trouble.message, allow_retries=trouble.passing) from error
                context.log.warning(f"[pipes] {trouble.message}")
                if not ended:
                    return
                self.sleep(self.patience.between_looks)

    def _describe(self, context: Context, name: str) -> Mapping[str, Any]:
        deadline = self.clock() + self.patience.trouble
        while True:
            try:
                answer: Mapping[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
                return answer
            except AwsError as error:
                trouble = read_trouble(error, "sagemaker:DescribeTrainingJob")
                if not trouble.passing or self.clock() >= deadline:
                    raise dg.Failure(
                        f"{trouble.message}. Training job {name} may still be running and billed: look at it, or stop "
                        f"it with: aws sagemaker stop-training-job --training-job-name {name}",
                        allow_retries=False,
                    ) from error
                context.log.warning(f"[pipes] {trouble.message}; trying again")
                self.sleep(self.patience.between_looks)

    def _stop(self, context: Context, name: str) -> None:
        """Stop the job and wait until it has ended, for at most ``patience.stop``; says so when it has not."""
        deadline = self.clock() + self.patience.stop
        told = False
        while True:
            try:
                if not told:
                    self.sagemaker.stop_training_job(TrainingJobName=name)
                    told = True
                description = self.sagemaker.describe_training_job(TrainingJobName=name)
                if read_outcome(description).verdict is not Verdict.RUNNING:
                    context.log.info(f"[pipes] training job {name} has ended")
                    return
            except AwsError as error:
                trouble = read_trouble(error, "sagemaker:StopTrainingJob")
                if error_code(error) == "ValidationException" and not told:
                    return  # it ended by itself before it could be stopped
                context.log.warning(f"[pipes] {trouble.message}")
                if not trouble.passing:
                    break
            if self.clock() >= deadline:
                break
            self.sleep(min(self.patience.between_looks, 5.0))
        context.log.error(
            f"[pipes] training job {name} has not ended; stop it with: "
            f"aws sagemaker stop-training-job --training-job-name {name}"
        )

    def _require_bucket(self, bucket: str) -> None:
        """Refuse a bucket that is missing, closed to us, or in another region than the job."""
        region = self.sagemaker.meta.region_name
        try:
            found = self.s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        except ClientError as error:
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            found = headers.get("x-amz-bucket-region", region)
            if found == region:
                trouble = read_trouble(error, f"s3:ListBucket on {bucket}")
                raise dg.Failure(trouble.message, allow_retries=trouble.passing) from error
        except BotoCoreError as error:
            trouble = read_trouble(error, f"s3:ListBucket on {bucket}")
            raise dg.Failure(trouble.message, allow_retries=trouble.passing) from error
        if found and found != region:
            raise dg.Failure(
                f"bucket {bucket} is in {found}, training runs in {region}; a job reads buckets of its own region "
                f"only: set AWS_REGION to {found} or RECSYS_TRAINING_URI to a bucket in {region}",
                allow_retries=False,
            )

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        try:
            yield
        except AwsError as error:
            trouble = read_trouble(error, action)
            raise dg.Failure(trouble.message, allow_retries=trouble.passing) from error


def job_identity(context: Context, label: str) -> JobIdentity:
    """Which work a step of ``context`` does under ``label``."""
    step = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
    assets = sorted(key.to_user_string() for key in step.selected_asset_keys) if step.has_assets_def else [step.op.name]
    return JobIdentity(run_id=step.run_id, asset=" ".join(assets), label=label, retry=step.retry_number)


def job_metadata(description: Mapping[str, Any], region: str) -> dict[str, Any]:
    """What people want to know about a job that has ended, with links to it and its log."""
    name = description["TrainingJobName"]
    console = f"https://{region}.console.aws.amazon.com"
    group = "$252Faws$252Fsagemaker$252FTrainingJobs"
    metadata: dict[str, Any] = {
        "training_job": name,
        "training_job_page": dg.MetadataValue.url(f"{console}/sagemaker/home?region={region}#/jobs/{name}"),
        "training_job_log": dg.MetadataValue.url(
            f"{console}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{group}"
            f"$3FlogStreamNameFilter$3D{name}$252F"
        ),
        "instance_type": description.get("ResourceConfig", {}).get("InstanceType", ""),
        **figures(description),
    }
    artefact = description.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    if artefact:
        metadata["model_artefact"] = artefact
    return metadata
