"""A Dagster program with one asset that trains through Pipes; run as ``python -m tests.training.pipes_run ROOT``."""

import sys
from pathlib import Path

import dagster as dg

from recsys_assets.training.assets import reported_metadata
from recsys_assets.training.local_launcher import SubprocessLauncher
from tests.training.shop import fit_of


def training_asset(root: Path, **parameters: object) -> dg.AssetsDefinition:
    """An asset that trains a tiny NCF on the small shop under ``root``."""

    @dg.asset
    def small_ncf_model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        fitted = SubprocessLauncher(root).fit(context, fit_of("ncf", **parameters))
        return dg.MaterializeResult(metadata=reported_metadata(fitted.reported))

    return small_ncf_model


def endless_job() -> dg.JobDefinition:
    """The asset as a job of the multiprocess executor, training for ever."""
    root = Path(sys.argv[1])
    return dg.Definitions(
        assets=[training_asset(root, epochs=1_000_000, patience=0)],
        jobs=[dg.define_asset_job("train_job", executor_def=dg.multiprocess_executor)],
    ).resolve_job_def("train_job")


def main() -> None:
    """Train for ever, in this process or (second argument ``multiprocess``) in a step process of Dagster's."""
    root = Path(sys.argv[1])
    (root / "dagster").mkdir(exist_ok=True)
    instance = dg.DagsterInstance.local_temp(str(root / "dagster"))
    if sys.argv[2] == "multiprocess":
        dg.execute_job(dg.reconstructable(endless_job), instance=instance, raise_on_error=True)
    else:
        dg.materialize([training_asset(root, epochs=1_000_000, patience=0)], instance=instance)


if __name__ == "__main__":
    main()
