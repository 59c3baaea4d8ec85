"""The guard: budget, breaker, one trial at a time, a bounded share of threads, and no thread that outlives its use."""

import contextvars
import multiprocessing
import os
import queue
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lambda_api.serving import guard as guard_module
from lambda_api.serving.guard import DaemonPool, DependencyFailed, Guard
from tests.patience import PATIENCE_S
from tests.state.tables import Clock


class NotThere(Exception):
    """An answer: the dependency is well and says no."""


def fail() -> None:
    raise OSError("no route to host")


def cause_of(call: Callable[[], object]) -> str:
    try:
        call()
    except DependencyFailed as failure:
        return failure.cause
    return "answered"


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def pool() -> DaemonPool:
    return DaemonPool("test")


def test_results_arguments_and_context_pass_through(pool: DaemonPool) -> None:
    guard = Guard("store", 5.0, pool=pool)
    assert guard.call(divmod, 7, 3) == (2, 1)
    assert guard.call(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]
    assert guard.call(lambda: None) is None
    request = contextvars.ContextVar("request", default="none")
    request.set("r-1")
    assert guard.call(request.get) == "r-1"  # log lines of the dependency keep the request's id
    state = guard.state
    assert (state.name, state.status, state.failures, state.last_error) == ("store", "closed", 0, None)
    assert state.last_success_age_s is not None


def test_an_error_becomes_a_failure_that_names_it(pool: DaemonPool) -> None:
    guard = Guard("store", 5.0, pool=pool)
    with pytest.raises(DependencyFailed, match="store: error: OSError: no route to host") as raised:
        guard.call(fail)
    assert (raised.value.name, raised.value.cause) == ("store", "error")
    assert isinstance(raised.value.__cause__, OSError)
    assert guard.state.failures == 1
    assert guard.state.last_error == "OSError: no route to host"


def test_answers_reach_the_caller_unchanged_and_count_as_success(pool: DaemonPool, clock: Clock) -> None:
    guard = Guard("store", 5.0, failures_to_open=2, answers=(NotThere, ValueError), clock=clock, pool=pool)
    question = NotThere("no such product")

    def answer() -> None:
        raise question

    cause_of(lambda: guard.call(fail))
    for _ in range(5):
        with pytest.raises(NotThere) as raised:
            guard.call(answer)
        assert raised.value is question
    assert guard.state.failures == 0
    with pytest.raises(ValueError, match="invalid literal"):
        guard.call(int, "x")
    assert cause_of(lambda: guard.call(fail)) == "error"
    assert guard.state.status == "closed"


def test_even_an_exit_inside_the_dependency_is_only_its_failure(pool: DaemonPool) -> None:
    guard = Guard("store", 5.0, pool=pool)
    assert cause_of(lambda: guard.call(sys.exit, 3)) == "error"
    assert guard.call(abs, -1) == 1


def test_a_caller_waits_for_the_budget_and_the_late_answer_is_thrown_away(pool: DaemonPool, clock: Clock) -> None:
    guard = Guard("store", 0.02, failures_to_open=3, clock=clock, pool=pool)
    gate, ended = threading.Event(), threading.Event()

    def slow() -> str:
        gate.wait(20)
        ended.set()
        return "late"

    with pytest.raises(DependencyFailed, match="timeout: no answer within 20 ms"):
        guard.call(slow)
    gate.set()
    assert ended.wait(20)
    assert guard.state.failures == 1  # ending late is no success
    assert guard.state.last_success_age_s is None


def test_it_opens_after_failures_in_a_row_and_then_does_not_call(pool: DaemonPool, clock: Clock) -> None:
    guard = Guard("store", 5.0, failures_to_open=3, open_for_s=10, clock=clock, pool=pool)
    called: list[str] = []

    def failing() -> None:
        called.append("x")
        fail()

    for _ in range(2):
        assert cause_of(lambda: guard.call(failing)) == "error"
    guard.call(abs, 1)  # in a row means: without a success in between
    for _ in range(3):
        assert cause_of(lambda: guard.call(failing)) == "error"
    assert len(called) == 5
    clock.now = 9.99
    with pytest.raises(DependencyFailed, match="open: not called after 3 failures in a row; last: OSError: no route"):
        guard.call(failing)
    assert len(called) == 5
    clock.now = 10
    assert cause_of(lambda: guard.call(failing)) == "error"  # the trial
    assert cause_of(lambda: guard.call(failing)) == "open"  # for another ten seconds, after one failure
    assert len(called) == 6
    clock.now = 20
    assert guard.call(abs, -3) == 3
    assert guard.state.status == "closed"
    assert cause_of(lambda: guard.call(failing)) == "error"  # the count begins anew
    assert guard.state.status == "closed"


