"""Feature tables on AWS Glue, through Dagster's ``PipesGlueClient``.

Put starting the job and judging its end here. Keep the program that runs there
(``recsys_assets.features.glue_features``) and what is computed out. The job itself is Terraform's (``modules/glue``).
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
from recsys_assets.features.engine import WrittenFeatures
from recsys_assets.lake import Lake
from recsys_assets.sagemaker.errors import error_code, read_trouble
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

LONGEST_TROUBLE_S = 300.0
BETWEEN_STARTS_S = 30.0


@dataclass
class PatientGlue:
    """A Glue client that waits out what passes: too many runs at once, throttling, and services that do not answer.

    `PipesGlueClient` asks it how a run goes; every look also hands on what the program reported by then.

    Attributes:
        run: what was last heard of the run.
    """

    client: Any
    reader: S3MessageReader
    patience_s: float = LONGEST_TROUBLE_S
    sleep: Callable[[float], None] = time.sleep
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def meta(self) -> Any:
        """See boto3."""
        return self.client.meta

    def start_job_run(self, **parameters: Any) -> dict[str, Any]:
        """Start, once there is room."""
        started: dict[str, Any] = self._patiently(lambda: self.client.start_job_run(**parameters))
        return started

    def get_job_run(self, **parameters: Any) -> dict[str, Any]:
        """Look, and drain."""
        found: dict[str, Any] = self._patiently(lambda: self.client.get_job_run(**parameters))
        self.run = found["JobRun"]
        state = self.run["JobRunState"]
        self._patiently(lambda: self.reader.drain(ended=state in ENDED))
        if state == "EXPIRED":  # the one end that PipesGlueClient does not know
            return {**found, "JobRun": {**self.run, "JobRunState": "ERROR"}}
        return found

    def batch_stop_job_run(self, **parameters: Any) -> dict[str, Any]:
        """See boto3."""
        stopped: dict[str, Any] = self.client.batch_stop_job_run(**parameters)
        return {**stopped, "errors": stopped.get("Errors", [])}

    def _patiently(self, call: Callable[[], Any]) -> Any:
        waited = 0.0
        while True:
            try:
                return call()
            except (ClientError, BotoCoreError) as error:
                full = error_code(error) in ("ConcurrentRunsExceededException", "ResourceNumberLimitExceededException")
                if not (full or read_trouble(error, "glue").passing) or waited >= self.patience_s:
                    raise
                waited += BETWEEN_STARTS_S
                self.sleep(BETWEEN_STARTS_S)


@dataclass(frozen=True)
class GlueFeatures:
    """Computes feature tables in runs of the Glue job ``job``; see `FeatureLauncher`.

    Attributes:
        uri: ``s3://`` prefix of what Dagster and a run tell each other.
        patience_s: how long trouble that passes is waited out, per call.
    """

    job: str
    uri: str
    glue: Any
    s3: Any
    patience_s: float = LONGEST_TROUBLE_S
    sleep: Callable[[float], None] = time.sleep

    def write(self, context: dg.AssetExecutionContext, lake: Lake, table: str, as_of: datetime) -> WrittenFeatures:
        """See `FeatureLauncher.write`."""
        # Only who computes on Glue needs dagster-aws.
        from dagster_aws.pipes import PipesGlueClient

        bucket, root = bucket_and_key(self.uri)
        prefix = f"{root}/{context.run.run_id}/{table}-{context.retry_number}"
        reader = S3MessageReader(self.s3, bucket, prefix)
        glue = PatientGlue(self.glue, reader, self.patience_s, self.sleep)
        client = PipesGlueClient(S3ContextInjector(self.s3, bucket, prefix), reader, client=glue)
        extras = {"table": table, "lake_uri": lake.root, "as_of": as_of.isoformat()}
        try:
            finished = client.run(context=context, start_job_run_params={"JobName": self.job}, extras=extras)
        except (ClientError, BotoCoreError) as error:
            with suppress(ClientError, BotoCoreError):
                self._stop(glue)
            trouble = read_trouble(error, f"glue: run of {self.job}")
            raise dg.Failure(trouble.message, allow_retries=trouble.passing) from error
        except RuntimeError as error:
            raise self._failure(glue.run) from error
        (said,) = finished.get_custom_messages() or [None]
        if not isinstance(said, dict):
            raise dg.Failure(f"run {glue.run.get('Id')} of {self.job} ended and told of no table: is its program ours?")
        return WrittenFeatures(uri=said["uri"], rows=said["rows"], bytes=said["bytes"])

    def _stop(self, glue: PatientGlue) -> None:
        """End a run that nobody can follow any more."""
        if glue.run.get("Id") and glue.run.get("JobRunState") not in ENDED:
            glue.batch_stop_job_run(JobName=self.job, JobRunIds=[glue.run["Id"]])

    def _failure(self, run: Mapping[str, Any]) -> dg.Failure:
        state, log = str(run.get("JobRunState", "unknown")), run.get("LogGroupName") or "/aws-glue/jobs"
        remedy = REMEDIES.get(state, f"the run's streams in {log} hold the traceback")
        said = run.get("ErrorMessage")
        metadata = {"glue_job": self.job, "glue_run": str(run.get("Id", "")), "glue_state": state}
        return dg.Failure(
            f"run {run.get('Id')} of {self.job} ended {state}{f': {said}' if said else ''}; {remedy}",
            metadata=metadata,
            allow_retries=state in ("EXPIRED", "ERROR"),
        )


def open_glue_features(settings: Settings) -> GlueFeatures:
    """The launcher that ``RECSYS_FEATURES_GLUE_JOB`` names."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})
    bucket, _ = bucket_and_key(settings.models_uri)
    glue, s3 = (boto3.client(name, config=config) for name in ("glue", "s3"))
    return GlueFeatures(settings.features_glue_job, f"s3://{bucket}/pipes", glue, s3)
