"""A Dagster Pipes client that runs our programs as SageMaker jobs: training and processing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from lambda_api.settings import Settings
from recsys_assets.aws_clients import open_clients
from recsys_assets.sagemaker.errors import JobFailed
from recsys_assets.sagemaker.job import JobIdentity, JobPlaces, JobPlan, bucket_and_key
from recsys_assets.sagemaker.jobs import LOG, PAGE, Level, SageMakerJobs, Session
from recsys_assets.sagemaker.session import S3ContextInjector, S3MessageReader

Context = dg.OpExecutionContext | dg.AssetExecutionContext


@dataclass(frozen=True)
class PipesSageMakerClient(dg.PipesClient):
    """Starts a job, follows it, and forwards what its program reports while it runs.

    A job's name is made of run, asset, retry and attempt (see `SageMakerJobs`): a step that is resumed after its
    process died follows the job that it finds. Dagster does not retry a job that failed after all of its attempts.

    Attributes:
        places: where files of jobs are stored; the bucket must be in the region of ``jobs``.
    """

    jobs: SageMakerJobs
    places: JobPlaces

    def run(  # type: ignore[override]
        self,
        *,
        context: Context,
        plan: JobPlan,
        label: str,
        extras: Mapping[str, Any] | None = None,
    ) -> dg.PipesClientCompletedInvocation:
        """Run ``plan`` to its end.

        Args:
            label: distinguishes the jobs of one step; part of the name.
            extras: passed to the program through the context.

        Raises:
            JobRefused: the plan breaks one of SageMaker's rules; nothing was started.
            dagster.Failure: the job failed, or AWS refused a call; the message says why and what to do.
        """
        identity = job_identity(context, label)
        opened: list[dg.PipesSession] = []

        @contextmanager
        def open_session(name: str) -> Iterator[Session]:
            bucket, prefix = bucket_and_key(self.places.pipes(identity, name))
            reader = S3MessageReader(self.jobs.s3, bucket, prefix)
            with dg.open_pipes_session(
                context=context,
                context_injector=S3ContextInjector(self.jobs.s3, bucket, prefix),
                message_reader=reader,
                extras=dict(extras or {}),
            ) as session:
                opened.append(session)
                yield Session(
                    session.get_bootstrap_env_vars(),
                    session.default_remote_invocation_info,
                    lambda _, ended: reader.drain(ended=ended),
                )

        def log(level: Level, line: str) -> None:
            getattr(context.log, level.value)(f"[pipes] {line}")

        with failing_step():
            finished = self.jobs.run(plan, identity, log, open_session)
        return dg.PipesClientCompletedInvocation(opened[-1], metadata=linked(finished.metadata))

    def require_buckets(self, plan: JobPlan) -> None:
        """Raise `dagster.Failure` unless every bucket of ``plan`` exists, is open to us and is in the job's region."""
        with failing_step():
            self.jobs.require_buckets(plan)


@contextmanager
def failing_step() -> Iterator[None]:
    """Raises `JobFailed` as the failure of a Dagster step."""
    try:
        yield
    except JobFailed as failure:
        metadata = linked(failure.metadata)
        raise dg.Failure(str(failure), metadata=metadata, allow_retries=failure.retryable) from failure


def linked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of a job, with links as links."""
    return {
        name: dg.MetadataValue.url(value) if name.endswith((f"_{PAGE}", f"_{LOG}")) else value
        for name, value in metadata.items()
    }


def job_identity(context: Context, label: str) -> JobIdentity:
    """The identity of the job that a step of ``context`` runs as ``label``."""
    step = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
    assets = sorted(key.to_user_string() for key in step.selected_asset_keys) if step.has_assets_def else [step.op.name]
    return JobIdentity(run_id=step.run_id, asset=" ".join(assets), label=label, retry=step.retry_number)


def open_jobs() -> SageMakerJobs:
    """Jobs in the region that AWS's own configuration names.

    Raises:
        AwsCallFailed: no region is configured.
    """
    sagemaker, s3 = open_clients("sagemaker", "s3")
    return SageMakerJobs(sagemaker, s3, interruptions=(KeyboardInterrupt, dg.DagsterExecutionInterruptedError))


def open_client(settings: Settings) -> PipesSageMakerClient:
    """The client of a shop's jobs. Raises `AwsCallFailed`: no region is configured."""
    return PipesSageMakerClient(open_jobs(), JobPlaces(settings.training_uri))
