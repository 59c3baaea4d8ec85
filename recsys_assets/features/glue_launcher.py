"""Computes feature tables in AWS Glue job runs, through Dagster's ``PipesGlueClient``.

Terraform defines the job (``modules/glue``); the script that it runs is ``recsys_assets.features.glue_features``.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg
from botocore.exceptions import BotoCoreError, ClientError

from lambda_api.settings import Settings
from recsys_assets.aws_clients import open_clients
from recsys_assets.aws_errors import classify_aws_error, error_code
from recsys_assets.features.engine import WrittenFeatures
from recsys_assets.lake import Lake
from recsys_assets.sagemaker.job import bucket_and_key
from recsys_assets.sagemaker.session import S3ContextInjector, S3MessageReader

ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"})
"""States a run does not leave (AWS Glue Developer Guide, "AWS Glue job run statuses")."""

REMEDIES: Mapping[str, str] = {
    "TIMEOUT": "give the job more workers or more minutes (feature_job in terraform.tfvars)",
    "STOPPED": "somebody stopped it; materialise the asset again",
    "EXPIRED": "it waited too long for capacity; materialise the asset again",
}
"""What to do, by state; otherwise the job's log says more."""

MAX_RETRY_S = 300.0
RETRY_INTERVAL_S = 30.0


@dataclass
class RetryingGlueClient:
    """A Glue client that retries temporary errors: too many runs at once, throttling, and services that do not answer.

    `PipesGlueClient` polls a run with it; each poll also forwards the messages that the script has sent.

    Attributes:
        run: the latest description of the run, as Glue gave it.
    """

    client: Any
    reader: S3MessageReader
    max_retry_s: float = MAX_RETRY_S
    sleep: Callable[[float], None] = time.sleep
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def meta(self) -> Any:
        """See boto3."""
        return self.client.meta

    def start_job_run(self, **parameters: Any) -> dict[str, Any]:
        """Start a run; waits while too many runs are active."""
        started: dict[str, Any] = self._retry(lambda: self.client.start_job_run(**parameters))
        return started

    def get_job_run(self, **parameters: Any) -> dict[str, Any]:
        """Describe the run, and forward its messages."""
        found: dict[str, Any] = self._retry(lambda: self.client.get_job_run(**parameters))
        self.run = found["JobRun"]
        state = self.run["JobRunState"]
        self._retry(lambda: self.reader.drain(ended=state in ENDED))
        if state == "EXPIRED":  # PipesGlueClient does not know this end state
            return {**found, "JobRun": {**self.run, "JobRunState": "ERROR"}}
        return found

    def batch_stop_job_run(self, **parameters: Any) -> dict[str, Any]:
        """See boto3."""
        stopped: dict[str, Any] = self.client.batch_stop_job_run(**parameters)
        return {**stopped, "errors": stopped.get("Errors", [])}

    def _retry(self, call: Callable[[], Any]) -> Any:
        waited = 0.0
        while True:
            try:
                return call()
            except (ClientError, BotoCoreError) as error:
                full = error_code(error) in ("ConcurrentRunsExceededException", "ResourceNumberLimitExceededException")
                if not (full or classify_aws_error(error, "glue").retryable) or waited >= self.max_retry_s:
                    raise
                waited += RETRY_INTERVAL_S
                self.sleep(RETRY_INTERVAL_S)


@dataclass(frozen=True)
class GlueFeatures:
    """Computes feature tables in runs of the Glue job ``job``; see `FeatureLauncher`.

    Attributes:
        uri: ``s3://`` prefix of the Pipes messages of runs.
        max_retry_s: longest total wait for temporary errors, seconds per call.
    """

    job: str
    uri: str
    glue: Any
    s3: Any
    max_retry_s: float = MAX_RETRY_S
    sleep: Callable[[float], None] = time.sleep

    def write(self, context: dg.AssetExecutionContext, lake: Lake, table: str, as_of: datetime) -> WrittenFeatures:
        """See `FeatureLauncher.write`."""
        # dagster-aws is needed on Glue only.
        from dagster_aws.pipes import PipesGlueClient

        bucket, root = bucket_and_key(self.uri)
        prefix = f"{root}/{context.run.run_id}/{table}-{context.retry_number}"
        reader = S3MessageReader(self.s3, bucket, prefix)
        glue = RetryingGlueClient(self.glue, reader, self.max_retry_s, self.sleep)
        client = PipesGlueClient(S3ContextInjector(self.s3, bucket, prefix), reader, client=glue)
        extras = {"table": table, "lake_uri": lake.root, "as_of": as_of.isoformat()}
        try:
            finished = client.run(context=context, start_job_run_params={"JobName": self.job}, extras=extras)
        except (ClientError, BotoCoreError) as error:
            with suppress(ClientError, BotoCoreError):  # the first error is the one to report
                self._stop(glue)
            problem = classify_aws_error(error, f"glue: run of {self.job}")
            raise dg.Failure(str(problem), allow_retries=problem.retryable) from error
        except RuntimeError as error:
            raise self._failure(glue.run) from error
        (reported,) = finished.get_custom_messages() or [None]
        if not isinstance(reported, dict):
            raise dg.Failure(
                f"run {glue.run.get('Id')} of {self.job} ended without reporting a table; check that the job runs "
                "recsys_assets/features/glue_features.py"
            )
        return WrittenFeatures(uri=reported["uri"], rows=reported["rows"], bytes=reported["bytes"])

    def _stop(self, glue: RetryingGlueClient) -> None:
        """Stop a run that can no longer be polled."""
        if glue.run.get("Id") and glue.run.get("JobRunState") not in ENDED:
            glue.batch_stop_job_run(JobName=self.job, JobRunIds=[glue.run["Id"]])

    def _failure(self, run: Mapping[str, Any]) -> dg.Failure:
        state, log = str(run.get("JobRunState", "unknown")), run.get("LogGroupName") or "/aws-glue/jobs"
        remedy = REMEDIES.get(state, f"the run's streams in {log} hold the traceback")
        reason = run.get("ErrorMessage")
        metadata = {"glue_job": self.job, "glue_run": str(run.get("Id", "")), "glue_state": state}
        return dg.Failure(
            f"run {run.get('Id')} of {self.job} ended {state}{f': {reason}' if reason else ''}; {remedy}",
            metadata=metadata,
            allow_retries=state in ("EXPIRED", "ERROR"),
        )


def open_glue_features(settings: Settings) -> GlueFeatures:
    """The launcher that ``RECSYS_FEATURES_GLUE_JOB`` names."""
    bucket, _ = bucket_and_key(settings.models_uri)
    glue, s3 = open_clients("glue", "s3")
    return GlueFeatures(settings.features_glue_job, f"s3://{bucket}/pipes", glue, s3)
