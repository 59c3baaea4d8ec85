"""A time budget and a circuit breaker around one dependency, so that its trouble costs a shopper little and once.

Put here what every dependency of an answer needs when it fails or hangs. Keep out what to answer instead
(``lambda_api.serving.service``) and retries (a shopper is waiting: the next best answer is the retry).

Powertools' ``utilities.circuit_breaker`` (3.37) was looked at and is not used: it has no time budget, which is what a
hanging dependency needs; it demands a persistence layer and reads it in front of every call (the one it brings is
DynamoDB, one of the dependencies guarded here); it counts in whole seconds of a wall clock that cannot be injected;
its half-open probe belongs to a thread for several calls, where calls here come from any thread. Its vocabulary
(closed, open, half-open, consecutive failures, ignored exceptions) is kept.
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
"""A thread of the pool without work for so long ends."""


class DependencyFailed(RecsysError):
    """A guarded call brought no answer.

    Attributes:
        name: of the guard.
        cause: ``timeout`` (not within the budget), ``error`` (it raised) or ``open`` (it was not called at all).
        detail: for the log; holds the dependency's own message, so not for shoppers.
    """

    def __init__(self, name: str, cause: Cause, detail: str) -> None:
        super().__init__(f"{name}: {cause}: {detail}")
        self.name = name
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class GuardState:
    """What is known of a dependency, for ``/health``.

    Attributes:
        failures: consecutive ones.
        last_error: the newest, also when calls succeed again; ``None``: never failed.
        last_success_age_s: ``None``: never succeeded.
    """

    name: str
    status: Status
    failures: int
    last_error: str | None
    last_success_age_s: float | None


class _Call:
    """One call on its way through the pool."""

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
        self._finished = threading.Lock()  # a bare lock wakes its waiter in a few microseconds; an Event takes longer
        self._finished.acquire()
        self.abandoned = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            if not self.abandoned:
                arguments, keywords = self._given
                self.result = self._context.run(self._function, *arguments, **keywords)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, in whose thread it belongs
            self.error = error
        finally:
            self._release()
            self._finished.release()

    def wait(self, seconds: float) -> bool:
        """Whether the call ended within ``seconds``."""
        return self._finished.acquire(timeout=max(0.0, seconds))


class DaemonPool:
    """Threads that run calls and never keep the process from ending.

    There are never more threads than guards have reserved, so calls stuck in one dependency never take another's.
    (``concurrent.futures`` joins its threads when the interpreter ends: one stuck call would hang a worker's stop.)
    Threads do not survive a fork; the child starts its own.
    """

    def __init__(self, name: str = "guard") -> None:
        self._name = name
        self._reserved = 0
        self._start_afresh()
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
                    if self._waiting > self._idle:  # work was promised to this thread a moment ago
                        continue
                    self._threads -= 1
                    return
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            call.run()
            del call  # what it holds may be large, and the next one may be long in coming

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._idle = self._waiting = self._threads = 0


class Guard:
    """Calls one dependency within a budget, and stops calling it for a while when it keeps failing.

    Closed: calls pass. After ``failures_to_open`` failures in a row it opens: calls fail at once, without touching the
    dependency. After ``open_for_s`` it is half open: the next caller alone tries, all others still fail at once. When
    the trial succeeds it closes, else it is open for another ``open_for_s``. What a call brings that began before such
    a change does not count afterwards.

    A failure is a call that raised or did not end within the budget. Time to wait for a free slot is part of the
    budget. A call that ran out of time goes on in its thread (nothing in Python can stop it) and keeps its slot, so
    a hanging dependency holds at most ``slots`` threads, and none of other guards. Its late result is thrown away.

    Thread-safe. Keep one per dependency and process.

    Args:
        name: of the dependency, in messages and health.
        budget_s: seconds a caller waits at most.
        failures_to_open: failures in a row that open it.
        open_for_s: seconds it stays open before a trial.
        slots: calls at one time; a worker's threads, or more.
        answers: exceptions that are an answer of a healthy dependency (``ValueError`` for bad input): they reach the
            caller unchanged and count as success. All others are failures.
        clock: monotonic seconds; decides when a trial is due. (The budget is measured by the operating system.)
        pool: where calls run; by default one per process, shared by all guards.
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
        self._pool = shared_pool() if pool is None else pool
        self._pool.reserve(slots)
        self._status: Status = "closed"
        self._epoch = 0
        self._failures = 0
        self._opened_at = 0.0
        self._last_error: str | None = None
        self._last_success_at: float | None = None
        self._start_afresh()
        _forked.add(self)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``function(*args, **kwargs)`` returns.

        Raises:
            DependencyFailed: it raised, took too long, or was not called because the guard is open.
            Exception: one of ``answers``, as it was raised.
        """
        epoch = self._admit()
        try:
            call = self._run(function, args, kwargs)
        except DependencyFailed as failure:
            self._fail(epoch, f"timeout: {failure.detail}")
            raise
        except BaseException as stopped:
            # The caller itself is being stopped (a worker's time limit, an interrupt): a trial must not stay pending.
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
        """A snapshot. A guard whose trial is due but has not been asked yet still says ``open``."""
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
        """The call, ended. Raises `DependencyFailed` (``timeout``) when the budget ran out before."""
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
            call.abandoned = True  # if no thread has begun it yet, none will
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

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(self._slots)
        if self._status == "half_open":  # the trial stayed behind in the parent
            self._status = "open"
            self._epoch += 1


_forked: "weakref.WeakSet[DaemonPool | Guard]" = weakref.WeakSet()
"""Whose locks and threads a forked child must make anew: those of the parent stay behind in whatever state they had."""


def _start_afresh_in_child() -> None:
    for member in list(_forked):
        member._start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_in_child)

_shared = DaemonPool()


def shared_pool() -> DaemonPool:
    """The process's pool."""
    return _shared
