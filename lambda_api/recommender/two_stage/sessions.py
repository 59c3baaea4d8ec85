"""The running session: whether a shopper is in one, and what it looks like.

A session is running while the newest event is at most `SESSION_GAP_SECONDS` before ``now``; it reaches back to the
first longer pause.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.csr import offsets, ranges, session_starts
from lambda_api.recommender.histories import Histories

SESSION_GAP_SECONDS = 1_800
"""Half an hour without an event ends a session."""


def in_session(histories: Histories) -> NDArray[np.bool_]:
    """Whether each shopper is in a session, bool ``[B]``."""
    newest = np.zeros(len(histories), dtype=np.int64)
    filled = histories.lengths > 0
    newest[filled] = histories.timestamps[histories.indptr[1:][filled] - 1]
    return filled & (histories.now - newest <= SESSION_GAP_SECONDS)


def of_newest_session(histories: Histories) -> NDArray[np.bool_]:
    """Which events belong to the newest session of their shopper, bool ``[E]``."""
    shopper = histories.shopper_of_event
    session = np.cumsum(session_starts(shopper, histories.timestamps, SESSION_GAP_SECONDS))
    newest = session[np.maximum(histories.indptr[1:] - 1, 0)] if len(session) else session
    return np.asarray(session == newest[shopper])


def shoppers_of(histories: Histories, rows: NDArray[np.int64]) -> Histories:
    """The shoppers ``rows`` (``[b]``, ascending) as a batch of their own."""
    if len(rows) == len(histories):
        return histories
    lengths = histories.lengths[rows]
    events = ranges(histories.indptr[rows], lengths)
    return replace(
        histories,
        user_ids=tuple(histories.user_ids[row] for row in rows),
        indptr=offsets(lengths),
        products=histories.products[events],
        types=histories.types[events],
        timestamps=histories.timestamps[events],
    )
