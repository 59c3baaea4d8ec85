"""The steps of a benchmark in order: tune, choose, fit, write lists; only then judge on what came after."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lambda_api.recommender.contract import Recommender
from recsys_assets.measurement.metrics import FloatArray
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import TRAINERS, make_trainer
from recsys_assets.tuning.search import OnTrial, TuningResult, common_scores
from recsys_assets.tuning.zoo_tuning import local_search, tune_models
from recsys_deploy.benchmark.files import read_shop
from recsys_deploy.benchmark.options import BenchmarkError, BenchmarkOptions, draws_at_random, settled_parameters
from recsys_deploy.benchmark.protocols import BenchmarkProtocol, open_protocol, recommend_to_all
from recsys_deploy.benchmark.recommendations import write_recommendations
from recsys_deploy.benchmark.tuning_progress import Display, TuningProgress
from recsys_deploy.model_choice import models_to_try

TUNING_FOLDS = 3
"""Parameters that win on one window are often a fluke of that window."""

PLAIN_FOLDS = 1
"""Without tuning only the model is chosen; one window does, and every model is fitted twice instead of four times."""


@dataclass(frozen=True)
class ModelResult:
    """One model of the benchmark.

    Attributes:
        name: in the zoo.
        tuning: what was tried; its best trial holds the parameters used.
        chosen_by: mean NDCG over the folds on which every model was judged; the highest is chosen.
        metrics: of `BenchmarkProtocol.judge`, per shopper or position; ``None`` where nobody can be judged.
        fit_seconds: of fitting on everything before the cut; NaN where that failed.
        seeds: mean NDCG of one fit per seed, the first being that of ``metrics``; one where nothing is drawn, none
            where nobody can be judged.
    """

    name: str
    tuning: TuningResult = field(repr=False)
    chosen_by: float
    metrics: Mapping[str, FloatArray] | None = field(repr=False)
    fit_seconds: float
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True)
class BenchmarkOutcome:
    """What came out.

    Attributes:
        chosen: the model whose lists were written.
        models: those that could be fitted, in the order of the zoo.
        left_out: name -> why, for the others.
        notes: what a reader of the table should know.
        description: of protocol and data.
        shoppers, rows: of the file written.
        seconds: wall time of everything.
    """

    chosen: str
    models: tuple[ModelResult, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    description: str
    shoppers: int
    rows: int
    seconds: float


OnStart = Callable[[datetime, datetime], OnTrial]
"""Given the period that is learned from, a receiver of every trial (`recsys_assets.tuning.experiment_runs`)."""


def run_benchmark(options: BenchmarkOptions, display: Display, record: OnStart | None = None) -> BenchmarkOutcome:
    """Run a benchmark and write ``options.out``.

    The file is written before anything at or after the cut is judged, so that nothing there can bear on the choice.

    Raises:
        SourceError: a file cannot be read.
        BenchmarkError: the benchmark cannot be run as asked, or no model can be fitted.
    """
    began = time.perf_counter()
    shop = read_shop(options.interactions, options.products, options.users)
    for note in shop.notes:
        display.note(note)
    protocol = open_protocol(shop, options)
    chosen_names, slow = models_to_try(options.models, tuple(TRAINERS), protocol.past_events)
    left_out = {name: "slow on a log of this size; name it with --models to include it" for name in slow}
    tuned = _tune_all(options, protocol, chosen_names, left_out, display, record)
    data = protocol.data()
    fitted = _fit_best(tuned, data, left_out, display)
    shoppers, rows = _write(options, protocol, fitted.recommender, display)
    results = _judge_all(options, protocol, tuned, data, fitted, left_out, display)
    notes = shop.notes + ((f"no figures after the cut: {protocol.cannot_judge}",) if protocol.cannot_judge else ())
    return BenchmarkOutcome(
        chosen=fitted.name,
        models=results,
        left_out=left_out,
        notes=notes,
        description=protocol.description,
        shoppers=shoppers,
        rows=rows,
        seconds=time.perf_counter() - began,
    )


@dataclass(frozen=True)
class _Fitted:
    name: str
    recommender: Recommender = field(repr=False)
    seconds: float


def _tune_all(
    options: BenchmarkOptions,
    protocol: BenchmarkProtocol,
    models: Sequence[str],
    left_out: dict[str, str],
    display: Display,
    record: OnStart | None,
) -> dict[str, TuningResult]:
    folds = protocol.folds(TUNING_FOLDS if options.tuned else PLAIN_FOLDS)
    progress = TuningProgress(display, None if record is None else record(*_period(protocol.data())))

    def make(model: str, parameters: Mapping[str, Any]) -> Trainer:
        return make_trainer(model, {**settled_parameters(model, options), **parameters})

    tuning = tune_models(
        models,
        local_search(folds, make, options.seed, options.k),
        progress.next_model,
        trials=options.trials,
        seconds=options.tuning_minutes * 60 if options.tuned else None,
        kinds_of_interaction=protocol.kinds,
        on_refusal=lambda name, why: display.note(f"{name} left out: {why}"),
    )
    progress.end()
    left_out |= tuning.left_out
    if not tuning.found:
        raise BenchmarkError(
            f"{options.interactions}: no model can be fitted on what lies before the test; "
            + "; ".join(f"{name}: {why}" for name, why in left_out.items())
        )
    return dict(tuning.found)


def _further_seeds(
    options: BenchmarkOptions,
    protocol: BenchmarkProtocol,
    name: str,
    tuning: TuningResult,
    data: TrainingData,
    display: Display,
) -> tuple[float, ...]:
    """Mean NDCG of fits with the same parameters and other seeds."""
    if options.seeds == 1:
        return ()
    advance, found = display.step(f"{name} with other seeds", options.seeds - 1), []
    for further in range(1, options.seeds):
        trainer = make_trainer(name, {**tuning.best.parameters, "seed": options.seed + further})
        metrics = protocol.judge(name, trainer.fit(data), options.k, lambda done, most: None)
        assert metrics is not None  # the first fit was judged
        found.append(float(metrics["ndcg"].mean()))
        advance(further, "")
    return tuple(found)


def _fit_best(
    tuned: Mapping[str, TuningResult], data: TrainingData, left_out: dict[str, str], display: Display
) -> _Fitted:
    """The model that did best on the folds, fitted on everything before the cut; the next one where it cannot be."""
    scores = common_scores(tuned.values())
    for name in sorted(tuned, key=lambda model: -scores[model]):
        if fitted := _fit(name, tuned[name], data, left_out, display):
            return fitted
    raise BenchmarkError(f"no model can be fitted on everything before the cut: {left_out}")


def _fit(
    name: str, tuning: TuningResult, data: TrainingData, left_out: dict[str, str], display: Display
) -> _Fitted | None:
    """The best trial's model on everything before the cut; ``None`` and a reason in ``left_out`` where it refuses."""
    advance = display.step(f"fitting {name}", 1)
    began = time.perf_counter()
    try:
        recommender = make_trainer(name, tuning.best.parameters).fit(data)
    except ValueError as error:
        left_out[name] = str(error)
        display.note(f"{name} left out: {error}")
        return None
    seconds = time.perf_counter() - began
    advance(1, "")
    return _Fitted(name, recommender, seconds)


