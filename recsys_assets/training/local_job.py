"""A training job on this machine: the ``/opt/ml`` tree laid out in a folder, and the command that runs it.

Put what a launcher of local jobs needs here. Keep Dagster out: whoever holds a Pipes client runs the command.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import recsys_assets
from recsys_assets.sagemaker.paths import SageMakerPaths
from recsys_assets.training.hyperparameters import job_hyperparameters
from recsys_assets.training.train import INTERACTIONS_CHANNEL, METRICS_FILE, PRODUCTS_CHANNEL

ENVIRONMENT: Mapping[str, str] = {
    # Waiting OpenMP threads sleep. By default they spin, and on cores shared with other steps of the run that makes a
    # training of two threads many times slower than one of one.
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True)
class PreparedJob:
    """What to run: ``pipes.run(context=context, command=job.command, env=job.env)``, or `subprocess.run`."""

    command: list[str]
    env: dict[str, str]


@dataclass(frozen=True)
class LocalTrainingJob:
    """A job under ``root``, which it has to itself.

    Its checkpoints outlive preparation: an interrupted job that is prepared again with the same data and parameters
    goes on where it stopped; with others it starts afresh.
    """

    root: Path

    @property
    def paths(self) -> SageMakerPaths:
        """Where the job's files lie."""
        return SageMakerPaths(self.root)

    def prepare(
        self,
        model: str,
        parameters: Mapping[str, Any],
        interactions: pa.Table,
        products: pa.Table,
        as_of: datetime,
        git_revision: str | None = None,
    ) -> PreparedJob:
        """Lay out inputs and configuration as SageMaker would; hyper-parameters as text, tables as Parquet.

        Args:
            model: name of the trainer; ``parameters`` its hyper-parameters, JSON-able.
            interactions, products: canonical tables; further columns are ignored by ``train``.
            as_of: aware; interactions at or after it are ignored by ``train``.

        Raises:
            ValueError: ``as_of`` has no time zone.
        """
        texts = job_hyperparameters(model, parameters, as_of, git_revision)
        paths = self.paths
        for channel, table in ((INTERACTIONS_CHANNEL, interactions), (PRODUCTS_CHANNEL, products)):
            paths.channel(channel).mkdir(parents=True, exist_ok=True)
            _replace_table(table, paths.channel(channel) / "part-0.parquet")
        channel_config = {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
        channels = {channel: channel_config for channel in (INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL)}
        paths.hyperparameters.parent.mkdir(parents=True, exist_ok=True)
        _replace_json(paths.hyperparameters, texts)
        _replace_json(paths.input_data_config, channels)
        _replace_json(paths.resource_config, {"current_host": "algo-1", "hosts": ["algo-1"]})
        return PreparedJob(command=self.command, env=self.environment)

    @property
    def command(self) -> list[str]:
        """The program, stopping also when the process that launched it is killed outright."""
        root = str(self.root.resolve())
        return [sys.executable, "-m", "recsys_assets.training.train", "--root", root, "--exit-with-parent"]

    @property
    def environment(self) -> dict[str, str]:
        """Variables to add to the launching process's own."""
        # The program must be found whatever the working directory, installed or run from a checkout.
        return {**ENVIRONMENT, "PYTHONPATH": str(Path(recsys_assets.__file__).resolve().parents[1])}

    def metrics(self) -> dict[str, Any]:
        """``metrics.json`` of the finished job. Raises ``FileNotFoundError`` when it has not finished."""
        content: dict[str, Any] = json.loads((self.paths.output_data / METRICS_FILE).read_text())
        return content


def _replace_table(table: pa.Table, target: Path) -> None:
    partial = target.with_name(f"_{target.name}")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(target)


def _replace_json(target: Path, content: Mapping[str, Any]) -> None:
    partial = target.with_name(f"_{target.name}")
    partial.write_text(json.dumps(content, indent=2))
    partial.replace(target)
