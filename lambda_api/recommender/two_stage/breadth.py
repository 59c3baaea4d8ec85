"""Limits on the places of one category in a list, so that one click does not fill all of it."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

FREE_PLACES, FREE_AFTER_ONE_CLICK = 3, 2
"""Places at the start of a list that may all be of one category, and of one with a share of its own."""

ONE_CLICK_SHARE: Final = 0.2
"""Share of a list for a category that the running session has clicked once, beside its part of the shopper's events."""


def broad(categories: Sequence[int], shares: Mapping[int, float], share: float, count: int) -> list[int]:
    """The first ``count`` places of a list in which no category has more than its share.

    Of the first ``p`` places a category may have ``floor(share * p)``, and at least the free ones above. What is over
    the limit waits for the first later place that may hold it, so a shorter list is the beginning of a longer one.
    Where nothing else is left, what waits fills the list.

    Args:
        categories: codes of products, best first; -1 where unknown, which is not limited.
        shares: of single categories, each in (0, 1].
        share: of all other categories.

    Returns:
        Indices into ``categories``.
    """
    chosen: list[int] = []
    waiting: list[int] = []
    held: dict[int, int] = {}

    def fits(at: int) -> bool:
        code = categories[at]
        free = FREE_AFTER_ONE_CLICK if code in shares else FREE_PLACES
        most = max(free, int(shares.get(code, share) * (len(chosen) + 1)))
        return code < 0 or held.get(code, 0) < most

    following = iter(range(len(categories)))
    while len(chosen) < count:
        found = next((at for at in waiting if fits(at)), None)
        if found is not None:
            waiting.remove(found)
        else:
            for at in following:
                if fits(at):
                    found = at
                    break
                waiting.append(at)
            else:
                return chosen + waiting[: count - len(chosen)]
        chosen.append(found)
        held[categories[found]] = held.get(categories[found], 0) + 1
    return chosen


def shares_of_single_clicks(
    categories: NDArray[np.int32], inside: NDArray[np.bool_], share: float
) -> Mapping[int, float]:
    """Shares of the categories that a running session has clicked exactly once; at most ``share``.

    A single click says less than a past: its category has `ONE_CLICK_SHARE` of a list and its part of all events, so a
    visitor's first click opens more than one of a shopper with a long past.

    Args:
        categories: of one shopper's events, ``[E]``; -1 where unknown.
        inside: which events are of the running session, ``[E]``.
    """
    clicks = np.bincount(categories[inside] + 1)
    clicks[:1] = 0
    return {
        int(code): min(share, ONE_CLICK_SHARE + np.count_nonzero(categories == code) / len(categories))
        for code in np.flatnonzero(clicks == 1) - 1
    }
