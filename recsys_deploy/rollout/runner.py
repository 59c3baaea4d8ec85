"""A rollout on a laptop from its start to its end: the interpreter runs in this process, people act from others.

What a person decides elsewhere (`recsys rollout approve`, `refuse`, `abort`) is written into the record; this process
sees it there and tells the interpreter.
"""

import fcntl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from recsys_deploy.rollout.handler import dispatch
from recsys_deploy.rollout.machine import Machine, machine
from recsys_deploy.rollout.record import ENDED, RolloutRecord, Status, current_rollout
from recsys_deploy.rollout.steps import Rollouts

POLL_S: Final = 0.5
TRIES: Final = 5
LOCK: Final = ".rollout-lock"
"""File in a home that a process holds locked while it runs the rollout."""


class RolloutFailed(RecsysError):
    """A rollout did not begin, or could not be taken back."""


@contextmanager
def only_runner(home: Path) -> Iterator[None]:
    """Hold the home's lock for running rollouts; a process that ends releases it, however it ends.

    Raises:
        RolloutFailed: another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("a") as lock:
        for _ in range(TRIES):  # somebody who only looks holds it for a moment
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise RolloutFailed("another process runs this shop's rollout", remedy="`recsys rollout status` shows it")
        yield


def is_run_by_somebody(home: Path) -> bool:
    """Whether a process runs this home's rollout."""
    try:
        with only_runner(home):
            return False
    except RolloutFailed:
        return True


@contextmanager
def shadow_answers(settings: Settings) -> Iterator[None]:
    """Answer the shadow's questions in a thread, by the code that is a function of its own on AWS."""
    from lambda_api.handlers import dependencies, shadow

    held, stop = dependencies.build(settings), threading.Event()
    assert held.shadow_queue is not None, "a laptop has one"
    consumer = shadow.ShadowConsumer(held.scorer, held.inference_log, held.sink)
    thread = threading.Thread(target=shadow.run, args=(consumer, held.shadow_queue, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        held.close()


def run(
    rollouts: Rollouts,
    rollout_id: str,
    version: str,
    plan: Mapping[str, Any],
    seen: Callable[[RolloutRecord], None] = lambda record: None,
    poll_s: float = POLL_S,
) -> RolloutRecord:
    """Run, or go on with, a rollout until it has ended; ``seen`` gets every new state of its record.

    Raises:
        RolloutFailed: it could not begin (the message says why).
    """
    with machine(partial(dispatch, rollouts)) as running:
        execution = running.start(rollout_id, version, plan)
        revision, answered = 0, ""
        while running.is_running(execution):
            record = current_rollout(rollouts.serving)
            if record is not None and record.id == rollout_id and record.revision != revision:
                revision = record.revision
                seen(record)
                answered = _forward(running, record, answered)
                if record.status in ENDED and record.status is not Status.PROMOTED:
                    running.stop(execution)  # taken back from outside: nothing is left for the machine to do
            time.sleep(poll_s)
        # Without its history: of an execution that was stopped within a step, the interpreter's cannot be read.
        failure = running.failure(execution)
    record = current_rollout(rollouts.serving)
    if record is None or record.id != rollout_id:
        raise RolloutFailed(f"{version} was not rolled out: {failure}")
    seen(record)
    return record


def _forward(machine: Machine, record: RolloutRecord, answered: str) -> str:
    """Give the interpreter the answer of a person, once; returns the token that is answered by now."""
    token, approval = record.approval_token, record.approval
    if not token or not approval or token == answered:
        return answered
    if approval == "yes":
        machine.approve(token)
    else:
        machine.refuse(token, record.reason or "refused")
    return token
