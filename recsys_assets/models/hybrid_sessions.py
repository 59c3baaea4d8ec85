"""Training examples from within sessions: the history up to a click, and what was clicked next.

Anonymous sessions count like those of known shoppers. Everything a candidate generator of a window knows is from before
the window; the examples are sessions of its first days, so that what is known is as old as it is when serving.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.csr import offsets, ranges
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.recommender.two_stage.candidates import CandidateGenerator
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid_graphs import session_of_event
from recsys_assets.models.hybrid_ranker import RankingRows
from recsys_assets.models.hybrid_rows import labelled_rows
from recsys_assets.models.hybrid_windows import Labels, Window

FIRST_DAYS = 3.0
"""Sessions of so many days from the start of a window are learned from."""

NEWEST_EVENTS, NEXT_EVENTS = 200, 10
"""Events before a click that are its history, and events after it that are looked at."""

NEXT, TAKEN_LATER, SEEN_LATER = 3, 2, 1
"""Grades: the very next click; bought later in the session; clicked later in the session."""

EXAMPLES_PER_BATCH = 256


def session_positions(
    data: TrainingData, window: Window, *, allow_repeats: bool, most: int, seed: int
) -> NDArray[np.int64]:
    """Events of the first days of ``window`` that a click of the same session follows, int64 ``[P]``, ascending.

    The next click is later and, unless repeats count, on another product. ``most`` are drawn at random with ``seed``.
    """
    end = min(window.end, window.start + round(FIRST_DAYS * SECONDS_PER_DAY))
    inside = (data.timestamp >= window.start) & (data.timestamp < end)
    session = session_of_event(data)
    follows = np.zeros(len(inside), dtype=bool)
    follows[:-1] = (session[1:] == session[:-1]) & (np.diff(data.timestamp) > 0)
    if not allow_repeats:
        follows[:-1] &= data.product[1:] != data.product[:-1]
    at = np.flatnonzero(inside & follows)
    if len(at) > most:
        at = np.sort(np.random.default_rng(seed).choice(at, most, replace=False))
    return at


@dataclass(frozen=True)
class PastSessions:
    """Sessions of one past window to learn from.

    Attributes:
        generator: of the session stage, fitted on what precedes ``moment`` (seconds since 1970 UTC).
        data: the whole log.
        at: events of ``data`` after which a click is to be foreseen, int64 ``[P]`` (`session_positions`).
        wanted: types of interaction that count as taking a product.
        allow_repeats: whether what the shopper has seen may be right.
    """

    generator: CandidateGenerator
    data: TrainingData
    at: NDArray[np.int64]
    moment: int
    wanted: Collection[InteractionType]
    allow_repeats: bool

    def rows(self) -> RankingRows | None:
        """Candidates after each of the events, labelled; ``None`` where no candidate was clicked."""
        data, moment = self.data, self.moment
        known = np.bincount(data.product[data.timestamp < moment], minlength=len(data.products)) > 0
        parts = (self.at[first : first + EXAMPLES_PER_BATCH] for first in range(0, len(self.at), EXAMPLES_PER_BATCH))
        batches = (
            (
                histories_at(data, some, moment),
                _labels(data, some, self.wanted, allow_repeats=self.allow_repeats),
                np.arange(len(some)),
            )
            for some in parts
        )
        return labelled_rows(self.generator, known, batches, session=True)


def histories_at(data: TrainingData, at: NDArray[np.int64], moment: int) -> Histories:
    """The history that ends with each of the events ``at``, shifted in time so that its newest event is at ``moment``.

    A batch has one moment ``now``, and popularity is known as of ``moment``; distances between events stay as they are.
    """
    first = np.maximum(np.searchsorted(data.user, data.user[at]), at + 1 - NEWEST_EVENTS)
    lengths = at + 1 - first
    events = ranges(first, lengths)
    return Histories(
        user_ids=("",) * len(at),
        indptr=offsets(lengths),
        products=data.product[events],
        types=data.kind[events],
        timestamps=data.timestamp[events] + np.repeat(moment - data.timestamp[at], lengths),
        now=moment,
    )


def _labels(
    data: TrainingData, at: NDArray[np.int64], wanted: Collection[InteractionType], *, allow_repeats: bool
) -> Labels:
    """Grades of what followed each of the events ``at``, with the example's number in place of the user."""
    session = session_of_event(data)
    end = np.searchsorted(session, session[at], side="right")
    lengths = np.minimum(end - at - 1, NEXT_EVENTS)
    later = ranges(at + 1, lengths)
    example = np.repeat(np.arange(len(at)), lengths)
    grade = np.full(len(later), SEEN_LATER, dtype=np.int32)
    if InteractionType.VIEW not in wanted:
        grade[data.is_of(wanted)[later]] = TAKEN_LATER
    grade[offsets(lengths)[:-1]] = NEXT
    if not allow_repeats:
        other = data.product[later] != np.repeat(data.product[at], lengths)
        later, example, grade = later[other], example[other], grade[other]
    return Labels.best(example * len(data.products) + data.product[later], grade, NEXT, len(data.products))
