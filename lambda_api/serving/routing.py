"""Which variant answers which shopper, and the routing record as serving sees it: fresh within 30 s, never in the way.

Put assignment and its properties here. Keep the record's form and storage in ``lambda_api.state.routing_record``.

A shopper's bucket is a number below 10,000 drawn from SHA-256 of salt and user id: the same on every machine and in
every process, uniform, and independent between experiments because each has its own salt. Variants own buckets:

* ``variants[1]``, the first challenger, owns those from 0 upwards,
* ``variants[2]``, the second, those from 9,999 downwards,
* ``variants[0]``, the champion, all in between.

So a challenger that grows only takes shoppers from the champion, and one that shrinks only gives them back to it:
nobody moves between challengers, and who met a challenger at 10 % meets it at 50 %. With weights alone this is
possible for two challengers and no more. Say variant ``i`` owns a set ``S_i(w)`` that grows with its weight ``w`` and
ignores the others'. When two fill everything between them, ``S_1(w)`` and ``S_2(10,000 - w)`` are complements for
every ``w``: ``S_2`` fills the buckets in the reverse order of ``S_1``. A third set would have to be the reverse of
``S_1`` too, hence collide with ``S_2`` in its first bucket. Hence at most three variants in a record.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lambda_api.serving.guard import DependencyFailed, Guard
from lambda_api.state.routing_record import SEPARATOR, WHOLE, RoutingRecord, Variant, check_salt, read_routing
from lambda_api.state.table import Table

BUDGET_S = 0.05
log = logging.getLogger(__name__)


def bucket(salt: str, user_id: str) -> int:
    """The shopper's bucket: the first 8 bytes of SHA-256(salt, U+001F, user id), big-endian, modulo 10,000.

    No salt contains U+001F, so the first one ends the salt, and no two pairs hash the same bytes. Buckets differ in
    probability by less than 1e-15 (2**64 is no multiple of 10,000).

    Raises:
        ValueError: an empty salt, or one that contains U+001F.
    """
    check_salt(salt)
    content = f"{salt}{SEPARATOR}{user_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % WHOLE


def assign(record: RoutingRecord, user_id: str) -> Variant:
    """The variant that answers this shopper; see the module for who owns which bucket.

    An anonymous visitor takes part with a visitor id passed as ``user_id``. Without any id the champion answers: a
    shared empty id would put all anonymous traffic into one variant.
    """
    champion, *challengers = record.variants
    if not user_id or not challengers:
        return champion
    at = bucket(record.salt, user_id)
    if at < challengers[0].weight:
        return challengers[0]
    if len(challengers) > 1 and at >= WHOLE - challengers[1].weight:
        return challengers[1]
    return champion


@dataclass(frozen=True, slots=True)
class RoutingState:
    """What the cache holds, for ``/health``: ``None`` where it holds no record; the newest failure, if the newest
    attempt was one."""

    revision: int | None
    age_s: float | None
    last_error: str | None


class RoutingCache:
    """The routing record, read at most once in ``ttl_s`` and kept when it cannot be read.

    One caller reads when the record is due, for at most the guard's budget; all others get the record they know at
    once. Only while none is known do they wait for that one reader, as long as the budget. A record that is
    malformed or has vanished is a failed reading: the last known one keeps routing, and the next reading is due after
    ``retry_s``. So is it while there is none at all, that the first release is seen soon.

    Args:
        table: the table ``serving``.
        ttl_s: seconds until a record read is due again.
        retry_s: seconds until the next attempt after a failed one.
        clock: monotonic seconds.
        guard: around the reading; by default one of 50 ms. Do not put another around `current`.
    """

    def __init__(
        self,
        table: Table,
        *,
        ttl_s: float = 30.0,
        retry_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        guard: Guard | None = None,
    ) -> None:
        self._table = table
        self._ttl_s = ttl_s
        self._retry_s = retry_s
        self._clock = clock
        self.guard = Guard("routing", BUDGET_S, clock=clock) if guard is None else guard
        self._refreshing = threading.Lock()
        self._record: RoutingRecord | None = None
        self._read_at = 0.0
        self._due_at: float | None = None
        self._last_error: str | None = None

    def current(self) -> RoutingRecord | None:
        """The record to route by, or ``None`` while none is known. Never raises."""
        if not self._is_due():
            return self._record
        waits = -1.0 if self._record is not None else self.guard.budget_s
        if not (self._refreshing.acquire(blocking=False) or (waits > 0 and self._refreshing.acquire(timeout=waits))):
            return self._record
        try:
            if self._is_due():
                self._refresh()
        finally:
            self._refreshing.release()
        return self._record

    def state(self) -> RoutingState:
        """A snapshot."""
        record = self._record
        age = None if record is None else max(0.0, self._clock() - self._read_at)
        return RoutingState(None if record is None else record.revision, age, self._last_error)

    def _is_due(self) -> bool:
        return self._due_at is None or self._clock() >= self._due_at

    def _refresh(self) -> None:
        try:
            record = self.guard.call(read_routing, self._table)
        except DependencyFailed as failure:
            self._give_up(str(failure))
            return
        if record is None:
            self._give_up("there is no routing record")
            return
        self._record, self._read_at, self._last_error = record, self._clock(), None
        self._due_at = self._clock() + self._ttl_s

    def _give_up(self, error: str) -> None:
        known = "no record is known" if self._record is None else f"revision {self._record.revision} keeps routing"
        log.warning("routing record not read (%s): %s", known, error)
        self._last_error = error
        self._due_at = self._clock() + self._retry_s