def test_one_caller_tries_a_half_open_guard(pool: DaemonPool, clock: Clock) -> None:
    guard = Guard("store", 20.0, failures_to_open=1, open_for_s=10, clock=clock, pool=pool)
    cause_of(lambda: guard.call(fail))
    clock.now = 10
    gate, trying = threading.Event(), threading.Event()

    def trial() -> str:
        trying.set()
        gate.wait(20)
        return "well again"

    with ThreadPoolExecutor(8) as callers:
        first = callers.submit(guard.call, trial)
        assert trying.wait(20)
        assert guard.state.status == "half_open"
        assert [cause_of(lambda: guard.call(trial)) for _ in range(10)] == ["open"] * 10
        gate.set()
        assert first.result(20) == "well again"
    assert guard.state.status == "closed"


def test_what_began_before_a_change_does_not_count_after_it(pool: DaemonPool, clock: Clock) -> None:
    guard = Guard("store", 20.0, failures_to_open=2, open_for_s=10, clock=clock, pool=pool)
    gates = {name: threading.Event() for name in ("good", "bad")}
    begun = threading.Barrier(3)

    def good() -> None:
        begun.wait(20)
        gates["good"].wait(20)

    def bad() -> None:
        begun.wait(20)
        gates["bad"].wait(20)
        fail()

    with ThreadPoolExecutor(2) as callers:
        old_good, old_bad = callers.submit(guard.call, good), callers.submit(guard.call, bad)
        begun.wait(20)
        for _ in range(2):
            cause_of(lambda: guard.call(fail))
        assert guard.state.status == "open"
        gates["good"].set()
        old_good.result(20)
        assert guard.state.status == "open"  # one answer from before proves nothing
        clock.now = 10
        guard.call(abs, 1)
        assert guard.state.status == "closed"
        gates["bad"].set()
        assert cause_of(old_bad.result) == "error"
        assert guard.state.failures == 0


def test_a_stopped_caller_does_not_leave_a_trial_pending(
    pool: DaemonPool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard("store", 5.0, failures_to_open=1, open_for_s=10, clock=clock, pool=pool)
    cause_of(lambda: guard.call(fail))
    clock.now = 10

    def stopped(self: object, seconds: float) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(guard_module._Call, "wait", stopped)
        with pytest.raises(KeyboardInterrupt):
            guard.call(abs, 1)
    assert guard.state.status == "open"
    clock.now = 20
    assert guard.call(abs, -1) == 1


def test_a_hanging_dependency_holds_its_own_slots_and_no_others(pool: DaemonPool, clock: Clock) -> None:
    hanging = Guard("hanging", 0.02, failures_to_open=1_000, slots=3, clock=clock, pool=pool)
    healthy = Guard("healthy", 20.0, slots=2, clock=clock, pool=pool)
    gate, running, most = threading.Event(), [], []

    def hang() -> None:
        running.append(1)
        most.append(len(running))
        gate.wait(30)
        running.pop()

    assert [cause_of(lambda: hanging.call(hang)) for _ in range(10)] == ["timeout"] * 10
    assert max(most) == 3
    assert "all 3 slots hold calls that hang" in str(hanging.state.last_error)
    with ThreadPoolExecutor(4) as callers:
        assert list(callers.map(lambda n: healthy.call(abs, n), range(-50, 0))) == list(range(50, 0, -1))
    assert pool.threads <= 5
    gate.set()
    patient = Guard("patient", 20.0, pool=pool)
    for _ in range(200):  # the slots come back when the calls end at last
        if cause_of(lambda: hanging.call(abs, 1)) == "answered":
            break
        time.sleep(0.01)
    assert hanging.call(abs, -2) == 2
    assert patient.call(abs, -2) == 2
    assert len(most) == 3  # calls that got no variant within their budget never ran


def test_a_call_waits_for_a_slot_within_its_budget(pool: DaemonPool) -> None:
    guard = Guard("store", 20.0, slots=1, pool=pool)
    inside: list[int] = []

    def work(n: int) -> int:
        inside.append(n)
        assert len(inside) == 1
        time.sleep(0.002)
        inside.remove(n)
        return n

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(lambda n: guard.call(work, n), range(30))) == list(range(30))
    assert pool.threads == 1