def _write(
    options: BenchmarkOptions, protocol: BenchmarkProtocol, recommender: Recommender, display: Display
) -> tuple[int, int]:
    histories, exclude = protocol.shoppers()
    advance = display.step("recommending", len(histories))
    lists = recommend_to_all(recommender, histories, exclude, options.k, lambda done, _: advance(done, ""))
    rows = write_recommendations(options.out, histories.user_ids, lists, recommender.products)
    return len(histories), rows


def _judge_all(
    options: BenchmarkOptions,
    protocol: BenchmarkProtocol,
    tuned: Mapping[str, TuningResult],
    data: TrainingData,
    best: _Fitted,
    left_out: dict[str, str],
    display: Display,
) -> tuple[ModelResult, ...]:
    results = []
    scores = common_scores(tuned.values())
    for name, tuning in tuned.items():
        if name in left_out:
            continue
        fitted = best if name == best.name else _fit(name, tuning, data, left_out, display)
        if fitted is None:
            continue
        advance = display.step(f"judging {name}", 1)
        metrics = protocol.judge(name, fitted.recommender, options.k, lambda done, most: None)
        advance(1, "")
        seeds: tuple[float, ...] = () if metrics is None else (float(metrics["ndcg"].mean()),)
        if seeds and draws_at_random(name):
            seeds += _further_seeds(options, protocol, name, tuning, data, display)
        results.append(ModelResult(name, tuning, scores[name], metrics, fitted.seconds, seeds))
    return tuple(results)


def _period(data: TrainingData) -> tuple[datetime, datetime]:
    return datetime.fromtimestamp(int(data.timestamp.min()), UTC), datetime.fromtimestamp(data.as_of, UTC)
