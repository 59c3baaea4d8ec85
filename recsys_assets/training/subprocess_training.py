"""The ``train`` program as a process of its own on this machine, under Dagster Pipes.

Put the crossing of the process boundary here. Keep the protocol around it (``launched_training.py``) and the program
(``train.py``) out.
"""

from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from recsys_assets.training.launched_training import Fit
from recsys_assets.training.local_job import LocalTrainingJob


@dataclass(frozen=True)
class SubprocessLauncher:
    """Launches fits as processes under ``root``, one ``/opt/ml`` tree per model and cut."""

    root: Path
    client: dg.PipesSubprocessClient = field(default_factory=dg.PipesSubprocessClient)

    def fit(self, context: dg.AssetExecutionContext, fit: Fit) -> tuple[Path, dg.MaterializeResult[None]]:
        """See `Launcher.fit`."""
        # One tree per model and cut: a fit that goes on from its checkpoint must find its own.
        job = LocalTrainingJob(self.root / fit.label)
        prepared = job.prepare(fit.model, fit.parameters, fit.interactions, fit.products, fit.as_of, fit.git_revision)
        # Materialisations nobody reported must not be made up: without a report the program did not finish.
        finished = self.client.run(context=context, command=prepared.command, env=prepared.env)
        return job.paths.model, finished.get_materialize_result(implicit_materialization=False)
