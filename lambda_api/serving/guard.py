"""Time-out and circuit breaker for one dependency.

Powertools' ``utilities.circuit_breaker`` is not used: it has no time-out, which is what a hanging dependency needs; it
reads a persistence layer (DynamoDB, one of the dependencies guarded here) before every call; and its half-open state
belongs to one thread, where calls here come from many. Its vocabulary is kept. There are no retries: the fallback in
``lambda_api.serving.service`` takes their place.
"""

import contextvars
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

from lambda_api.errors import RecsysError

P = ParamSpec("P")
T = TypeVar("T")

Cause = Literal["timeout", "error", "open"]
Status = Literal["closed", "open", "half_open"]

IDLE_S = 60.0
"""Idle threads of the pool end after this time."""


class DependencyFailed(RecsysError):
    """A guarded call failed.

    Attributes:
        name: of the guard.
        cause: ``timeout`` (not within the budget), ``error`` (it raised) or ``open`` (it was not called).
        detail: the dependency's own message, for the log only.
    """

    def __init__(self, name: str, cause: Cause, detail: str) -> None:
        super().__init__(f"{name}: {cause}: {detail}")
        self.name = name
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class GuardState:
    """State of a dependency, for ``/health``.

    Attributes:
        failures: number of consecutive failures.
        last_error: the newest error, kept after later successes; ``None``: never failed.
        last_success_age_s: seconds since the last success; ``None``: never succeeded.
    """

    name: str
    status: Status
    failures: int
    last_error: str | None
    last_success_age_s: float | None


class _Call:
    """One call in the pool."""

    __slots__ = ("_context", "_finished", "_function", "_given", "_release", "abandoned", "error", "result")

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        release: Callable[[], None],
    ) -> None:
        self._function = function
        self._given = (arguments, keywords)
        self._context = contextvars.copy_context()
        self._release = release
        self._finished = threading.Lock()  # a bare lock wakes its waiter faster than an Event
        self._finished.acquire()
        self.abandoned = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            if not self.abandoned:
                arguments, keywords = self._given
                self.result = self._context.run(self._function, *arguments, **keywords)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.error = error
        finally:
            self._release()
            self._finished.release()

    def wait(self, seconds: float) -> bool:
        """Whether the call ended within ``seconds``."""
        return self._finished.acquire(timeout=max(0.0, seconds))


class DaemonPool:
    """A pool of daemon threads, as many as all guards have reserved, so that a hanging dependency blocks no other.

    ``concurrent.futures`` joins its threads when the interpreter ends, so one hanging call would block the stop of a
    worker. Threads do not survive a fork; the child starts its own.
    """

    def __init__(self, name: str = "guard") -> None:
        self._name = name
        self._reserved = 0
        self._reset_after_fork()
        _forked.add(self)

    def reserve(self, threads: int) -> None:
        """Allow for ``threads`` more calls at once."""
        with self._lock:
            self._reserved += threads

    def submit(self, call: _Call) -> None:
        """Run ``call`` in an idle thread, or in a new one."""
        with self._lock:
            self._waiting += 1
            if self._waiting > self._idle and self._threads < self._reserved:
                self._threads += 1
                start = True
            else:
                start = False
        self._queue.put(call)
        if start:
            threading.Thread(target=self._work, args=(self._queue,), name=self._name, daemon=True).start()

    @property
    def threads(self) -> int:
        """How many threads there are now."""
        return self._threads

    def _work(self, calls: "queue.SimpleQueue[_Call]") -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                call = calls.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    if self._waiting > self._idle:  # a call was submitted to this thread just now
                        continue
                    self._threads -= 1
                    return
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            call.run()
            del call  # its arguments and result may be large

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._idle = self._waiting = self._threads = 0


