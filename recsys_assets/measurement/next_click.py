"""Next-click protocol: for every click of a test session, the product of the click that follows is to be found.

Every known product is ranked, no sampled negatives. A position is a click after ``start`` that another click of the
same session follows; a session ends after `SESSION_GAP_SECONDS` without an event. What was clicked before the position
is the history, sessions of earlier days included. Positions whose answer nobody had touched before ``start`` are
counted but not judged. Figures are means over positions (Ludewig and Jannach, "Evaluation of session-based
recommendation algorithms", User Modeling and User-Adapted Interaction, 2018): with one right answer

* ``hit_rate``: 1 if it is among the first ``k``, else 0;
* ``mrr``: 1 over its rank, 0 beyond ``k``;
* ``ndcg``: ``1 / log2(rank + 1)``, 0 beyond ``k``.

A batch of histories has one moment ``now``, and every position is asked at its own. So each history is shifted in time
until its newest click is at ``now``; distances between its events, which is what models look at, stay as they were.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.csr import offsets, offsets_of_rows, ranges, run_starts, session_starts
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IndexArray
from recsys_assets.measurement.metrics import FloatArray, ranking_metrics
from recsys_assets.measurement.translation import Progress, recommended_lists
from recsys_assets.models.dataset import TrainingData, second_after

SESSION_GAP_SECONDS = 3_600
"""An hour without an event ends a session, as in the public click logs (YooChoose)."""

NEWEST_EVENTS = 200
"""Events of a history, as many as serving reads."""

METRICS = ("hit_rate", "mrr", "ndcg")


@dataclass(frozen=True)
class NextClick:
    """``P`` positions to judge.

    Attributes:
        training: everything before the test, with the products known then.
        histories: the events before and at each position, in the indices of ``training.products``.
        exclude: products that may not be listed: those clicked in the session, or nothing where repeats count.
        target: int32 ``[P]``, the product of the next click.
        sessions: distinct sessions among the positions.
        unknown: positions left out because nobody had touched the answer before the test.
        repeats: positions left out because the answer was clicked earlier in the session; 0 where repeats count.
    """

    training: TrainingData = field(repr=False)
    histories: Histories = field(repr=False)
    exclude: Ragged = field(repr=False)
    target: IndexArray = field(repr=False)
    sessions: int
    unknown: int
    repeats: int

    def __len__(self) -> int:
        return len(self.target)


def next_click(
    interactions: pa.Table,
    products: pa.Table,
    start: datetime,
    end: datetime | None = None,
    *,
    allow_repeats: bool = False,
    most: int | None = None,
    seed: int = 0,
) -> NextClick:
    """Cut a log at ``start`` (aware, UTC) and collect the positions of the sessions after it.

    Args:
        interactions, products: canonical tables in any row order. Events of one second count in the order of products.
        end: positions from here on are not judged; ``None`` takes all.
        allow_repeats: products clicked earlier in the session may be listed and may be right. Otherwise they are
            excluded, and positions with such an answer are not judged.
        most: judge so many positions, drawn at random with ``seed``; ``None`` judges all.

    Raises:
        ValueError: no session after ``start`` has two clicks of which the second is on a known product.
    """
    training = TrainingData.from_tables(interactions, products, start)
    log = TrainingData.from_tables(interactions, products, end or second_after(interactions))
    begin, newest = _session_starts(log), int(start.timestamp())
    follows = np.append(begin[1:] == begin[:-1], False)
    at = np.flatnonzero(follows & (log.timestamp >= newest))
    known = np.bincount(training.product, minlength=len(training.products)) > 0
    index = training.products.indices(log.products.external(np.arange(len(log.products))))
    index = np.where((index >= 0) & known[index], index, -1).astype(np.int32)
    answer = index[log.product[at + 1]]
    unknown = int((answer < 0).sum())
    at = at[answer >= 0]
    repeated = _is_repeat(log, begin)[at + 1]
    if not allow_repeats:
        at = at[~repeated]
    if len(at) == 0:
        raise ValueError(
            f"no session from {start} on has a click on a known product after another click: {unknown} clicks on "
            f"unknown products, {int(repeated.sum())} repeats; choose another moment or allow repeats"
        )
    if most is not None and len(at) > most:
        at = np.sort(np.random.default_rng(seed).choice(at, most, replace=False))
    histories, exclude = _prefixes(log, begin, at, index, newest)
    return NextClick(
        training=training,
        histories=histories,
        exclude=Ragged(np.zeros(len(at) + 1, dtype=np.int64), exclude.values[:0]) if allow_repeats else exclude,
        target=index[log.product[at + 1]],
        sessions=len(np.unique(begin[at])),
        unknown=unknown,
        repeats=0 if allow_repeats else int(repeated.sum()),
    )


def evaluate_next_click(
    recommender: Recommender, task: NextClick, k: int = 20, progress: Progress | None = None
) -> dict[str, FloatArray]:
    """`METRICS` at ``k``, float64 ``[P]`` each, of `recommended_lists` among products with an event before the test."""
    products, known = task.training.products, np.unique(task.training.product)
    lists = recommended_lists(
        recommender, products, task.histories, k, exclude=task.exclude, candidates=known, progress=progress
    )
    metrics = ranking_metrics(lists, Ragged(np.arange(len(task) + 1, dtype=np.int64), task.target), k)
    return {name: metrics[name] for name in METRICS}


def last_positions(task: NextClick) -> tuple[Histories, Ragged]:
    """The last position of every shopper, and what may not be listed there."""
    names = np.array(task.histories.user_ids)
    last = np.flatnonzero(np.append(names[1:] != names[:-1], True))
    lengths, own = task.histories.lengths[last], np.diff(task.exclude.indptr)[last]
    events = ranges(task.histories.indptr[last], lengths)
    return (
        replace(
            task.histories,
            user_ids=tuple(names[last].tolist()),
            indptr=offsets(lengths),
            products=task.histories.products[events],
            types=task.histories.types[events],
            timestamps=task.histories.timestamps[events],
        ),
        Ragged(offsets(own), task.exclude.values[ranges(task.exclude.indptr[last], own)]),
    )


def _session_starts(log: TrainingData) -> NDArray[np.int64]:
    """The first event of each event's session, int64 ``[E]``."""
    first = session_starts(log.user, log.timestamp, SESSION_GAP_SECONDS)
    return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


