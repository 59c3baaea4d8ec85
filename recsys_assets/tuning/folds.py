"""Rolling-origin folds of a log: training data and the evaluation window that follows it.

A fold uses only what precedes its moments: neither the length of its window nor its catalogue depends on later data.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from recsys_assets.measurement.leave_one_out import LeaveOneOut, evaluate_leave_one_out
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task, evaluate
from recsys_assets.models.dataset import TrainingData
from recsys_assets.splits.temporal import Fold, most_folds, rolling_origin_folds
from recsys_assets.training.training_window import known_catalogue

LONGEST_WINDOW = timedelta(days=28)
WINDOW_SHARE = 12
"""A window is one twelfth of the time before the test, at most four weeks: long enough for most shoppers to return, and
short enough that products sold before it still sell in it."""

ENOUGH_USERS = 200
"""A window with fewer shoppers is doubled, because their mean would be too uncertain."""

LEAST_WINDOWS = 4
"""A window is at most one part in this many of the whole time, however few its shoppers."""

MOST_USERS = 4000
"""More shoppers make a trial slower without changing which parameters win."""


class FoldTask(Protocol):
    """What a trial is evaluated on: training data, and shoppers whose choices come after it."""

    @property
    def number(self) -> int:
        """1 for the oldest, counting up."""

    @property
    def data(self) -> TrainingData:
        """The training data."""

    def score(self, name: str, recommender: Recommender, k: int) -> float:
        """Mean NDCG@``k`` over the fold's shoppers."""


@dataclass(frozen=True)
class TimeFold:
    """A rolling-origin fold: ``data`` ends where the evaluation window of ``task`` begins."""

    fold: Fold
    data: TrainingData = field(repr=False)
    task: EvaluationTask = field(repr=False)

    @property
    def number(self) -> int:
        """Of the fold."""
        return self.fold.number

    def score(self, name: str, recommender: Recommender, k: int) -> float:
        """Mean NDCG@``k`` over the users of ``task``."""
        return float(evaluate(name, recommender, self.task, k).metrics["ndcg"].mean())


@dataclass(frozen=True)
class LeaveOneOutFold:
    """The single fold of leave-one-out: the target is every shopper's second-last item."""

    task: LeaveOneOut = field(repr=False)
    number: int = 1

    @property
    def data(self) -> TrainingData:
        """Every shopper's events before their target."""
        return self.task.training

    def score(self, name: str, recommender: Recommender, k: int) -> float:
        """Mean NDCG@``k`` over the evaluated shoppers."""
        return evaluate_leave_one_out(name, recommender, self.task, k).table((k,))[f"NDCG@{k}"]


@dataclass(frozen=True)
class PastLog:
    """Canonical tables before ``end``, cut into folds.

    Attributes:
        interactions: canonical interactions, all strictly before ``end``.
        products: canonical products.
        end: aware, UTC.
        relevant_types, allow_repeats: as in `EvaluationWindow`.
        most_users: shoppers evaluated per fold, at most; a fixed random sample (users come in SHA-256 order).
    """

    interactions: pa.Table = field(repr=False)
    products: pa.Table = field(repr=False)
    end: datetime
    relevant_types: frozenset[InteractionType]
    allow_repeats: bool = False
    most_users: int = MOST_USERS

    def fold_task(self, fold: Fold) -> TimeFold:
        """Data before ``fold.train_end`` and the shoppers of its test window; ``ValueError`` where there are none."""
        task = build_task(self.interactions, self.products, self._window(fold.test_start, fold.test_end))
        return TimeFold(fold, self.data_before(fold.train_end), first_users(task, self.most_users))

    def data_before(self, moment: datetime) -> TrainingData:
        """Everything a trainer may see at ``moment``: earlier interactions and the products that they name."""
        early = before(self.interactions, moment)
        return TrainingData.from_tables(early, catalogue_of(self.products, early), moment)

    def fold_tasks(self, wanted: int) -> list[TimeFold]:
        """At most ``wanted`` folds that end at ``end``, in time order, without those that have nobody to evaluate.

        The length of windows follows from `WINDOW_SHARE`; it is doubled while `ENOUGH_USERS` is not reached.

        Raises:
            ValueError: the log is too short for even one fold, or the last window has nobody to evaluate.
        """
        first = pc.min(self.interactions["timestamp"]).as_py()
        span = self.end - first
        window, longest = whole_days(min(LONGEST_WINDOW, span / WINDOW_SHARE)), span / LEAST_WINDOWS
        while window * 2 <= longest and self._users_in_last(window) < min(ENOUGH_USERS, self.most_users):
            window *= 2
        number = most_folds(first, self.end, window, wanted)
        if number == 0:
            raise ValueError(f"{span} of interactions are too short for one fold of {window}; bring in a longer log")
        folds = rolling_origin_folds(first, self.end, number, window)
        newest = self.fold_task(folds[-1])
        older = [self._if_anybody(fold) for fold in folds[:-1]]
        return [*(task for task in older if task is not None), newest]

    def _if_anybody(self, fold: Fold) -> TimeFold | None:
        try:
            return self.fold_task(fold)
        except ValueError:  # raised by `build_task` for a window with nobody to evaluate
            return None

    def _users_in_last(self, window: timedelta) -> int:
        try:
            return len(build_task(self.interactions, self.products, self._window(self.end - window, self.end)))
        except ValueError:  # as above; the newest fold raises it again if it persists
            return 0

    def _window(self, start: datetime, end: datetime) -> EvaluationWindow:
        return EvaluationWindow(start, end, relevant_types=self.relevant_types, allow_repeats=self.allow_repeats)


def before(interactions: pa.Table, moment: datetime) -> pa.Table:
    """Interactions strictly before ``moment`` (aware, UTC)."""
    return interactions.filter(pc.less(interactions["timestamp"], pa.scalar(moment, interactions["timestamp"].type)))


def catalogue_of(products: pa.Table, early: pa.Table) -> pa.Table:
    """The products that occur in ``early`` interactions, at the prices paid there (`known_catalogue`).

    A product without an earlier event is left out whether or not it has a later one, because telling the two apart
    would need data of the future.
    """
    return known_catalogue(products, early, products["product_id"])


def first_users(task: EvaluationTask, most: int) -> EvaluationTask:
    """``task`` for its first ``most`` users only."""
    if len(task) <= most:
        return task
    return replace(
        task,
        histories=task.histories.rows(0, most),
        exclude=task.exclude.rows(0, most),
        truth=task.truth.rows(0, most),
    )


def whole_days(length: timedelta) -> timedelta:
    """``length`` cut to whole days, or to whole seconds where it is shorter than one; at least a second."""
    unit = timedelta(days=1) if length >= timedelta(days=1) else timedelta(seconds=1)
    return max(length // unit, 1) * unit
