"""The searches of several models, one after the other, on the same folds and within one budget of time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from recsys_assets.training.search_spaces import SearchSpace, search_space
from recsys_assets.tuning.folds import FoldTask
from recsys_assets.tuning.search import Budget, MakeTrainer, OnTrial, TuningResult, tune

LEAST_SECONDS = 1.0

OnModel = Callable[[str, int], OnTrial]
"""Given a model's name and the highest number of its trials, returns the receiver of its trials."""

OnRefusal = Callable[[str, str], None]
"""Receives the name of a model that refuses the data, and the reason."""

Search = Callable[[str, Budget, SearchSpace, OnTrial], TuningResult]
"""Searches one model's space within a budget; raises ``ValueError`` when the model refuses the data."""


@dataclass(frozen=True)
class ZooTuning:
    """The results of tuning several models.

    Attributes:
        found: by model, in the order asked for.
        left_out: name -> reason, for models that refuse the data even with their defaults.
    """

    found: Mapping[str, TuningResult] = field(repr=False)
    left_out: Mapping[str, str]


def local_search(folds: Sequence[FoldTask], make: MakeTrainer, seed: int, k: int) -> Search:
    """`tune` on ``folds`` in this process. Raises ``ValueError`` when there are none."""
    if not folds:
        raise ValueError("tuning needs at least one fold; give it a longer log or shorter windows")

    def search(name: str, budget: Budget, space: SearchSpace, on_trial: OnTrial) -> TuningResult:
        return tune(name, folds, budget, seed, k=k, space=space, make=make, on_trial=on_trial)

    return search


def tune_models(
    models: Sequence[str],
    search: Search,
    on_model: OnModel,
    *,
    trials: int,
    seconds: float | None,
    kinds_of_interaction: int = 2,
    on_refusal: OnRefusal | None = None,
) -> ZooTuning:
    """``search`` each of ``models`` with at most ``trials`` trials, all of them in about ``seconds``.

    Time left over by a model goes to those after it, so name the quick ones first. The defaults of every model are
    evaluated in any case; with ``trials`` of 1, nothing else is. Equal arguments give equal trials, as far as time
    allows both to get.

    Args:
        seconds: ``None`` for no limit.
        kinds_of_interaction: in the log; see `search_space`.

    Raises:
        ValueError: fewer than 1 trial.
    """
    found: dict[str, TuningResult] = {}
    left_out: dict[str, str] = {}
    deadline = None if seconds is None else time.perf_counter() + seconds
    for position, name in enumerate(models):
        share = None
        if deadline is not None:
            share = max((deadline - time.perf_counter()) / (len(models) - position), LEAST_SECONDS)
        space = search_space(name, kinds_of_interaction) if trials > 1 else {}
        budget = Budget(trials, share)
        on_trial = on_model(name, trials if space else 1)
        try:
            found[name] = search(name, budget, space, on_trial)
        except ValueError as error:
            # Raised by a trainer for data that it cannot learn from; other models may be able to.
            left_out[name] = str(error)
            if on_refusal is not None:
                on_refusal(name, str(error))
    return ZooTuning(found, left_out)