class Guard:
    """Calls one dependency within a time budget, and stops calling it for a while when it keeps failing.

    Closed: calls pass. After ``failures_to_open`` consecutive failures it opens: calls fail at once without calling the
    dependency. After ``open_for_s`` it is half open: the next call is a trial, all others still fail at once. A
    successful trial closes it, a failed one opens it again. Calls that began before a change of state do not count.

    A failure is a call that raised or did not end within the budget, waiting for a free slot included. A call that
    timed out goes on in its thread (Python cannot stop it) and keeps its slot, so a hanging dependency holds at most
    ``slots`` threads. Its late result is discarded.

    Thread-safe. Use one per dependency and process.

    Args:
        name: of the dependency, in messages and health.
        budget_s: longest wait of a caller, seconds.
        failures_to_open: consecutive failures that open it.
        open_for_s: seconds before a trial.
        slots: concurrent calls; at least the threads of a worker.
        answers: exceptions that a healthy dependency raises (``ValueError`` for bad input): passed on unchanged and
            counted as success. All others are failures.
        clock: monotonic seconds; decides when a trial is due. The budget is measured by the operating system.
        pool: runs the calls; by default one per process, shared by all guards.
    """

    def __init__(
        self,
        name: str,
        budget_s: float,
        *,
        failures_to_open: int = 5,
        open_for_s: float = 10.0,
        slots: int = 8,
        answers: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
        pool: DaemonPool | None = None,
    ) -> None:
        if budget_s <= 0 or open_for_s < 0:
            raise ValueError(f"budget_s must be positive and open_for_s not negative, are {budget_s} and {open_for_s}")
        if failures_to_open < 1 or slots < 1:
            raise ValueError(f"failures_to_open and slots must be at least 1, are {failures_to_open} and {slots}")
        self.name = name
        self.budget_s = budget_s
        self._failures_to_open = failures_to_open
        self._open_for_s = open_for_s
        self._slots = slots
        self._answers = answers
        self._clock = clock
        self._pool = _shared if pool is None else pool
        self._pool.reserve(slots)
        self._status: Status = "closed"
        self._epoch = 0
        self._failures = 0
        self._opened_at = 0.0
        self._last_error: str | None = None
        self._last_success_at: float | None = None
        self._reset_after_fork()
        _forked.add(self)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function(*args, **kwargs)`` and return its result.

        Raises:
            DependencyFailed: it raised, timed out, or was not called because the guard is open.
            Exception: one of ``answers``, unchanged.
        """
        epoch = self._admit()
        try:
            call = self._run(function, args, kwargs)
        except DependencyFailed as failure:
            self._fail(epoch, f"timeout: {failure.detail}")
            raise
        except BaseException as stopped:
            # The caller is being stopped (an interrupt, a worker's time limit): do not leave a trial pending.
            self._fail(epoch, f"caller stopped: {type(stopped).__name__}")
            raise
        if call.error is None or isinstance(call.error, self._answers):
            self._succeed(epoch)
            if call.error is not None:
                raise call.error
            result: T = call.result
            return result
        detail = f"{type(call.error).__name__}: {call.error}"
        self._fail(epoch, detail)
        raise DependencyFailed(self.name, "error", detail) from call.error

    @property
    def state(self) -> GuardState:
        """A snapshot; ``open`` until the next call starts the trial that may be due."""
        with self._lock:
            since = None if self._last_success_at is None else max(0.0, self._clock() - self._last_success_at)
            return GuardState(self.name, self._status, self._failures, self._last_error, since)

    def _admit(self) -> int:
        with self._lock:
            if self._status == "closed":
                return self._epoch
            if self._status == "open" and self._clock() >= self._opened_at + self._open_for_s:
                self._status = "half_open"
                self._epoch += 1
                return self._epoch
            detail = f"not called after {self._failures} failures in a row; last: {self._last_error}"
        raise DependencyFailed(self.name, "open", detail)

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        """Run the call to its end. Raises `DependencyFailed` (``timeout``) when the budget is used up before."""
        started = time.monotonic()
        late = f"no answer within {self.budget_s * 1000:g} ms"
        free = self._free
        if not free.acquire(blocking=False) and not free.acquire(timeout=self.budget_s):
            raise DependencyFailed(self.name, "timeout", f"{late}; all {self._slots} slots hold calls that hang")
        call = _Call(function, args, kwargs, free.release)
        try:
            self._pool.submit(call)
        except BaseException:
            free.release()
            raise
        if not call.wait(self.budget_s - (time.monotonic() - started)):
            call.abandoned = True  # a thread that has not started it yet will skip it
            raise DependencyFailed(self.name, "timeout", late)
        return call

    def _succeed(self, epoch: int) -> None:
        with self._lock:
            if epoch != self._epoch:
                return
            self._failures = 0
            self._last_success_at = self._clock()
            if self._status != "closed":
                self._status = "closed"
                self._epoch += 1

    def _fail(self, epoch: int, error: str) -> None:
        with self._lock:
            if epoch != self._epoch:
                return
            self._failures += 1
            self._last_error = error
            if self._status == "half_open" or self._failures >= self._failures_to_open:
                self._status = "open"
                self._opened_at = self._clock()
                self._epoch += 1

    def _reset_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(self._slots)
        if self._status == "half_open":  # the trial runs in the parent
            self._status = "open"
            self._epoch += 1


_forked: "weakref.WeakSet[DaemonPool | Guard]" = weakref.WeakSet()
"""Objects whose locks and threads a forked child must create again."""


def _reset_in_child() -> None:
    for member in list(_forked):
        member._reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)

_shared = DaemonPool()
"""The process's pool."""
