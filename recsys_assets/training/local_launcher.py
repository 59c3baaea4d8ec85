"""The ``train`` program as a process of its own on this machine, under Dagster Pipes."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

import recsys_assets
from lambda_api.atomic_files import replaced_file, write_text
from recsys_assets.sagemaker.paths import SageMakerPaths
from recsys_assets.training.fitting import Fit, Fitted, read_fitted
from recsys_assets.training.train import INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL

ENVIRONMENT: Mapping[str, str] = {
    # Waiting OpenMP threads sleep. By default they spin, and on cores shared with other steps of the run that makes a
    # training of two threads many times slower than one of one.
    "OMP_WAIT_POLICY": "PASSIVE",
    # The program must be found whatever the working directory, installed or run from a checkout.
    "PYTHONPATH": str(Path(recsys_assets.__file__).resolve().parents[1]),
}


@dataclass(frozen=True)
class SubprocessLauncher:
    """Launches fits as processes under ``root``, in one ``/opt/ml`` tree per model and cut."""

    root: Path
    client: dg.PipesSubprocessClient = field(default_factory=dg.PipesSubprocessClient)

    def fit(self, context: dg.AssetExecutionContext, fit: Fit) -> Fitted:
        """See `Launcher.fit`."""
        folder = self.root / fit.label
        finished = self.client.run(context=context, command=prepare_job(folder, fit), env=dict(ENVIRONMENT))
        # A materialisation that nobody reported must not be made up: without a report the program did not finish.
        result = finished.get_materialize_result(implicit_materialization=False)
        return read_fitted(SageMakerPaths(folder), result.metadata or {})


def prepare_job(root: Path, fit: Fit) -> list[str]:
    """Lay out a job under ``root`` as SageMaker would, and return the command that runs it, with `ENVIRONMENT`.

    Checkpoints outlive this: an interrupted job that is prepared again with the same data and parameters resumes where
    it stopped; with others it starts from the beginning.

    Raises:
        ValueError: ``fit.as_of`` has no time zone.
    """
    paths = SageMakerPaths(root)
    texts = fit.hyperparameters
    for channel, table in ((INTERACTIONS_CHANNEL, fit.interactions), (PRODUCTS_CHANNEL, fit.products)):
        with replaced_file(paths.channel(channel) / "part-0.parquet") as file:
            pq.write_table(table, file, compression="zstd")
    write_text(paths.hyperparameters, json.dumps(texts, indent=2))
    # The program ends also when the process that launched it is killed and cannot stop it.
    return [
        *(sys.executable, "-m", "recsys_assets.training.train"),
        *("--root", str(root.resolve()), "--exit-with-parent"),
    ]
