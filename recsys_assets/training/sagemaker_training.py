"""The ``train`` program as a SageMaker training job: input up, job, model down.

Put what travels between this machine and a job here. Keep the protocol around it (``launched_training.py``), the job
itself (``job.py``) and following it (``recsys_assets.sagemaker.client``) out.
"""

import os
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from lambda_api.recommender.bundle import BundleError, read_bundle
from lambda_api.settings import Settings, parse_tags
from recsys_assets.aws_errors import error_code, translate_aws_errors
from recsys_assets.sagemaker.client import PipesSageMakerClient, failures_told, job_identity, open_client
from recsys_assets.sagemaker.errors import JobFailed, JobRefused
from recsys_assets.sagemaker.job import Hardware, Placement, bucket_and_key
from recsys_assets.sagemaker.paths import SageMakerPaths
from recsys_assets.sagemaker.settings import hardware_of, placement_of
from recsys_assets.sagemaker.training_job import TrainingJobPlan
from recsys_assets.training.launched_training import Fit
from recsys_assets.training.train import INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL


@dataclass(frozen=True)
class SageMakerLauncher:
    """Launches fits as training jobs; bundles come back under ``root``, one folder per model and cut."""

    root: Path
    client: PipesSageMakerClient
    placement: Placement
    hardware: Hardware = field(default_factory=Hardware)
    tags: Mapping[str, str] = field(default_factory=dict)

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
            tags={**self.tags, "recsys/model": fit.model},
        )
        if problems := plan.problems():  # before gigabytes travel
            raise JobRefused(f"training of {fit.label}: {'; '.join(problems)}")
        self.client.require_buckets(plan)
        with failures_told(), translate_aws_errors(f"s3 access to {places.root}", JobFailed.of):
            for channel, table in tables.items():
                upload_table(self.client.jobs.s3, table, plan.channels[channel])
            finished = self.client.run(context=context, plan=plan, label=fit.label)
            folder = self.root / fit.label / "model"
            artefact = str(finished.metadata["model_artefact"].value)
            download_model(self.client.jobs.s3, artefact, folder)
            download_output(self.client.jobs.s3, artefact, SageMakerPaths(folder.parent).output_data)
            delete_prefix(self.client.jobs.s3, plan.checkpoint_uri)
        return folder, _reported(finished, folder)


def open_sagemaker_launcher(settings: Settings) -> SageMakerLauncher:
    """The launcher that ``RECSYS_TRAINING_*`` describe. Raises `dagster.Failure`: no region is configured."""
    return SageMakerLauncher(
        root=settings.home / "training",
        client=open_client(settings),
        placement=placement_of(settings),
        hardware=hardware_of(settings),
        tags=parse_tags(settings.training_tags),
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


def download_output(s3: Any, artefact_uri: str, folder: Path) -> None:
    """Put what else the program found worth keeping (``output.tar.gz``, beside the model) into ``folder``, afresh.

    Raises:
        BundleError: the archive cannot be unpacked safely.
    """
    bucket, key = bucket_and_key(f"{artefact_uri.rsplit('/', 1)[0]}/output.tar.gz")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryFile() as file:
        try:
            s3.download_fileobj(bucket, key, file)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchKey"):
                return  # the program kept nothing
            raise
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:gz") as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BundleError(f"s3://{bucket}/{key} cannot be unpacked ({error}); train again") from error


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
