"""The search over one model's space: seeded trials, evaluated on rolling-origin folds, poor ones stopped early.

The sampler is the tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter optimization",
NeurIPS 2011; multivariate form: Falkner et al., "BOHB", ICML 2018) of the Optuna library. Trial 0 is the model's
defaults, so the best trial is never worse than them on the folds.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from recsys_assets.models.trainer import Trainer
from recsys_assets.models.zoo import make_trainer
from recsys_assets.training.search_spaces import OneOf, Real, SearchSpace, search_space, text_of
from recsys_assets.tuning.folds import FoldTask

if TYPE_CHECKING:
    import optuna

RANDOM_TRIALS = 6
"""Random trials before the sampler starts to favour values that scored well."""

TRIALS_BEFORE_PRUNING = 3
"""Complete trials needed before one may be stopped early."""


class TrialState(StrEnum):
    """How a trial ended: evaluated on every fold, stopped after some, or refused by the model."""

    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"


class Stop(StrEnum):
    """What ended a search: all trials done, no time for another, or nothing to vary."""

    TRIALS = "trials"
    TIME = "time"
    NO_SPACE = "no space"


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to search.

    Attributes:
        trials: how many at most, the defaults included; at least 1.
        seconds: no trial is started that would probably end later; ``None`` for no limit. Trial 0 always runs; if its
            folds take longer, only the newest of them are used. A search cut short by time is reproducible only as far
            as both runs got.
    """

    trials: int
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"a budget needs at least 1 trial (the defaults), not {self.trials}")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"a budget's seconds must be above 0, or None for no limit; not {self.seconds}")

    def allows(self, done: int, elapsed: float) -> bool:
        """Whether to start another trial after ``done`` ones took ``elapsed`` seconds."""
        return done < self.trials and self.has_time(done, elapsed)

    def has_time(self, done: int, elapsed: float) -> bool:
        """Whether one more like the ``done`` ones that took ``elapsed`` seconds would end in time."""
        return done == 0 or self.seconds is None or elapsed + elapsed / done <= self.seconds


@dataclass(frozen=True)
class Trial:
    """One evaluated set of parameters.

    Attributes:
        model: name of the trainer.
        number: 0 for the defaults, then counting up.
        parameters: all hyper-parameters of the trainer, JSON-able.
        fold_scores: fold number -> mean NDCG@k over its users, for the folds it was evaluated on.
        state: how it ended.
        started_at: aware, UTC.
        seconds: wall time. Of two equal searches only this and ``started_at`` differ.
        problem: why the model refused parameters or data; empty otherwise.
    """

    model: str
    number: int
    parameters: Mapping[str, Any]
    fold_scores: Mapping[int, float]
    state: TrialState
    started_at: datetime = field(compare=False)
    seconds: float = field(compare=False)
    problem: str = ""

    @property
    def score(self) -> float:
        """Mean over the folds it was evaluated on; comparable between finished trials only. NaN without any fold."""
        return float(np.mean(list(self.fold_scores.values()))) if self.fold_scores else math.nan


@dataclass(frozen=True)
class TuningResult:
    """The result of a search.

    Attributes:
        model: name of the trainer.
        trials: in order; ``trials[0]`` is the defaults.
        best: the finished trial with the highest score, the earliest of equal ones.
        stopped_by: why the search ended.
    """

    model: str
    trials: tuple[Trial, ...] = field(repr=False)
    best: Trial
    stopped_by: Stop

    @classmethod
    def of(cls, trials: Sequence[Trial], budget: Budget, space: SearchSpace) -> Self:
        """The result of ``trials`` of one model, the first of which is finished."""
        finished = [trial for trial in trials if trial.state is TrialState.FINISHED]
        stopped_by = Stop.NO_SPACE if not space else Stop.TRIALS if len(trials) == budget.trials else Stop.TIME
        return cls(trials[0].model, tuple(trials), max(finished, key=lambda trial: trial.score), stopped_by)

    @property
    def seconds(self) -> float:
        """Wall time of all trials."""
        return sum(trial.seconds for trial in self.trials)


MakeTrainer = Callable[[str, Mapping[str, Any]], Trainer]
OnTrial = Callable[[Trial, int], None]
"""Receives each trial as it ends, and how many there will be at most."""


