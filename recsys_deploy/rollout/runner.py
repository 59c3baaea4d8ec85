"""A rollout on a laptop from its start to its end: the interpreter runs in this process, people act from others.

What a person decides elsewhere (`recsys rollout approve`, `refuse`, `abort`) is written into the record; this process
sees it there and tells the interpreter.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from lambda_api.errors import RecsysError
from recsys_deploy.rollout.machine import Machine, local_machine
from recsys_deploy.rollout.record import ENDED, RolloutRecord, Status, current_rollout
from recsys_deploy.rollout.steps import Rollouts

POLL_S: Final = 0.5


class RolloutFailed(RecsysError):
    """A rollout did not begin, or could not be taken back."""


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
    with local_machine(rollouts) as machine:
        execution = machine.start(rollout_id, version, plan)
        revision, answered = 0, ""
        while machine.is_running(execution):
            record = current_rollout(rollouts.serving)
            if record is not None and record.id == rollout_id and record.revision != revision:
                revision = record.revision
                seen(record)
                answered = _forward(machine, record, answered)
                if record.status in ENDED and record.status is not Status.PROMOTED:
                    machine.stop(execution)
            time.sleep(poll_s)
        ended = machine.wait(execution)
    record = current_rollout(rollouts.serving)
    if record is None or record.id != rollout_id:
        raise RolloutFailed(f"{version} was not rolled out: {ended.cause or ended.error}")
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
