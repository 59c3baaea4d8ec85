"""The three ways to split a log: one moment for everybody, everybody's last item, or next clicks after a moment."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from lambda_api.recommender.contract import Recommendations, Recommender
from lambda_api.recommender.histories import Histories, Ragged
from recsys_assets.measurement.leave_one_out import HeldOut, LeaveOneOut, evaluate_leave_one_out, leave_one_out
from recsys_assets.measurement.metrics import FloatArray
from recsys_assets.measurement.next_click import NextClick, evaluate_next_click, last_positions, next_click
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task, evaluate
from recsys_assets.measurement.translation import USERS_PER_BATCH, Progress
from recsys_assets.models.dataset import TrainingData
from recsys_assets.schema import relevant_types
from recsys_assets.tuning.folds import FoldTask, LeaveOneOutFold, PastLog, before
from recsys_deploy.benchmark.files import ShopTables
from recsys_deploy.benchmark.options import BenchmarkError, BenchmarkOptions, ProtocolName

SHOWN_METRICS = ("ndcg", "recall", "hit_rate")
MOST_FOLD_POSITIONS = 2_000
"""Positions of a fold that models are chosen on; the test judges all."""


@dataclass(frozen=True)
class BenchmarkProtocol(ABC):
    """A shop's log, cut. Only `judge` looks at what comes after the cut."""

    shop: ShopTables = field(repr=False)
    options: BenchmarkOptions

    @property
    def past_events(self) -> int:
        """Interactions before the cut."""
        return len(self.data().user)

    @property
    def kinds(self) -> int:
        """How many kinds of interaction the past holds."""
        return len(np.unique(self.data().kind))

    @property
    @abstractmethod
    def description(self) -> str:
        """What is asked, for the head of the table."""

    @abstractmethod
    def folds(self, wanted: int) -> list[FoldTask]:
        """What models are tuned and chosen on. Raises `BenchmarkError` where the past is too little for one."""

    @abstractmethod
    def data(self) -> TrainingData:
        """Everything before the cut, to fit on. Raises `BenchmarkError` where the log cannot be cut so."""

    @abstractmethod
    def shoppers(self) -> tuple[Histories, Ragged | None]:
        """Whom to recommend to, and what not to recommend to each; in the indices of ``data().products``."""

    @abstractmethod
    def judge(self, name: str, recommender: Recommender, k: int, progress: Progress) -> dict[str, FloatArray] | None:
        """Metrics by name per shopper (or position) judged, ``ndcg`` among them; ``None`` where nobody can be judged
        (`cannot_judge`)."""

    @property
    def cannot_judge(self) -> str:
        """Why nobody can be judged; empty where somebody can."""
        return ""

    @property
    def _start(self) -> datetime:
        assert self.options.test_start is not None  # options see to it
        return self.options.test_start

    def _nothing_before(self) -> BenchmarkError:
        return BenchmarkError(
            f"--test-start {self._start.isoformat()}: no interaction lies before it, {_period(self.shop)}; "
            "choose a later moment"
        )