def tune(
    model: str,
    folds: Sequence[FoldTask],
    budget: Budget,
    seed: int = 0,
    *,
    k: int = 10,
    space: SearchSpace | None = None,
    make: MakeTrainer = make_trainer,
    on_trial: OnTrial | None = None,
) -> TuningResult:
    """Search the parameters of ``model`` with the highest mean NDCG@``k`` over ``folds``.

    A trial visits the newest fold first, because it is most similar to the future. After each fold it is stopped when
    its best running mean is below the median of the running means of finished trials at that point (median stopping
    rule; Golovin et al., "Google Vizier", KDD 2017).

    Args:
        model: name, for ``make``.
        folds: at least one, numbered in time order.
        budget: trials and time.
        seed: of the sampler; equal arguments give equal trials, as far as time allows both to get.
        k: length of the lists.
        space: by default the whole `search_space` of the model.
        make: trainer from name and parameters; raises ``ValueError`` for values out of range.
        on_trial: see `OnTrial`.

    Raises:
        ValueError: no folds, a default outside the space, or the model refuses the
            data with its defaults. With other parameters a refusal is a failed trial.
    """
    if not folds:
        raise ValueError("tuning needs at least one fold; give it a longer log or shorter windows")
    space = search_space(model) if space is None else space
    tasks = sorted(folds, key=lambda fold: fold.number, reverse=True)
    sampler = _Sampler(space, make(model, {}).parameters(), seed)
    trials: list[Trial] = []
    most = budget.trials if space else 1
    began = time.perf_counter()
    while len(trials) < most and budget.allows(len(trials), time.perf_counter() - began):
        trial = _run(model, len(trials), tasks, k, make, sampler, budget)
        if trial.number == 0 and trial.state is TrialState.FAILED:
            raise ValueError(trial.problem)
        if trial.number == 0:
            tasks = tasks[: len(trial.fold_scores)]
        trials.append(trial)
        if on_trial is not None:
            on_trial(trial, most)
    return TuningResult.of(trials, budget, space)


def _run(
    model: str,
    number: int,
    tasks: Sequence[FoldTask],
    k: int,
    make: MakeTrainer,
    sampler: "_Sampler",
    budget: Budget,
) -> Trial:
    started_at, began = datetime.now(UTC), time.perf_counter()
    chosen = sampler.ask(number)
    scores: dict[int, float] = {}
    state, problem = TrialState.FINISHED, ""
    parameters: Mapping[str, Any] = chosen
    try:
        trainer = make(model, chosen)
        parameters = trainer.parameters()
        for task in tasks:
            scores[task.number] = task.score(model, trainer.fit(task.data), k)
            if number == 0 and not budget.has_time(len(scores), time.perf_counter() - began):
                break
            if len(scores) < len(tasks) and sampler.is_poor(list(scores.values())):
                state = TrialState.PRUNED
                break
    except ValueError as error:
        # Trainers raise it for what they cannot do with data or values; `tune` raises it again for the defaults.
        state, problem = TrialState.FAILED, str(error)
    sampler.tell(state, scores)
    return Trial(model, number, parameters, scores, state, started_at, time.perf_counter() - began, problem)


class _Sampler:
    """Optuna's sampler and pruner, one trial at a time."""

    def __init__(self, space: SearchSpace, defaults: Mapping[str, Any], seed: int) -> None:
        self._space = space
        self._defaults = {name: defaults[name] for name in space}
        for name, dimension in space.items():
            if self._defaults[name] not in dimension:
                raise ValueError(
                    f"the default {name}={self._defaults[name]!r} lies outside its search space {dimension}; "
                    "widen the space, so that the search can start from the defaults"
                )
        self._study = _study(seed) if space else None
        self._trial: optuna.Trial | None = None

    def ask(self, number: int) -> dict[str, Any]:
        """Parameters of the next trial; the defaults for trial 0."""
        if self._study is None:
            return {}
        if number == 0:
            self._study.enqueue_trial({name: self._plain(name, value) for name, value in self._defaults.items()})
        self._trial = self._study.ask({name: _distribution(dimension) for name, dimension in self._space.items()})
        return {
            name: json.loads(value) if isinstance(self._space[name], OneOf) else value
            for name, value in self._trial.params.items()
        }

    def is_poor(self, scores: list[float]) -> bool:
        """Whether to stop the trial early, after folds with these scores."""
        if self._trial is None:
            return False
        self._trial.report(float(np.mean(scores)), len(scores))
        return self._trial.should_prune()

    def tell(self, state: TrialState, scores: Mapping[int, float]) -> None:
        """Record the end of the trial."""
        from optuna.trial import TrialState as Told

        if self._study is None or self._trial is None:
            return
        if state is TrialState.FINISHED:
            self._study.tell(self._trial, float(np.mean(list(scores.values()))))
        else:
            self._study.tell(self._trial, state=Told.PRUNED if state is TrialState.PRUNED else Told.FAIL)

    def _plain(self, name: str, value: Any) -> Any:
        return text_of(value) if isinstance(self._space[name], OneOf) else value


def common_scores(results: Iterable[TuningResult]) -> dict[str, float]:
    """Mean NDCG of each result's best trial over the folds that all of them have in common, by model.

    Every search starts with the newest fold, so there is at least that one.
    """
    best = {result.model: result.best.fold_scores for result in results}
    common = set.intersection(*(set(scores) for scores in best.values())) if best else set()
    return {model: float(np.mean([scores[number] for number in sorted(common)])) for model, scores in best.items()}


def _study(seed: int) -> "optuna.Study":
    import optuna

    # Optuna would log every trial on stderr; the callers show progress themselves.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING),
    )


def _distribution(dimension: Any) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, OneOf):
        return CategoricalDistribution(dimension.texts)
    if isinstance(dimension, Real):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return IntDistribution(dimension.low, dimension.high, log=dimension.log)
