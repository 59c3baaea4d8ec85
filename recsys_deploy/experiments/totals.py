"""One row per shopper of an experiment, made of the event stream: who met what first, and what they did afterwards.

A shopper belongs to the group of their first list (analysed as assigned: answers that fell back count too). Left out
are visitors without an id, lists of similar and of popular products, of other experiments and revisions, and shoppers
who met both groups. What a shopper did is counted in a window of fixed length after their first list, because an
open-ended total goes on changing after it was looked at; only shoppers whose window has closed are compared.
Guardrails cannot wait for that and count everything so far.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_deploy.experiments.stream_tables import once

DAY_MS = 86_400_000

CLICKS = ("view", "add_to_cart", "purchase")

_ASSIGNING = ["request_id", "user_id", "at_ms", "list_kind", "experiment", "variant"]
"""Columns of lists that assign shoppers; products are most of a list and are not copied for it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which lists belong to a comparison.

    Attributes:
        experiment: name in the routing record.
        control, treatment: names of the two variants.
        since_ms, until_ms: lists shown from (inclusive) to (exclusive), milliseconds since 1970 UTC.
        includes: whether a shopper takes part (such as a range of buckets); ``None``: all.
    """

    experiment: str
    control: str
    treatment: str
    since_ms: int
    until_ms: int
    includes: Callable[[str], bool] | None = None

    def of(self, lists: pa.Table) -> pa.Table:
        """Those of ``lists`` that belong to the comparison, every request once."""
        field = pc.field
        wanted = (
            (field("user_id") != "")
            & (field("list_kind") == "recommend")
            & (field("experiment") == self.experiment)
            & field("variant").isin([self.control, self.treatment])
            & (field("at_ms") >= self.since_ms)
            & (field("at_ms") < self.until_ms)
        )
        found = once(lists.filter(wanted), "request_id")
        if self.includes is None:
            return found
        users = [user for user in pc.unique(found["user_id"]).to_pylist() if self.includes(user)]
        return found.filter(pc.is_in(found["user_id"], pa.array(users, pa.string())))


_PER_SHOPPER = ("is_treatment", "first_ms", "days", "lists", "clicks", "conversions", "revenue", "before")
"""The arrays of `Shoppers`."""


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
        users = tuple(compress(self.users, kept.tolist()))
        return replace(self, users=users, **{name: getattr(self, name)[kept] for name in _PER_SHOPPER})


@dataclass(frozen=True)
class Assignment:
    """Who takes part since when.

    Attributes:
        users: ids ``[n]``, in the order of their first list.
        first_ms, is_treatment: moment of the first list, and group, ``[n]``.
        both: shoppers left out because they met both groups.
    """

    users: pa.Array
    first_ms: NDArray[np.int64]
    is_treatment: NDArray[np.bool_]
    both: int


def shoppers_of(
    lists: pa.Table,
    events: pa.Table,
    scope: Scope,
    *,
    window_ms: int | None,
    before: Mapping[str, float] | None = None,
) -> Shoppers:
    """Shoppers of ``scope`` whose window of ``window_ms`` has closed by ``scope.until_ms``.

    Args:
        lists, events: of `stream_tables`, in any order, repetitions allowed.
        window_ms: ``None``: everything until ``scope.until_ms`` counts, for every shopper.
        before: purchases before the experiment by user id, where they are known.
    """
    shown = scope.of(lists.select(_ASSIGNING))
    found = assignment(shown, scope)
    end = np.full(len(found.users), scope.until_ms) if window_ms is None else found.first_ms + window_ms
    closed = end <= scope.until_ms
    users, first, end = found.users.filter(pa.array(closed)), found.first_ms[closed], end[closed]
    shown = shown.filter(pc.is_in(shown["user_id"], users))
    row = rows_of(shown["user_id"], users)
    row = row[shown["at_ms"].to_numpy() < end[row]]
    clicks, conversions, revenue = _outcomes(events, users, first, end)
    known = before or {}
    ids = users.to_pylist()
    return Shoppers(
        users=tuple(ids),
        is_treatment=found.is_treatment[closed],
        first_ms=first,
        days=(end - first) / DAY_MS,
        lists=np.bincount(row, minlength=len(users)).astype(np.float64),
        clicks=clicks,
        conversions=conversions,
        revenue=revenue,
        before=np.array([known.get(user, 0.0) for user in ids], dtype=np.float64),
        both=found.both,
    )


def first_seen(lists: pa.Table, scope: Scope) -> tuple[int, int]:
    """Shoppers of control and treatment by their first list, whether or not their window has closed."""
    found = assignment(scope.of(lists.select(_ASSIGNING)), scope)
    treated = int(found.is_treatment.sum())
    return len(found.users) - treated, treated


def assignment(shown: pa.Table, scope: Scope) -> Assignment:
    """First list and group of every shopper of ``shown``, which are lists of ``scope``."""
    codes = shown["user_id"].combine_chunks().dictionary_encode()
    row, n = codes.indices.to_numpy(zero_copy_only=False), len(codes.dictionary)
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, row, shown["at_ms"].to_numpy())
    lists, treated = np.bincount(row, minlength=n), np.zeros(n)
    np.add.at(treated, row, pc.equal(shown["variant"], scope.treatment).to_numpy().astype(np.float64))
    pure = np.flatnonzero((treated == 0) | (treated == lists))
    users = codes.dictionary.take(pure)
    by_time = pc.sort_indices(
        pa.table({"first": first[pure], "user": users}), sort_keys=[("first", "ascending"), ("user", "ascending")]
    ).to_numpy()
    kept = pure[by_time]
    return Assignment(users.take(by_time), first[kept], treated[kept] > 0, n - len(pure))


def rows_of(values: pa.ChunkedArray, of: pa.Array) -> NDArray[np.int64]:
    """Place of each of ``values`` in ``of``; -1 where it is not there."""
    return np.asarray(pc.fill_null(pc.index_in(values, of), -1).to_numpy(), dtype=np.int64)


def _outcomes(
    events: pa.Table, users: pa.Array, first: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Clicks, purchases and what was paid, of each of ``users`` (``[n]``) between their ``first`` list and ``end``."""
    n = len(users)
    done = once(events.filter(pc.is_in(events["user_id"], users)), "event_id")
    row, at = rows_of(done["user_id"], users), done["at"].to_numpy() * 1000
    # An event's time has whole seconds: one of the same second as the list counts as after it.
    within = (first[row] - 1000 < at) & (at < end[row])
    answers = pc.and_(pc.is_valid(done["request_id"]), pc.is_in(done["kind"], pa.array(CLICKS))).to_numpy()
    bought = pc.equal(done["kind"], "purchase").to_numpy()

    def total(mask: NDArray[np.bool_], weights: Any = None) -> NDArray[np.float64]:
        kept = within & mask
        return np.bincount(row[kept], None if weights is None else weights[kept], n).astype(np.float64)

    return total(answers), total(bought), total(bought, done["revenue"].to_numpy())
