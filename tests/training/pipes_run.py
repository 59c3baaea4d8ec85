"""A Dagster program with one asset that trains through Pipes; run as ``python -m tests.training.pipes_run ROOT``.

Put the smallest code location that launches ``train`` here, for tests that need Dagster as a process of its own.
"""

import sys
from pathlib import Path

import dagster as dg

from recsys_assets.training.local_job import LocalTrainingJob
from tests.training.shop import AS_OF, TINY_NCF, tables


def training_asset(root: Path, **parameters: object) -> dg.AssetsDefinition:
    """An asset that trains a tiny NCF on the small shop under ``root``."""

    @dg.asset
    def small_ncf_model(
        context: dg.AssetExecutionContext, training: dg.ResourceParam[dg.PipesSubprocessClient]
    ) -> dg.MaterializeResult:
        job = LocalTrainingJob(root).prepare("ncf", {**TINY_NCF, **parameters}, *tables(), AS_OF)
        invocation = training.run(context=context, command=job.command, env=job.env)
        return invocation.get_materialize_result(implicit_materialization=False)

    return small_ncf_model


def endless_job() -> dg.JobDefinition:
    """The asset as a job of the multiprocess executor, training for ever."""
    root = Path(sys.argv[1])
    return dg.Definitions(
        assets=[training_asset(root / "job", epochs=1_000_000, patience=0)],
        jobs=[dg.define_asset_job("train_job", executor_def=dg.multiprocess_executor)],
        resources={"training": dg.PipesSubprocessClient()},
    ).resolve_job_def("train_job")


def main() -> None:
    """Train for ever, in this process or (second argument ``multiprocess``) in a step process of Dagster's."""
    root = Path(sys.argv[1])
    (root / "dagster").mkdir(exist_ok=True)
    instance = dg.DagsterInstance.local_temp(str(root / "dagster"))
    if sys.argv[2] == "multiprocess":
        dg.execute_job(dg.reconstructable(endless_job), instance=instance, raise_on_error=True)
    else:
        dg.materialize(
            [training_asset(root / "job", epochs=1_000_000, patience=0)],
            instance=instance,
            resources={"training": dg.PipesSubprocessClient()},
        )


if __name__ == "__main__":
    main()
