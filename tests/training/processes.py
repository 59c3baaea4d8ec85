"""Starting the ``train`` program and Dagster as real processes, and watching them end."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from recsys_assets.training.local_launcher import ENVIRONMENT, prepare_job
from tests.training.shop import fit_of

"""Until a test gives up on a process; generous, because the machine may be busy."""


def prepare(root: Path, model: str = "ncf", **parameters: Any) -> list[str]:
    """Lay out a job on the small shop under ``root``; returns its command."""
    return prepare_job(root, fit_of(model, **parameters))


def environment() -> dict[str, str]:
    """This process's environment with that of a job."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **ENVIRONMENT}


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a job to its end, away from the checkout."""
    return subprocess.run(command, env=environment(), cwd="/", capture_output=True, text=True, timeout=300, check=False)


@contextmanager
def started(
    command: list[str], env: Mapping[str, str], cwd: Path, stderr: IO[str] | int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """A process, killed in the end if it still runs."""
    with subprocess.Popen(command, env=dict(env), cwd=cwd, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def trainings_in(root: Path) -> list[int]:
    """Ids of the ``train`` programs at work on the job under ``root``."""
    listing = subprocess.run(["ps", "-eww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    program = f"-m recsys_assets.training.train --root {root.resolve()} "
    return [int(line.split(maxsplit=1)[0]) for line in listing.splitlines() if program in line]


def is_alive(pid: int) -> bool:
    """Whether process ``pid`` runs; one that only waits to be reaped does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")
