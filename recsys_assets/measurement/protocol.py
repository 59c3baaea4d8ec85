"""The evaluation protocol: which users of a time window are evaluated, what is relevant, what may be listed.

Everything before ``start`` is history. Every known product is ranked, without sampled negatives (Krichene and Rendle,
"On sampled metrics for item recommendation", KDD 2020). Evaluated are users with a history and at least one relevant
product in the window. A product first seen in the window stays relevant although no list can hold it; this lowers the
maximum for every recommender alike.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.csr import distinct, offsets, ranges
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray
from recsys_assets.measurement.beyond_accuracy import (
    BeyondAccuracy,
    ProductStatistics,
    beyond_accuracy,
    content_vectors,
)
from recsys_assets.measurement.metrics import FloatArray, ranking_metrics
from recsys_assets.measurement.translation import Progress, recommended_lists
from recsys_assets.models.dataset import TrainingData
from recsys_assets.schema import relevant_types


@dataclass(frozen=True, slots=True)
class EvaluationWindow:
    """One evaluation window and its rules.

    Attributes:
        start, end: aware, UTC; events with ``start <= timestamp < end`` are the truth, those before ``start`` history.
        relevant_types: kinds of interaction that make a product relevant; ``None`` leaves it to `relevant_types`.
        minimum_rating: a ``rating`` makes a product relevant only from here up (4 of 5).
        allow_repeats: ``False`` asks for products new to the user: those with an earlier event of a relevant type
            (purchases; any rating, in a log of ratings) are kept out of both lists and truth.
        candidates: ``"seen"`` ranks the products with any event before ``start``; ``"catalogue"`` all products given,
            which lets content models show cold products but presumes that the catalogue is as it was at ``start``.

    Raises:
        ValueError: a naive or non-UTC time, or ``end <= start``.
    """

    start: datetime
    end: datetime
    relevant_types: frozenset[InteractionType] | None = None
    minimum_rating: float = 4.0
    allow_repeats: bool = False
    candidates: Literal["seen", "catalogue"] = "seen"

    def __post_init__(self) -> None:
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment.utcoffset() != timedelta(0):
                raise ValueError(f"{name} of an evaluation window must be aware and in UTC, not {moment!r}")
        if self.end <= self.start:
            raise ValueError(f"the evaluation window ends at {self.end}, not after its start {self.start}")


@dataclass(frozen=True)
class EvaluationTask:
    """A window applied to a log: ``B`` users to recommend to, and what they then did. Indices are of ``products``.

    Attributes:
        window: as asked, ``relevant_types`` resolved.
        products: every product of catalogue and log.
        histories: the users' events before the window, ``now`` being its start.
        exclude: products each user must not get, row-aligned with ``histories``.
        truth: distinct relevant products of each user, at least one, row-aligned with ``histories``.
        statistics: of the products at the start of the window.
    """

    window: EvaluationWindow
    products: IdMap = field(repr=False)
    histories: Histories = field(repr=False)
    exclude: Ragged = field(repr=False)
    truth: Ragged = field(repr=False)
    statistics: ProductStatistics = field(repr=False)

    @property
    def user_ids(self) -> tuple[str, ...]:
        """External ids of the evaluated users, length ``B``, in an order that says nothing (see `IdMap`)."""
        return self.histories.user_ids

    def __len__(self) -> int:
        return len(self.histories)


@dataclass(frozen=True)
class ModelEvaluation:
    """What one recommender did on a task. Arrays are row-aligned with the task's users.

    Attributes:
        name: of the model.
        k: length of the lists.
        recommended: int32 ``[B, k]``, the task's product indices, ``-1`` padding.
        metrics: `RANKING_METRICS` -> float64 ``[B]``.
        beyond: coverage, novelty, diversity and popularity bias.
    """

    name: str
    k: int
    recommended: IndexArray = field(repr=False)
    metrics: dict[str, FloatArray] = field(repr=False)
    beyond: BeyondAccuracy = field(repr=False)


def build_task(interactions: pa.Table, products: pa.Table, window: EvaluationWindow) -> EvaluationTask:
    """Apply a window to canonical, validated tables, in any row order.

    Args:
        interactions: canonical interactions; those from ``window.end`` on are not looked at.
        products: canonical products. Products that only the log names are added.

    Raises:
        ValueError: nobody with a history did anything relevant in the window; the message says what there was.
    """
    if window.relevant_types is None:
        window = replace(window, relevant_types=relevant_types(interactions))
    log = TrainingData.from_tables(interactions, products, window.end)
    early = log.timestamp < int(window.start.timestamp())
    known = np.bincount(log.user[early], minlength=len(log.users)) > 0
    relevant = ~early & known[log.user] & _is_relevant(log, window, check_rating=True)
    pairs = _distinct_pairs(log, relevant)
    consumed = _distinct_pairs(log, early & _is_relevant(log, window, check_rating=False))
    if window.allow_repeats:
        consumed = consumed[:0]
    pairs = np.setdiff1d(pairs, consumed, assume_unique=True)
    if pairs.size == 0:
        kinds = ", ".join(sorted(kind.label for kind in window.relevant_types or ()))
        raise ValueError(
            f"no user with a history did anything relevant ({kinds}) between {window.start} and {window.end}: "
            f"{int((~early).sum())} events in the window, {int(early.sum())} before it; choose another window"
        )
    n_products = len(log.products)
    evaluated = distinct(pairs // n_products)
    return EvaluationTask(
        window=window,
        products=log.products,
        histories=log.where(early, as_of=int(window.start.timestamp())).histories_of(evaluated),
        exclude=_rows_of(consumed, evaluated, n_products),
        truth=_rows_of(pairs, evaluated, n_products),
        statistics=_product_statistics(log, early, products, window),
    )


def evaluate(
    name: str, recommender: Recommender, task: EvaluationTask, k: int = 10, progress: Progress | None = None
) -> ModelEvaluation:
    """Recommend to every user of a task and measure the lists.

    The recommender may know other products than the task (a champion trained weeks ago), see `recommended_lists`.
    """
    candidates = np.flatnonzero(task.statistics.candidates).astype(np.int32)
    recommended = recommended_lists(
        recommender, task.products, task.histories, k, exclude=task.exclude, candidates=candidates, progress=progress
    )
    return ModelEvaluation(
        name=name,
        k=k,
        recommended=recommended,
        metrics=ranking_metrics(recommended, task.truth, k),
        beyond=beyond_accuracy(recommended, task.statistics),
    )


def _is_relevant(log: TrainingData, window: EvaluationWindow, *, check_rating: bool) -> NDArray[np.bool_]:
    wanted = log.is_of(window.relevant_types or ())
    if check_rating:
        wanted &= (log.kind != InteractionType.RATING) | (log.rating >= window.minimum_rating)
    return wanted


def _distinct_pairs(log: TrainingData, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Sorted distinct ``user * n_products + product`` of the chosen events."""
    return distinct(log.pairs[chosen])


def _rows_of(pairs: NDArray[np.int64], users: NDArray[np.int64], n_products: int) -> Ragged:
    """The pairs of ``users`` (ascending), one row each."""
    first, last = np.searchsorted(pairs, users * n_products), np.searchsorted(pairs, (users + 1) * n_products)
    return Ragged(offsets(last - first), (pairs[ranges(first, last - first)] % n_products).astype(np.int32))


def _product_statistics(
    log: TrainingData, early: NDArray[np.bool_], products: pa.Table, window: EvaluationWindow
) -> ProductStatistics:
    n_products = len(log.products)
    events = np.bincount(log.product[early], minlength=n_products)
    return ProductStatistics(
        candidates=events > 0 if window.candidates == "seen" else np.ones(n_products, dtype=bool),
        users=np.bincount(_distinct_pairs(log, early) % n_products, minlength=n_products),
        events=events,
        n_users=len(distinct(log.user[early])),
        vectors=content_vectors(products, log.products),
        sales=np.bincount(log.product[early & _is_relevant(log, window, check_rating=False)], minlength=n_products),
    )
