"""One row per shopper of an experiment, made of the event stream: who met what first, and what they did afterwards.

A shopper belongs to the group of their first list (analysed as assigned: answers that fell back count too). Left out
are visitors without an id, lists of similar and of popular products, of other experiments and revisions, and shoppers
who met both groups. What a shopper did is counted in a window of fixed length after their first list, because an
open-ended total goes on changing after it was looked at; only shoppers whose window has closed are compared.
Guardrails cannot wait for that and count everything so far.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.state.exposures import Exposure
from lambda_api.state.history import StoredEvent

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

CLICKS = frozenset({InteractionType.VIEW, InteractionType.ADD_TO_CART, InteractionType.PURCHASE})


@dataclass(frozen=True, slots=True)
class Scope:
    """Which lists belong to a comparison.

    Attributes:
        experiment: name in the routing record.
        control, treatment: names of the two variants.
        since_ms, until_ms: lists shown from (inclusive) to (exclusive), milliseconds since 1970 UTC.
        revisions: of the routing record; empty: all. Steps of a ramp have different ones and are never pooled.
        includes: whether a shopper takes part (such as a range of buckets); ``None``: all.
    """

    experiment: str
    control: str
    treatment: str
    since_ms: int
    until_ms: int
    revisions: frozenset[int] = frozenset()
    includes: Callable[[str], bool] | None = None

    def holds(self, exposure: Exposure) -> bool:
        """Whether a list belongs to the comparison."""
        return (
            bool(exposure.user_id)
            and exposure.list_kind == "recommend"
            and exposure.experiment == self.experiment
            and exposure.variant in (self.control, self.treatment)
            and self.since_ms <= exposure.at_ms < self.until_ms
            and (not self.revisions or exposure.revision in self.revisions)
            and (self.includes is None or self.includes(exposure.user_id))
        )


@dataclass(frozen=True)
class Shoppers:
    """Shoppers of a comparison, in the order of their first list; arrays are ``[n]``.

    Attributes:
        users: ids.
        is_treatment: their group.
        first_ms: moment of the first list, milliseconds since 1970 UTC.
        days: length of the window in which the shopper is counted.
        lists, clicks, conversions, revenue: lists shown, events that answer a list, purchases (answering one or not)
            and what was paid for them, within the window.
        before: purchases in the weeks before the first list, as far as they are known: the covariate of CUPED.
        both: shoppers left out because they met both groups.
    """

    users: tuple[str, ...]
    is_treatment: NDArray[np.bool_]
    first_ms: NDArray[np.int64]
    days: NDArray[np.float64]
    lists: NDArray[np.float64]
    clicks: NDArray[np.float64]
    conversions: NDArray[np.float64]
    revenue: NDArray[np.float64]
    before: NDArray[np.float64]
    both: int

    def counts(self) -> tuple[int, int]:
        """Shoppers of control and treatment."""
        treated = int(self.is_treatment.sum())
        return len(self.users) - treated, treated

    def where(self, kept: NDArray[np.bool_]) -> "Shoppers":
        """Those where ``kept`` (``[n]``) is true."""
        users = tuple(user for user, keep in zip(self.users, kept.tolist(), strict=True) if keep)
        return Shoppers(
            users=users,
            is_treatment=self.is_treatment[kept],
            first_ms=self.first_ms[kept],
            days=self.days[kept],
            lists=self.lists[kept],
            clicks=self.clicks[kept],
            conversions=self.conversions[kept],
            revenue=self.revenue[kept],
            before=self.before[kept],
            both=self.both,
        )


def shoppers_of(
    exposures: Iterable[Exposure],
    events: Iterable[StoredEvent],
    scope: Scope,
    *,
    window_ms: int | None,
    before: Mapping[str, float] | None = None,
) -> Shoppers:
    """Shoppers of ``scope`` whose window of ``window_ms`` has closed by ``scope.until_ms``.

    Args:
        window_ms: ``None``: everything until ``scope.until_ms`` counts, for every shopper.
        exposures, events: of the stream, in any order, repetitions allowed.
        before: purchases before the experiment by user id, where they are known.
    """
    first, group, lists, both = _assignment(exposures, scope)
    by_time = sorted(first.items(), key=lambda pair: (pair[1], pair[0]))
    end = {user: scope.until_ms if window_ms is None else at + window_ms for user, at in by_time}
    closed = [user for user, _ in by_time if end[user] <= scope.until_ms]
    place = {user: row for row, user in enumerate(closed)}
    totals = np.zeros((4, len(closed)))
    for row, user in enumerate(closed):
        totals[0, row] = sum(first[user] <= at < end[user] for at in lists[user])
    seen: set[str] = set()
    for event in events:
        row = place.get(event.user_id, -1)
        if row < 0 or event.event_id in seen:
            continue
        seen.add(event.event_id)
        at, start = event.timestamp * 1000, first[event.user_id]
        # An event's time has whole seconds: one of the same second as the list counts as after it.
        if not start - 1000 < at < end[event.user_id]:
            continue
        totals[1, row] += event.request_id is not None and event.interaction_type in CLICKS
        if event.interaction_type is InteractionType.PURCHASE:
            totals[2, row] += 1
            totals[3, row] += (event.price or 0.0) * (event.quantity or 1)
    known = before or {}
    return Shoppers(
        users=tuple(closed),
        is_treatment=np.array([group[user] for user in closed], dtype=bool),
        first_ms=np.array([first[user] for user in closed], dtype=np.int64),
        days=np.array([(end[user] - first[user]) / DAY_MS for user in closed]),
        lists=totals[0],
        clicks=totals[1],
        conversions=totals[2],
        revenue=totals[3],
        before=np.array([known.get(user, 0.0) for user in closed]),
        both=both,
    )


def first_seen(exposures: Iterable[Exposure], scope: Scope) -> tuple[int, int]:
    """Shoppers of control and treatment by their first list, whether or not their window has closed."""
    group = _assignment(exposures, scope)[1]
    treated = sum(group.values())
    return len(group) - treated, treated


def _assignment(
    exposures: Iterable[Exposure], scope: Scope
) -> tuple[dict[str, int], dict[str, bool], dict[str, list[int]], int]:
    """First moment, group and moments of all lists by shopper, and how many met both groups."""
    first: dict[str, int] = {}
    group: dict[str, bool] = {}
    lists: dict[str, list[int]] = {}
    mixed: set[str] = set()
    requests: set[str] = set()
    for exposure in exposures:
        if not scope.holds(exposure) or exposure.request_id in requests:
            continue
        requests.add(exposure.request_id)
        user, treated = exposure.user_id, exposure.variant == scope.treatment
        if group.setdefault(user, treated) != treated:
            mixed.add(user)
        first[user] = min(first.get(user, exposure.at_ms), exposure.at_ms)
        lists.setdefault(user, []).append(exposure.at_ms)
    for user in mixed:
        del first[user], group[user], lists[user]
    return first, group, lists, len(mixed)


def by_day_since_first(shoppers: Shoppers, days: Sequence[int], now_ms: int) -> Iterator[tuple[int, Shoppers]]:
    """Shoppers whose first list is at least ``day`` days old, for each of ``days``: shows a novelty effect."""
    age = (now_ms - shoppers.first_ms) / DAY_MS
    for day in days:
        yield day, shoppers.where(age >= day)