def _is_repeat(log: TrainingData, begin: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an event's product already has an earlier event in the session, bool ``[E]``."""
    order = np.lexsort((log.product, begin))
    repeat = np.empty(len(order), dtype=bool)
    repeat[order] = ~(run_starts(begin[order]) | run_starts(log.product[order]))
    return repeat


def _prefixes(
    log: TrainingData, begin: NDArray[np.int64], at: NDArray[np.int64], index: NDArray[np.int32], now: int
) -> tuple[Histories, Ragged]:
    """Histories that end with the events ``at``, shifted to ``now``, and the distinct products of their sessions."""
    first_of_user = np.searchsorted(log.user, log.user[at])
    first = np.maximum(first_of_user, at + 1 - NEWEST_EVENTS)
    events = ranges(first, at + 1 - first)
    row = np.repeat(np.arange(len(at)), at + 1 - first)
    known = index[log.product[events]] >= 0
    events, row = events[known], row[known]
    histories = Histories(
        user_ids=tuple(log.users.external(log.user[at])),
        indptr=offsets_of_rows(row, len(at)),
        products=index[log.product[events]],
        types=log.kind[events],
        timestamps=log.timestamp[events] + (now - log.timestamp[at])[row],
        now=now,
    )
    inside = events >= begin[at][row]
    cells = np.unique(row[inside] * len(index) + histories.products[inside])
    return histories, Ragged(offsets_of_rows(cells // len(index), len(at)), (cells % len(index)).astype(np.int32))
