"""The ``train`` program as a SageMaker training job: input uploaded, job followed, model downloaded."""

import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from lambda_api.atomic_files import replaced_folder
from lambda_api.recommender.bundle import BundleError, read_bundle, read_manifest
from lambda_api.settings import Settings, parse_tags
from recsys_assets.aws_errors import error_code, translate_aws_errors
from recsys_assets.sagemaker.client import PipesSageMakerClient, failing_step, job_identity, open_client
from recsys_assets.sagemaker.errors import JobFailed, JobRefused
from recsys_assets.sagemaker.job import Hardware, Placement, bucket_and_key
from recsys_assets.sagemaker.paths import SageMakerPaths
from recsys_assets.sagemaker.settings import hardware_of, placement_of
from recsys_assets.sagemaker.training_job import TrainingJobPlan
from recsys_assets.training.fitting import Fit, Fitted, read_fitted
from recsys_assets.training.train import INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL


@dataclass(frozen=True)
class SageMakerLauncher:
    """Launches fits as training jobs; bundles come back under ``root``, one folder per model and cut."""

    root: Path
    client: PipesSageMakerClient
    placement: Placement
    hardware: Hardware = field(default_factory=Hardware)
    tags: Mapping[str, str] = field(default_factory=dict)

    def fit(self, context: dg.AssetExecutionContext, fit: Fit) -> Fitted:
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
            tags={**self.tags, "recsys/model": fit.trainer.name},
        )
        if problems := plan.problems():  # before gigabytes travel
            raise JobRefused(f"training of {fit.label}: {'; '.join(problems)}")
        self.client.require_buckets(plan)
        with failing_step(), translate_aws_errors(f"s3 access to {places.root}", JobFailed.of):
            for channel, table in tables.items():
                upload_table(self.client.jobs.s3, table, plan.channels[channel])
            finished = self.client.run(context=context, plan=plan, label=fit.label)
            paths = SageMakerPaths(self.root / fit.label)
            artefact = str(finished.metadata["model_artefact"].value)
            download_model(self.client.jobs.s3, artefact, paths.model)
            download_output(self.client.jobs.s3, artefact, paths.output_data)
            delete_prefix(self.client.jobs.s3, plan.checkpoint_uri)
        return read_fitted(paths, _reported(finished, paths.model))


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
    """Replace ``folder`` by the content of ``model.tar.gz``.

    Raises:
        BundleError: the archive cannot be unpacked safely, or holds no whole bundle; ``folder`` is left as it was.
    """
    with replaced_folder(folder) as partial:
        _unpack(s3, artefact_uri, partial)
        read_bundle(partial)


def download_output(s3: Any, artefact_uri: str, folder: Path) -> None:
    """Replace ``folder`` by the content of ``output.tar.gz`` beside the model; by nothing where there is no such file.

    Raises:
        BundleError: the archive cannot be unpacked safely.
    """
    with replaced_folder(folder) as partial:
        try:
            _unpack(s3, f"{artefact_uri.rsplit('/', 1)[0]}/output.tar.gz", partial)
        except ClientError as error:
            if error_code(error) not in ("404", "NoSuchKey"):
                raise


def _unpack(s3: Any, uri: str, folder: Path) -> None:
    with tempfile.TemporaryFile() as file:
        s3.download_fileobj(*bucket_and_key(uri), file)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:gz") as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BundleError(f"{uri} cannot be unpacked ({error}); train again") from error


def delete_prefix(s3: Any, prefix_uri: str) -> None:
    """Delete every object under a prefix: checkpoints of a finished training would be downloaded by the next one."""
    bucket, prefix = bucket_and_key(prefix_uri)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        if keys := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _reported(finished: dg.PipesClientCompletedInvocation, folder: Path) -> Mapping[str, Any]:
    results = [
        result
        for result in finished.get_results(implicit_materializations=False)
        if isinstance(result, dg.MaterializeResult)
    ]
    job = finished.metadata["training_job"].value
    if len(results) != 1:
        raise dg.Failure(
            f"training job {job} ended well but reported nothing; allow its execution role s3:GetObject and "
            "s3:PutObject below RECSYS_TRAINING_URI",
            metadata=dict(finished.metadata),
            allow_retries=False,
        )
    result, checksum = results[0], read_manifest(folder).checksum
    if result.data_version is not None and result.data_version.value != checksum:
        raise BundleError(
            f"{folder} holds bundle {checksum}, job {job} reported {result.data_version.value}; train again"
        )
    return result.metadata or {}
