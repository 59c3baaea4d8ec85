"""One arm, or the start of a seed, in a process of its own."""

import fcntl
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.year.figures import save
from benchmarks.year.plan import Arm, YearPlan
from lambda_api.errors import RecsysError


def make_start(plan: YearPlan, folder: Path) -> None:
    """The home in which all arms of a seed begin."""
    home = folder / f"{plan.seed}-start"
    if (home / "ready").exists():
        return
    _prepare(plan, home / "home")
    from benchmarks.year.arm import ArmRun

    with _alone(home):
        ArmRun(plan, "start", home, home, lambda line: print(line, flush=True)).make_start()


def run_arm(plan: YearPlan, arm: Arm, folder: Path) -> None:
    """One arm; a folder that holds part of it goes on. Writes ``<folder>/<seed>-<arm>.json``."""
    home = folder / f"{plan.seed}-{arm}"
    _prepare(plan, home / "home")
    from benchmarks.year.arm import ArmRun

    with _alone(home):
        run = ArmRun(plan, arm, folder / f"{plan.seed}-start", home, lambda line: print(line, flush=True))
        run.run()
        save(run, folder)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Nobody else runs in ``home``: a worker may outlive the command that started it.

    Raises:
        RecsysError: another process does.
    """
    home.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RecsysError(f"another process runs in {home}", remedy="end it, or wait") from error
        yield


def _prepare(plan: YearPlan, home: Path) -> None:
    # Read when the graph's modules are first imported: they belong to this home.
    os.environ.update({"RECSYS_HOME": str(home), "RECSYS_FIRST_DAY": plan.shop.start.isoformat()})
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
