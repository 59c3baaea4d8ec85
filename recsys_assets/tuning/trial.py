"""One trial of a tuning job as a program: hyper-parameters in, scores of folds out, under the ``/opt/ml`` contract.

    python -m recsys_assets.tuning.trial [train] [--root /opt/ml]

Scores are printed as ``name=value;``, which SageMaker finds by the regular expressions of `metrics`. After every fold
the running mean is printed as the objective, so that a tuning job stops poor trials early by the same rule as the local
search. Exit codes: 0 done, 1 failed (reason in ``output/failure``).
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from recsys_assets.models.trainer import Trainer
from recsys_assets.sagemaker.paths import DONE, FAILED, JobError, SageMakerPaths, record_failure
from recsys_assets.schema import PRODUCTS, relevant_types
from recsys_assets.training.hyperparameters import job_hyperparameters, read_job
from recsys_assets.training.train import INTERACTIONS_CHANNEL, PRODUCTS_CHANNEL, interactions_with, read_channel
from recsys_assets.training.training_window import TRAINING_COLUMNS
from recsys_assets.tuning.folds import PastLog

OBJECTIVE: Final = "validation_ndcg"
_FIGURE: Final = r"=([0-9.]+(?:e-?\d+)?);"
_FOLDS, _LENGTH, _REPEATS = "trial_folds", "trial_k", "trial_allow_repeats"


@dataclass(frozen=True, slots=True)
class TrialQuestion:
    """The evaluation that all trials of a tuning share.

    Attributes:
        end: aware, UTC; all data precede it.
        folds: how many, at most.
        k: length of the lists.
        allow_repeats: as of `PastLog`.
    """

    end: datetime
    folds: int
    k: int
    allow_repeats: bool


def metrics(folds: int) -> dict[str, str]:
    """Name -> regular expression of every score that a trial may print."""
    return {OBJECTIVE: OBJECTIVE + _FIGURE, **{fold_metric(n): fold_metric(n) + _FIGURE for n in range(1, folds + 1)}}


def fold_metric(number: int) -> str:
    """Name of a fold's score."""
    return f"fold_{number}_ndcg"


def trial_hyperparameters(
    model: str, parameters: Mapping[str, Any], question: TrialQuestion, git_revision: str | None
) -> dict[str, str]:
    """Hyper-parameters of a trial as text: the inverse of `read_trial`."""
    asked = {_FOLDS: question.folds, _LENGTH: question.k, _REPEATS: question.allow_repeats}
    given = job_hyperparameters(model, parameters, question.end, git_revision)
    return {**given, **{name: json.dumps(value) for name, value in asked.items()}}


def read_trial(given: Mapping[str, Any]) -> tuple[Trainer, TrialQuestion]:
    """The trainer to try and its evaluation. Raises `JobError` naming what is missing or wrong."""
    missing = sorted({_FOLDS, _LENGTH, _REPEATS} - given.keys())
    if missing:
        raise JobError(f"hyper-parameter {', '.join(missing)} is missing; a trial needs it")
    try:
        folds, k, repeats = (json.loads(given[name]) for name in (_FOLDS, _LENGTH, _REPEATS))
    except ValueError as error:
        raise JobError(f"{_FOLDS}, {_LENGTH} and {_REPEATS} must be JSON: {error}") from error
    own = {name: value for name, value in given.items() if name not in (_FOLDS, _LENGTH, _REPEATS)}
    job = read_job(own)
    return job.trainer, TrialQuestion(job.as_of, int(folds), int(k), bool(repeats))


def run_trial(paths: SageMakerPaths) -> dict[int, float]:
    """Fit and evaluate on every fold, newest first, printing each score; returns them by fold.

    Raises:
        JobError: the trial is set up wrongly.
        ValueError: the data cannot carry the model, or the parameters are out of range.
    """
    paths.require_supported()
    trainer, question = read_trial(paths.read_config(paths.hyperparameters))
    events = read_channel(paths, INTERACTIONS_CHANNEL, interactions_with(TRAINING_COLUMNS))
    products = read_channel(paths, PRODUCTS_CHANNEL, PRODUCTS)
    past = PastLog(events, products, question.end, relevant_types(events), question.allow_repeats)
    scores: dict[int, float] = {}
    for task in sorted(past.fold_tasks(question.folds), key=lambda task: task.number, reverse=True):
        scores[task.number] = task.score(trainer.name, trainer.fit(task.data), question.k)
        print(
            f"{fold_metric(task.number)}={scores[task.number]!r}; {OBJECTIVE}={fmean(scores.values())!r};", flush=True
        )
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one trial; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="trial", description="Evaluate one set of hyper-parameters on folds of a log."
    )
    parser.add_argument("command", nargs="?", choices=["train"], help="SageMaker passes it to the image")
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="root of the job's folders")
    paths = SageMakerPaths(parser.parse_args(arguments).root)
    try:
        run_trial(paths)
    except ValueError as error:
        # A trainer refuses data or parameters; `managed_search` recognises that by this one name of all its classes.
        record_failure(ValueError(str(error)), paths.failure)
        return FAILED
    except Exception as error:  # noqa: BLE001
        # The platform's contract: any failure ends up in the failure file and in the exit code.
        record_failure(error, paths.failure)
        return FAILED
    return DONE


if __name__ == "__main__":
    sys.exit(main())