@dataclass(frozen=True)
class GlobalTime(BenchmarkProtocol):
    """One moment for everybody. What counts as relevant is decided by the kinds of interaction before it."""

    @property
    def description(self) -> str:
        """Moment, sizes and what is asked."""
        relevant = ", ".join(sorted(kind.label for kind in self.past.relevant_types))
        repeats = "repeats allowed" if self.options.allow_repeats else "new products only"
        judged = f"{len(self._task):,} shoppers judged" if self._task is not None else "nobody to judge"
        return f"test from {self._start:%Y-%m-%d %H:%M} UTC, {judged}, relevant: {relevant}, {repeats}"

    @cached_property
    def past(self) -> PastLog:
        """The log before the test start; all that choosing and fitting ever see."""
        events = before(self.shop.interactions, self._start)
        if events.num_rows == 0:
            raise self._nothing_before()
        return PastLog(
            interactions=events,
            products=self.shop.products,
            end=self._start,
            relevant_types=relevant_types(events),
            allow_repeats=self.options.allow_repeats,
        )

    def folds(self, wanted: int) -> list[FoldTask]:
        """Rolling-origin folds that end at the test start."""
        try:
            return list(self.past.fold_tasks(wanted))
        except ValueError as error:
            raise BenchmarkError(
                f"{self.options.interactions}: no model can be chosen on what lies before {self._start.isoformat()}: "
                f"{error}; bring in a longer log or choose a later --test-start"
            ) from error

    def data(self) -> TrainingData:
        """Everything before the test start; a product without an event by then is not among the products."""
        return self._data

    @cached_property
    def _data(self) -> TrainingData:
        return self.past.data_before(self._start)

    def shoppers(self) -> tuple[Histories, Ragged | None]:
        """Everybody with an event before the test start."""
        histories = self.data().histories()
        if self.options.allow_repeats:
            return histories, None
        return histories, histories.distinct_products(self.past.relevant_types)

    def judge(self, name: str, recommender: Recommender, k: int, progress: Progress) -> dict[str, FloatArray] | None:
        """On everything from the test start on."""
        if self._task is None:
            return None
        metrics = evaluate(name, recommender, self._task, k, progress).metrics
        return {shown: metrics[shown] for shown in SHOWN_METRICS}

    @property
    def cannot_judge(self) -> str:
        """The reason, as `build_task` gives it."""
        return self._task_or_problem[1]

    @property
    def _task(self) -> EvaluationTask | None:
        return self._task_or_problem[0]

    @cached_property
    def _task_or_problem(self) -> tuple[EvaluationTask | None, str]:
        last = pc.max(self.shop.interactions["timestamp"]).as_py()
        if last < self._start:
            return None, f"no interaction lies at or after the test start, {_period(self.shop)}"
        window = EvaluationWindow(
            start=self._start,
            end=last + timedelta(seconds=1),
            relevant_types=self.past.relevant_types,
            allow_repeats=self.options.allow_repeats,
        )
        try:
            return build_task(self.shop.interactions, self.shop.products, window), ""
        except ValueError as error:
            return None, str(error)


@dataclass(frozen=True)
class LastItem(BenchmarkProtocol):
    """Leave-one-out: chosen on everybody's second-last item, judged on the last."""

    @property
    def description(self) -> str:
        """What is masked, and for how many shoppers the last item is a matter of convention."""
        masked = "history masked" if self.options.mask_history else "history not masked"
        return (
            f"leave-one-out, {len(self._test):,} shoppers judged, {len(self._test.products):,} products ranked, "
            f"{masked}, {self._test.ambiguous:,} last items share their time with another event"
        )

    def folds(self, wanted: int) -> list[FoldTask]:
        """One: the second-last items."""
        return [LeaveOneOutFold(self._cut("validation"))]

    def data(self) -> TrainingData:
        """Everything before the last items."""
        return self._test.training

    def shoppers(self) -> tuple[Histories, Ragged | None]:
        """Those who are judged."""
        histories = self._test.histories
        return histories, histories.distinct_products() if self.options.mask_history else None

    def judge(self, name: str, recommender: Recommender, k: int, progress: Progress) -> dict[str, FloatArray] | None:
        """On the last items; recall and hit rate are one with a single relevant product."""
        found = evaluate_leave_one_out(name, recommender, self._test, k, progress).per_shopper(k)
        return {"ndcg": found[f"NDCG@{k}"], "recall": found[f"HR@{k}"], "hit_rate": found[f"HR@{k}"]}

    @cached_property
    def _test(self) -> LeaveOneOut:
        return self._cut("test")

    def _cut(self, held_out: HeldOut) -> LeaveOneOut:
        try:
            return leave_one_out(
                self.shop.interactions,
                self.shop.products,
                held_out,
                mask_history=self.options.mask_history,
            )
        except ValueError as error:
            raise BenchmarkError(f"{self.options.interactions}: {error}") from error


