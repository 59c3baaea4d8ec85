"""Records trials in the registry as experiment runs."""

from lambda_api.recommender.bundle import DataWindow
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import VALIDATION_NDCG, ExperimentRun, RunStatus
from recsys_assets.tuning.search import OnTrial, Trial, TrialState


def as_experiment_run(trial: Trial, run_id: str, data_window: DataWindow, git_revision: str) -> ExperimentRun:
    """``trial`` of the tuning ``run_id`` (unique per tuning) as the registry stores it."""
    metrics = {f"fold_{number}_ndcg": score for number, score in trial.fold_scores.items()}
    if trial.state is TrialState.FINISHED:
        metrics[VALIDATION_NDCG] = trial.score
    return ExperimentRun(
        id=f"{run_id}:{trial.model}:trial-{trial.number}",
        model=trial.model,
        parameters=trial.parameters,
        metrics=metrics,
        data_window=data_window,
        git_revision=git_revision,
        started_at=trial.started_at,
        duration_s=trial.seconds,
        status=RunStatus.FAILED if trial.state is TrialState.FAILED else RunStatus.FINISHED,
    )


def recorder(registry: ModelRegistry, run_id: str, data_window: DataWindow, git_revision: str) -> OnTrial:
    """A callback for `tune` that records every trial as it ends; a tuning repeated under its id replaces its runs."""

    def record(trial: Trial, most: int) -> None:
        registry.log_run(as_experiment_run(trial, run_id, data_window, git_revision))

    return record
