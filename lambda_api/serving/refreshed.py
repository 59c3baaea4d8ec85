"""A value read from a dependency now and then, whose last good version is kept while reading fails."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from lambda_api.serving.guard import DependencyFailed, Guard

T = TypeVar("T")

log = logging.getLogger(__name__)


class RefreshedValue(Generic[T]):
    """The result of ``read``, read again at most once in ``ttl_s``, or ``retry_s`` after a failure.

    When a reading is due, one caller reads, for at most the guard's budget; all others get the known value at once.
    Only while none is known do they wait for that reader, at most as long. ``None`` from ``read`` means that there is
    nothing to read; it counts as a failure, so that a first publication is seen after ``retry_s``.

    Args:
        read: reads the value; may raise.
        guard: around each reading.
        ttl_s, retry_s: seconds until the next reading, after a success and after a failure.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        read: Callable[[], T | None],
        guard: Guard,
        *,
        ttl_s: float,
        retry_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.guard = guard
        self.known: T | None = None
        self.failure: DependencyFailed | None = None
        self.last_error: str | None = None
        self._read = read
        self._ttl_s = ttl_s
        self._retry_s = retry_s
        self._clock = clock
        self._refreshing = threading.Lock()
        self._due_at: float | None = None

    def current(self) -> T | None:
        """The value, or ``None`` while none is known. Never raises."""
        if not self._is_due():
            return self.known
        first = self.known is None
        if not self._refreshing.acquire(blocking=first, timeout=self.guard.budget_s if first else -1):
            return self.known
        try:
            if self._is_due():
                self._refresh()
        finally:
            self._refreshing.release()
        return self.known

    def _is_due(self) -> bool:
        return self._due_at is None or self._clock() >= self._due_at

    def _refresh(self) -> None:
        self.failure = None
        try:
            value = self.guard.call(self._read)
            self.last_error = None if value is not None else "nothing has been published"
        except DependencyFailed as failure:
            value, self.failure, self.last_error = None, failure, str(failure)
        if value is not None:
            self.known = value
        else:
            kept = "last one kept" if self.known else "none known"
            log.warning("%s not read (%s): %s", self.guard.name, kept, self.last_error)
        self._due_at = self._clock() + (self._retry_s if value is None else self._ttl_s)