def test_idle_threads_end_and_new_ones_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "IDLE_S", 0.001)
    pool = DaemonPool()
    guard = Guard("store", 20.0, slots=4, pool=pool)
    with ThreadPoolExecutor(4) as callers:
        for start in range(0, 400, 8):  # calls arrive while threads are about to leave
            assert list(callers.map(lambda n: guard.call(abs, n), range(start, start + 8))) == list(
                range(start, start + 8)
            )
            time.sleep(0.001)
    deadline = time.monotonic() + PATIENCE_S
    while pool.threads and time.monotonic() < deadline:
        # CPython's SimpleQueue.get waits on for the next call, past its time, where another thread took the one that
        # woke it; such a thread is idle and sound, and leaves after a call.
        guard.call(abs, -1)
        time.sleep(0.05)
    assert pool.threads == 0
    assert guard.call(abs, -1) == 1


def test_a_thread_about_to_leave_still_takes_the_call_it_was_promised() -> None:
    pool = DaemonPool()

    class Calls(queue.SimpleQueue):  # type: ignore[type-arg]
        """Its second ``get`` runs out of time just when a call has been put: the one moment that matters."""

        gets = puts = 0

        def put(self, item: object, *given: object) -> None:
            super().put(item)
            self.puts += 1

        def get(self, *given: object, **limits: object) -> object:
            self.gets += 1
            if self.gets == 2:
                while self.puts < 2:
                    time.sleep(0.001)
                raise queue.Empty
            return super().get()

    pool._queue = Calls()
    guard = Guard("store", 20.0, slots=1, pool=pool)
    assert guard.call(abs, -1) == 1
    while pool._idle == 0:
        time.sleep(0.001)
    assert guard.call(abs, -2) == 2
    assert pool.threads == 1


def test_threads_agree_on_one_state_under_load(pool: DaemonPool, clock: Clock) -> None:
    guard = Guard("store", 20.0, failures_to_open=5, open_for_s=10, slots=6, clock=clock, pool=pool)
    calls = []

    def failing() -> None:
        calls.append(1)
        fail()

    with ThreadPoolExecutor(6) as callers:
        causes = list(callers.map(lambda _: cause_of(lambda: guard.call(failing)), range(300)))
    assert set(causes) == {"error", "open"}
    assert len(calls) == causes.count("error") <= 5 + 6  # those on their way when it opened
    assert guard.state.status == "open"
    for step in range(1, 6):
        clock.now = 10.0 * step
        before = len(calls)
        with ThreadPoolExecutor(6) as callers:
            list(callers.map(lambda _: cause_of(lambda: guard.call(failing)), range(60)))
        assert len(calls) == before + 1


class Breaker(RuleBasedStateMachine):
    """Random calls and passing time, against the breaker's rules written as plainly as possible."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(0.0)
        self.guard = Guard("store", 20.0, failures_to_open=3, open_for_s=10, clock=self.clock)
        self.failures, self.opened_at = 0, None

    def expect(self, healthy: bool) -> str:
        if self.opened_at is not None and self.clock.now < self.opened_at + 10:
            return "open"
        if healthy:
            self.failures, self.opened_at = 0, None
            return "answered"
        self.failures += 1
        if self.failures >= 3 or self.opened_at is not None:
            self.opened_at = self.clock.now
        return "error"

    @rule(healthy=st.booleans())
    def call(self, healthy: bool) -> None:
        expected = self.expect(healthy)
        assert cause_of(lambda: self.guard.call(abs, 1) if healthy else self.guard.call(fail)) == expected

    @rule(seconds=st.sampled_from([0.5, 4.0, 9.5, 10.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def state_agrees(self) -> None:
        state = self.guard.state
        assert state.status == ("closed" if self.opened_at is None else "open")
        assert state.failures == self.failures


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=30)


def test_a_forked_child_has_threads_of_its_own() -> None:
    pool = DaemonPool()
    guard = Guard("store", 20.0, pool=pool)
    assert guard.call(os.getpid) == os.getpid()

    def child() -> None:
        os._exit(0 if guard.call(os.getpid) == os.getpid() and pool.threads == 1 else 3)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert guard.call(os.getpid) == os.getpid()


def test_a_stuck_call_does_not_keep_the_process_from_ending() -> None:
    program = """
        import time
        from lambda_api.serving.guard import DependencyFailed, Guard
        try:
            Guard("stuck", 0.01).call(time.sleep, 600)
        except DependencyFailed as failure:
            print(failure.cause)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert ended.stdout == b"timeout\n"


@pytest.mark.parametrize("wrong", [{"budget_s": 0}, {"open_for_s": -1}, {"failures_to_open": 0}, {"slots": 0}], ids=str)
def test_impossible_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Guard("store", **{"budget_s": 1.0, **wrong})  # type: ignore[arg-type]
