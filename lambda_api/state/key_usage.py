"""Requests of API keys that have a daily quota, counted over all processes.

Every process counts in memory and keeps a record of its own in the table ``exposures``, so that no two processes write
the same record and counting needs no transaction. The records of the others are read again every `SYNC_S`. A quota may
therefore be exceeded by what the other processes answer within that time; it bounds cost, and is no rate limit.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lambda_api.state.table import Key, Put, Table, TableUnavailable

SYNC_S: Final = 10.0
DAY_S: Final = 86_400
KEPT_S: Final = 2 * DAY_S
"""A record is kept so long after the beginning of its day."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyQuota:
    """Requests that the key ``key_id`` may make in a day (UTC)."""

    key_id: str
    requests_per_day: int


@dataclass(slots=True)
class _Day:
    number: int
    own: int = 0
    others: int = 0
    synced_at: float | None = None


class KeyUsage:
    """Counts requests by key and day.

    Args:
        table: for the counts; while it cannot be used, this process's own count decides.
        clock: monotonic seconds, for the times between two looks at the table.
        now: seconds since 1970 UTC.
    """

    def __init__(
        self, table: Table, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._clock = clock
        self._now = now
        self._process = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._days: dict[str, _Day] = {}

    def spend(self, quota: KeyQuota) -> int | None:
        """Count one request; ``None`` if the quota allows it, else the seconds until the next day begins."""
        now = int(self._now())
        number = now // DAY_S
        with self._lock:
            day = self._days.get(quota.key_id)
            if day is None or day.number != number:
                day = self._days[quota.key_id] = _Day(number)
            day.own += 1
            due = day.synced_at is None or self._clock() - day.synced_at >= SYNC_S
            if due:
                # Before the call, so that other threads do not wait for it too.
                day.synced_at = self._clock()
        if due:
            self._sync(quota.key_id, day)
        with self._lock:
            if day.own + day.others <= quota.requests_per_day:
                return None
            day.own -= 1
        return (number + 1) * DAY_S - now

    def _sync(self, key_id: str, day: _Day) -> None:
        partition = f"usage#{key_id}#{day.number}"
        own = Put(Key(partition, self._process), {"requests": day.own}, expires_at=day.number * DAY_S + KEPT_S)
        try:
            self._table.write([own])
            records = self._table.query(partition)
        except TableUnavailable as error:
            log.warning("requests of key %s are counted in this process only: %s", key_id, error)
            return
        day.others = sum(int(one.attributes["requests"]) for one in records if one.key.sort != self._process)
