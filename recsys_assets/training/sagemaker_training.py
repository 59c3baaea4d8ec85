"""The ``train`` program as a SageMaker training job: input up, job, model down.

Put what travels between this machine and a job here. Keep the protocol around it (``launched_training.py``), the job
itself (``sagemaker_job.py``) and following it (``recsys_assets.resources.sagemaker``) out.
"""

import os
import shutil
import tarfile
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from lambda_api.recommender.bundle import BundleError, read_bundle
from lambda_api.settings import Settings
from recsys_assets.resources.sagemaker import PipesSageMakerClient, job_identity
from recsys_assets.training.launched_training import Fit
from recsys_assets.training.sagemaker_job import (
    Hardware,
    JobPlaces,
    JobRefused,
    Placement,
    TrainingJobPlan,
    bucket_and_key,
    plan_problems,
)
from recsys_assets.training.sagemaker_outcome import read_trouble
from recsys_assets.training.train import INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL


@dataclass(frozen=True)
class SageMakerLauncher:
    """Launches fits as training jobs; bundles come back under ``root``, one folder per model and cut."""

    root: Path
    client: PipesSageMakerClient
    placement: Placement
    hardware: Hardware = field(default_factory=Hardware)

    def fit(self, context: dg.AssetExecutionContext, fit: Fit) -> tuple[Path, dg.MaterializeResult[None]]:
        """See `Launcher.fit`."""
        identity, places = job_identity(context, fit.label), self.client.places
        tables = {INTERACTIONS_CHANNEL: fit.interactions, PRODUCTS_CHANNEL: fit.products}
        plan = TrainingJobPlan(
            placement=self.placement,
            hyperparameters=fit.hyperparameters,
            channels={channel: places.channel(identity, channel) for channel in tables},
            output_uri=places.output(identity),
            checkpoint_uri=places.checkpoints(fit.label),
            hardware=self.hardware,
            tags={"recsys/model": fit.model},
        )
        if problems := plan_problems(plan):  # before gigabytes travel
            raise JobRefused(f"training of {fit.label}: {'; '.join(problems)}")
        self.client.require_buckets(plan)
        try:
            for channel, table in tables.items():
                upload_table(self.client.s3, table, plan.channels[channel])
            finished = self.client.run(context=context, plan=plan, label=fit.label)
            folder = self.root / fit.label / "model"
            download_model(self.client.s3, str(finished.metadata["model_artefact"].value), folder)
            delete_prefix(self.client.s3, plan.checkpoint_uri)
        except (ClientError, BotoCoreError) as error:
            trouble = read_trouble(error, f"s3 access to {places.root}")
            raise dg.Failure(trouble.message, allow_retries=trouble.passing) from error
        return folder, _reported(finished, folder)


def open_sagemaker_launcher(settings: Settings) -> SageMakerLauncher:
    """The launcher that ``RECSYS_TRAINING_*`` describe, with clients of the region AWS's own configuration names.

    Raises:
        dagster.Failure: no region is configured.
    """
    import boto3
    from botocore.config import Config

    # Calls are repeated by botocore for seconds and by the client for minutes; see `Patience.trouble`.
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})
    try:
        sagemaker, s3 = (boto3.client(name, config=config) for name in ("sagemaker", "s3"))
    except NoRegionError as error:
        raise dg.Failure("no AWS region is configured; set AWS_REGION", allow_retries=False) from error
    return SageMakerLauncher(
        root=settings.home / "training",
        client=PipesSageMakerClient(sagemaker, s3, JobPlaces(settings.training_uri)),
        placement=Placement(settings.training_image, settings.training_role_arn),
        hardware=Hardware(instance_type=settings.training_instance_type),
    )


def upload_table(s3: Any, table: pa.Table, prefix_uri: str) -> None:
    """Write ``table`` as the one Parquet object of a channel."""
    bucket, prefix = bucket_and_key(prefix_uri)
    with tempfile.TemporaryFile() as file:
        pq.write_table(table, file, compression="zstd")
        file.seek(0)
        s3.upload_fileobj(file, bucket, f"{prefix}/part-0.parquet")


def download_model(s3: Any, artefact_uri: str, folder: Path) -> None:
    """Put the content of ``model.tar.gz`` into ``folder``, in place of what was there.

    Raises:
        BundleError: the archive cannot be unpacked safely, or holds no whole bundle; ``folder`` is left as it was.
    """
    bucket, key = bucket_and_key(artefact_uri)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        with tempfile.TemporaryFile() as file:
            s3.download_fileobj(bucket, key, file)
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:gz") as archive:
                archive.extractall(partial, filter="data")
        read_bundle(partial)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)  # noqa: PTH105
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BundleError(f"{artefact_uri} cannot be unpacked ({error}); train again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def delete_prefix(s3: Any, prefix_uri: str) -> None:
    """Delete what lies under a prefix: the checkpoints of a training that is complete are downloaded by the next."""
    bucket, prefix = bucket_and_key(prefix_uri)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        if keys := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _reported(finished: dg.PipesClientCompletedInvocation, folder: Path) -> dg.MaterializeResult[None]:
    results = [
        result
        for result in finished.get_results(implicit_materializations=False)
        if isinstance(result, dg.MaterializeResult)
    ]
    if len(results) != 1:
        raise dg.Failure(
            f"training job {finished.metadata['training_job'].value} ended well but reported nothing; allow its "
            "execution role s3:GetObject and s3:PutObject below RECSYS_TRAINING_URI",
            metadata=dict(finished.metadata),
            allow_retries=False,
        )
    result, checksum = results[0], read_bundle(folder).manifest.checksum
    if result.data_version is not None and result.data_version.value != checksum:
        raise BundleError(
            f"{folder} holds bundle {checksum}, the job reported {result.data_version.value}; train again"
        )
    return result
