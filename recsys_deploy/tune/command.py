"""``recsys tune``: the search on the lake's own past, with progress, records in the registry and a final table."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lambda_api.recommender.bundle import DataWindow
from lambda_api.settings import Settings, parse_tags
from recsys_assets.code_revision import git_revision
from recsys_assets.data_gate import GateClosed
from recsys_assets.lake import Lake
from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import make_trainer
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.sagemaker.job import JobPlaces
from recsys_assets.sagemaker.settings import hardware_of, placement_of
from recsys_assets.schema import relevant_types
from recsys_assets.splits.assets import MAX_FOLDS, load_split
from recsys_assets.training.parameter_choice import settled_parameters
from recsys_assets.training.search_spaces import SearchSpace
from recsys_assets.training.stored_parameters import tuning_id
from recsys_assets.training.training_window import interactions_before
from recsys_assets.tuning.experiment_runs import recorder
from recsys_assets.tuning.folds import PastLog
from recsys_assets.tuning.search import Budget, OnTrial, Stop, TrialState, TuningResult
from recsys_assets.tuning.trial import TrialQuestion
from recsys_assets.tuning.zoo_tuning import Search, ZooTuning, local_search, tune_models
from recsys_deploy.benchmark.table import ConsoleDisplay
from recsys_deploy.benchmark.tuning_progress import TuningProgress
from recsys_deploy.model_choice import models_to_try
from recsys_deploy.tune.options import Place, TuneError, TuneOptions


@dataclass(frozen=True)
class TuneOutcome:
    """The result of a tuning.

    Attributes:
        id: of the tuning, first part of the ids of its experiment runs.
        tuning: of every model.
        folds: number of folds.
        end: aware, UTC; no data from here on were used.
        skipped: models left out because they are slow on a log of this size.
        seconds: wall time of everything.
    """

    id: str
    tuning: ZooTuning = field(repr=False)
    folds: int
    end: datetime
    skipped: tuple[str, ...]
    seconds: float


def run_in_terminal(
    options: TuneOptions,
    known: Sequence[str],
    settings: Settings,
    lake: Lake,
    registry: ModelRegistry,
    console: Console,
) -> TuneOutcome:
    """Tune, show progress, print the table. Errors as of `tune_shop`."""
    with ConsoleDisplay(console).live() as display:
        outcome = tune_shop(options, known, settings, lake, registry, display)
    print_outcome(console, outcome, settings)
    return outcome


def tune_shop(
    options: TuneOptions,
    known: Sequence[str],
    settings: Settings,
    lake: Lake,
    registry: ModelRegistry,
    display: ConsoleDisplay,
) -> TuneOutcome:
    """Search on rolling-origin folds before the validation window and record every trial as it ends.

    The validation window, by which models are chosen later, and the test window are not used. Repeated on the same lake
    with the same seed, it tries the same parameters and replaces its records.

    Args:
        known: the models that the graph trains.

    Raises:
        LakeError: there is no split yet.
        TuneError: the data is poisoned, or too little for one fold.
        JobFailed: trials run on SageMaker and a job failed.
    """
    began = time.perf_counter()
    split = load_split(lake)
    end = split.validation_start
    try:
        events = interactions_before(lake, end)
        past = PastLog(events, lake.read("products"), end, relevant_types(events), settings.allow_repeats)
        folds = past.fold_tasks(MAX_FOLDS)
    except (GateClosed, ValueError) as error:
        raise TuneError(f"{lake.uri('interactions')} cannot be tuned on: {error}") from error
    names, skipped = models_to_try(options.models, known, events.num_rows)
    run_id = tuning_id(end, allow_repeats=settings.allow_repeats, k=settings.k, seed=options.seed)
    record = recorder(registry, run_id, DataWindow(start=split.train_start, end=end), git_revision())

    progress = TuningProgress(display, record)
    if options.place is Place.SAGEMAKER:
        search = managed_search(options, settings, past, display)
    else:
        search = local_search(folds, partial(_make, settings), options.seed, settings.k)
    tuning = tune_models(
        names,
        search,
        progress.next_model,
        trials=options.trials,
        seconds=options.minutes * 60,
        kinds_of_interaction=len(pc.unique(events["interaction_type"])),
    )
    progress.end()
    return TuneOutcome(run_id, tuning, len(folds), end, skipped, time.perf_counter() - began)


def _make(settings: Settings, model: str, parameters: Mapping[str, Any]) -> Trainer:
    return make_trainer(model, {**settled_parameters(model, settings), **parameters})


def managed_search(options: TuneOptions, settings: Settings, past: PastLog, display: ConsoleDisplay) -> Search:
    """The search as SageMaker jobs.

    Raises:
        JobFailed: no AWS region is configured.
    """
    # boto3 takes a tenth of a second to import; a laptop never needs it.
    from recsys_assets.sagemaker.client import open_jobs
    from recsys_assets.tuning.managed_search import ManagedSearch

    managed = ManagedSearch(
        jobs=open_jobs(),
        places=JobPlaces(settings.training_uri),
        placement=placement_of(settings),
        hardware=hardware_of(settings),
        interactions=past.interactions,
        products=past.products,
        question=TrialQuestion(past.end, MAX_FOLDS, settings.k, past.allow_repeats),
        settled=lambda model: settled_parameters(model, settings),
        git_revision=git_revision() or "",
        parallel=options.parallel,
        log=lambda level, line: display.note(line),
        tags=parse_tags(settings.training_tags),
    )

    def search(name: str, budget: Budget, space: SearchSpace, on_trial: OnTrial) -> TuningResult:
        return managed.search(name, budget, options.seed, space, on_trial)

    return search


def print_outcome(console: Console, outcome: TuneOutcome, settings: Settings) -> None:
    """Print for every model the scores of its defaults and best trial, and the parameters in which they differ."""
    table = Table(
        title=f"{outcome.folds} folds before {outcome.end:%Y-%m-%d %H:%M} UTC, lists of {settings.k}, "
        f"{'repeats allowed' if settings.allow_repeats else 'new products only'}"
    )
    for heading in ("model", "defaults", "best", "trials", "s", "what the best one changes"):
        table.add_column(heading, justify="left" if heading[0] in "mw" else "right")
    for name, result in outcome.tuning.found.items():
        table.add_row(
            name,
            f"{result.trials[0].score:.4f}",
            f"[bold]{result.best.score:.4f}[/]" if result.best.number else f"{result.best.score:.4f}",
            _counts(result),
            f"{result.seconds:.0f}",
            escape(_changes(result)),
        )
    console.print(table)
    for name, why in outcome.tuning.left_out.items():
        console.print(f"[yellow]left out[/] {name}: {escape(why)}")
    for name in outcome.skipped:
        console.print(f"[yellow]left out[/] {name}: slow on a log of this size; name it with --models")
    console.print(
        f"recorded as {outcome.id} in {outcome.seconds:.0f} s; trainings use it with RECSYS_PARAMETERS=tuned "
        "(`recsys runs` lists every trial)"
    )


def _counts(result: TuningResult) -> str:
    early = sum(trial.state is not TrialState.FINISHED for trial in result.trials)
    text = f"{len(result.trials)}, {early} stopped early" if early else str(len(result.trials))
    return f"{text}, time was up" if result.stopped_by is Stop.TIME else text


def _changes(result: TuningResult) -> str:
    """Name and value of every hyper-parameter in which the best trial differs from the defaults."""
    before = result.trials[0].parameters
    changed = {name: value for name, value in result.best.parameters.items() if value != before[name]}
    return ", ".join(f"{name} {_short(value)}" for name, value in changed.items()) or "nothing"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
