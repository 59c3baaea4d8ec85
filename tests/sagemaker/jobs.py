"""An asset that trains on the small shop through a launcher, materialised with real Dagster."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from recsys_assets.sagemaker.client import PipesSageMakerClient
from recsys_assets.sagemaker.job import Hardware, JobPlaces, Placement
from recsys_assets.sagemaker.jobs import Patience, SageMakerJobs
from recsys_assets.sagemaker.outcome import Attempts
from recsys_assets.training.assets import reported_metadata
from recsys_assets.training.fitting import Fit, Launcher
from recsys_assets.training.sagemaker_launcher import SageMakerLauncher
from tests.sagemaker.fake_sagemaker import FakeSageMaker

BUCKET = "training-eu"
ROOT = f"s3://{BUCKET}/training"
PLACEMENT = Placement(
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/recsys:1", "arn:aws:iam::123456789012:role/training"
)
LONG = {"epochs": 100_000, "patience": 0}
"""Parameters of an NCF that nobody waits for."""


def jobs_on(service: FakeSageMaker, **changes: Any) -> SageMakerJobs:
    """Jobs that are looked at often, without pauses between attempts; ``changes`` are fields of `SageMakerJobs`."""
    settings: dict[str, Any] = {
        "patience": Patience(between_looks=0.2, start=60, stop=60, unavailable=5),
        "attempts": Attempts(most=3, first_pause_s=0.01),
        "interruptions": (KeyboardInterrupt, dg.DagsterExecutionInterruptedError),
        **changes,
    }
    return SageMakerJobs(service.client(), service.s3, **settings)


def launcher_on(service: FakeSageMaker, root: Path, **changes: Any) -> SageMakerLauncher:
    """A launcher on such jobs; ``changes`` as of `jobs_on`."""
    hardware = changes.pop("hardware", Hardware())
    places = changes.pop("places", JobPlaces(ROOT))
    return SageMakerLauncher(root, PipesSageMakerClient(jobs_on(service, **changes), places), PLACEMENT, hardware)


def training_asset(fit: Fit) -> dg.AssetsDefinition:
    """An asset that makes ``fit``."""

    @dg.asset
    def small_model(context: dg.AssetExecutionContext, training: dg.ResourceParam[Launcher]) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata=reported_metadata(training.fit(context, fit).reported))

    return small_model


def materialise(
    launcher: Launcher, fit: Fit, instance: dg.DagsterInstance, run_id: str | None = None
) -> dg.ExecuteInProcessResult:
    """Materialise the asset of ``fit``; failures are in the result."""
    definitions = dg.Definitions(
        assets=[training_asset(fit)],
        jobs=[dg.define_asset_job("train_job", executor_def=dg.in_process_executor)],
        resources={"training": launcher},
    )
    job = definitions.resolve_job_def("train_job")
    return job.execute_in_process(instance=instance, run_id=run_id, raise_on_error=False)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Why the asset failed."""
    data = result.failure_data_for_node("small_model")
    assert data is not None
    if data.user_failure_data is not None:
        return str(data.user_failure_data.description)
    error = data.error
    assert error is not None
    return (error.cause or error).message


def metadata_of(result: dg.ExecuteInProcessResult) -> Mapping[str, Any]:
    """Metadata of the one materialisation, as plain values."""
    assert result.success
    [event] = result.asset_materializations_for_node("small_model")
    return {name: value.value for name, value in event.metadata.items()}


def log_of(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    """The run's log."""
    return "\n".join(record.user_message for record in instance.all_logs(result.run_id))