@dataclass(frozen=True)
class NextClickFold:
    """The newest day of the past (or its last sixth, where that is shorter): the next clicks are to be found."""

    task: NextClick = field(repr=False)
    number: int = 1

    @property
    def data(self) -> TrainingData:
        """Everything before that day."""
        return self.task.training

    def score(self, name: str, recommender: Recommender, k: int) -> float:
        """Mean NDCG@``k`` over its positions."""
        return float(evaluate_next_click(recommender, self.task, k)["ndcg"].mean())


@dataclass(frozen=True)
class NextClicks(BenchmarkProtocol):
    """Next clicks within sessions, after one moment for everybody."""

    @property
    def description(self) -> str:
        """Sizes, and what was left out."""
        test = self._test
        repeats = "repeats allowed" if self.options.allow_repeats else f"{test.repeats:,} repeats left out"
        return (
            f"next click from {self._start:%Y-%m-%d %H:%M} UTC, {len(test):,} positions of {test.sessions:,} sessions, "
            f"{len(test.training.products):,} products ranked, {repeats}, {test.unknown:,} unknown answers left out"
        )

    def folds(self, wanted: int) -> list[FoldTask]:
        """One: the newest day of the past."""
        times = before(self.shop.interactions, self._start)["timestamp"]
        if len(times) == 0:
            raise self._nothing_before()
        length = min(timedelta(days=1), (self._start - pc.min(times).as_py()) / 6)
        return [NextClickFold(self._cut(self._start - length, self._start, MOST_FOLD_POSITIONS))]

    def data(self) -> TrainingData:
        """Everything before the test start."""
        return self._test.training

    def shoppers(self) -> tuple[Histories, Ragged | None]:
        """Everybody judged, at the last position of each."""
        histories, exclude = last_positions(self._test)
        return histories, None if self.options.allow_repeats else exclude

    def judge(self, name: str, recommender: Recommender, k: int, progress: Progress) -> dict[str, FloatArray] | None:
        """On every position from the test start on."""
        return evaluate_next_click(recommender, self._test, k, progress)

    @cached_property
    def _test(self) -> NextClick:
        return self._cut(self._start, None, None)

    def _cut(self, start: datetime, end: datetime | None, most: int | None) -> NextClick:
        try:
            return next_click(
                self.shop.interactions,
                self.shop.products,
                start,
                end,
                allow_repeats=self.options.allow_repeats,
                most=most,
                seed=self.options.seed,
            )
        except ValueError as error:
            raise BenchmarkError(f"{self.options.interactions}: {error}") from error


def open_protocol(shop: ShopTables, options: BenchmarkOptions) -> BenchmarkProtocol:
    """The protocol that ``options`` name, on ``shop``. Raises `BenchmarkError` where the log cannot be cut so."""
    if options.protocol is ProtocolName.LEAVE_ONE_OUT:
        return LastItem(shop, options)
    if options.protocol is ProtocolName.NEXT_CLICK:
        return NextClicks(shop, options)
    return GlobalTime(shop, options)


def recommend_to_all(
    recommender: Recommender, histories: Histories, exclude: Ragged | None, k: int, progress: Progress
) -> Recommendations:
    """``[B, k]`` lists of the recommender's own products for every shopper, batch by batch."""
    products: list[NDArray[np.int32]] = []
    scores: list[NDArray[np.float32]] = []
    for start in range(0, len(histories), USERS_PER_BATCH):
        stop = min(start + USERS_PER_BATCH, len(histories))
        answer = recommender.recommend(
            histories.rows(start, stop), k, exclude=None if exclude is None else exclude.rows(start, stop)
        )
        products.append(answer.products)
        scores.append(answer.scores)
        progress(stop, len(histories))
    return Recommendations(np.concatenate(products), np.concatenate(scores))


def _period(shop: ShopTables) -> str:
    ends = pc.min_max(shop.interactions["timestamp"]).as_py()
    return f"they run from {ends['min'].isoformat()} to {ends['max'].isoformat()}"
