"""What tuning found, found again: the best recorded trial of a model's newest tuning.

Put the choice among recorded trials here. Keep recording them (``experiment_runs``), the search (``search``) and what
else a training is given (``recsys_assets.training.parameter_choice``) out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import VALIDATION_NDCG, ExperimentRun, RunStatus
from recsys_assets.training.search_spaces import search_space

TUNING: Final = "tuning"
"""First word of the ids of tunings of this shop. Trials of a benchmark, perhaps of other files, have another."""


@dataclass(frozen=True)
class TunedParameters:
    """Values found by tuning, of what the model's search space names; all else is for the trainer's defaults.

    Attributes:
        parameters: hyper-parameters by name, JSON-able.
        score: mean NDCG over the folds of that tuning.
        run_id: of the recorded trial.
        data_end: aware, UTC; the tuning looked at nothing from here on.
    """

    parameters: Mapping[str, Any]
    score: float
    run_id: str
    data_end: datetime


def tuning_id(end: datetime, *, allow_repeats: bool, k: int, seed: int) -> str:
    """Id of the tuning on what lies before ``end`` (aware, UTC); one that is repeated replaces its trials."""
    return f"{_question(allow_repeats)}-{end:%Y%m%dT%H%M%S}-k{k}-seed{seed}"


def tuned_parameters(
    registry: ModelRegistry, model: str, before: datetime, *, allow_repeats: bool
) -> TunedParameters | None:
    """The best trial of the newest tuning of ``model``; the earliest of equals. ``None``: there is none to be used.

    Only tunings count that looked at nothing from ``before`` (aware, UTC) on, so that the window by which models are
    chosen afterwards is new to all of them, and that asked for the same kind of list. Scores of different tunings do
    not compare, nor do those of one tuning repeated with other code.
    """
    usable = [
        run
        for run in registry.list_runs(model)
        if run.id.startswith(f"{_question(allow_repeats)}-")
        and run.status is RunStatus.FINISHED
        and VALIDATION_NDCG in run.metrics
        and run.data_window.end <= before
    ]
    if not usable:
        return None
    newest = max(usable, key=lambda run: (run.data_window.end, run.started_at))
    together = [run for run in usable if _tuning_of(run) == _tuning_of(newest)]
    best = min(together, key=lambda run: (-run.metrics[VALIDATION_NDCG], run.started_at))
    varied = search_space(model)
    return TunedParameters(
        parameters={name: value for name, value in best.parameters.items() if name in varied},
        score=best.metrics[VALIDATION_NDCG],
        run_id=best.id,
        data_end=best.data_window.end,
    )


def _question(allow_repeats: bool) -> str:
    return f"{TUNING}-{'repeats' if allow_repeats else 'new'}"


def _tuning_of(run: ExperimentRun) -> tuple[str, str]:
    return run.id.split(":", 1)[0], run.git_revision
