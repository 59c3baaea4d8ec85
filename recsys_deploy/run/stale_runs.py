"""Fails the runs of killed processes, which would otherwise hold the only place of Dagster's queue for ever.

`recsys` executes some jobs in its own process. When that is killed (out of memory, power, a closed terminal), nobody is
left to record the end of the run. So each of these runs holds a lock, which the operating system releases with the
process: an unfinished run whose lock is free has lost its process.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import dagster as dg

from recsys_assets.tags import TRIGGER_TAG

IN_PROCESS: Final = "demo"
"""`TRIGGER_TAG` of runs that `recsys` executes in its own process."""

UNFINISHED: Final = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


@contextmanager
def marked_as_alive(run_id: str) -> Iterator[None]:
    """Hold the lock of an in-process run."""
    path = _lock_of(run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def fail_stale_runs() -> list[str]:
    """Fail the unfinished in-process runs of ``DAGSTER_HOME``'s instance whose process is gone; returns their ids."""
    with dg.DagsterInstance.get() as instance:
        unfinished = instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED), tags={TRIGGER_TAG: IN_PROCESS}))
        stale = [run for run in unfinished if not _is_alive(run.run_id)]
        for run in stale:
            instance.report_run_failed(run, "The process that executed this run was killed; start it again.")
            _lock_of(run.run_id).unlink(missing_ok=True)
        return [run.run_id for run in stale]


def _is_alive(run_id: str) -> bool:
    try:
        with _lock_of(run_id).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _lock_of(run_id: str) -> Path:
    return Path(os.environ["DAGSTER_HOME"]) / "in_process" / f"{run_id}.lock"
