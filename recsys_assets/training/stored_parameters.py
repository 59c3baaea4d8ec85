"""Finds the best recorded trial of a model's newest tuning."""

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
    """Values found by tuning, of the parameters in the model's search space; the others keep their defaults.

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
    """The best trial of the newest usable tuning of ``model``, the earliest of equal ones; ``None`` without one.

    Usable is a tuning of the same kind of list (with or without repeats) that used no data from ``before`` (aware, UTC)
    on, so that the window by which models are chosen afterwards is new to all of them. Scores are compared within one
    tuning and one revision of the code only.
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
