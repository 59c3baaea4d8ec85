"""Running a command while watching its time and memory, and the table benchmarks print."""

import multiprocessing
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
"""``what``, ``bar``, ``measured`` (texts) and ``met`` (bool, or None where there is no bar)."""

SAMPLE_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Measured:
    """How a command ended. ``peak_bytes`` is the highest sum of resident memory over its whole process tree."""

    returncode: int
    seconds: float
    peak_bytes: int
    output: str


def run_measured(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    sample_s: float = SAMPLE_SECONDS,
) -> Measured:
    """Run ``command`` to its end. Linux only: memory is read from ``/proc``, shared pages counted once (PSS).

    Args:
        sample_s: seconds between two looks at the memory, each of which costs tens of milliseconds for gigabytes.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        env=None if environment is None else dict(environment),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        peak = [0]
        done = threading.Event()

        def watch() -> None:
            while not done.wait(sample_s):
                peak[0] = max(peak[0], _tree_bytes(process.pid))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        output, _ = process.communicate()
        done.set()
        watcher.join()
    return Measured(process.returncode, time.perf_counter() - began, peak[0], output)


def alone(function: Callable[..., Any], *given: Any) -> Any:
    """The result of ``function`` in a process of its own, so that memory that others have used does not count."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, given)


def peak_bytes() -> int:
    """Most resident memory that this process has held. Linux only, which counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def print_rows(title: str, rows: Sequence[Row]) -> None:
    """Print ``rows`` as a table."""
    table = Table("what", "bar", "measured", "met", title=title)
    for row in rows:
        met = row["met"]
        table.add_row(row["what"], row["bar"], row["measured"], "" if met is None else "yes" if met else "[red]no[/]")
    Console(width=max(120, Console().width)).print(table)


def _tree_bytes(root: int) -> int:
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            parent = _parent(int(entry.name))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    total, stack = 0, [root]
    while stack:
        pid = stack.pop()
        total += _pss(pid)
        stack.extend(children.get(pid, []))
    return total


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None  # the process ended between listing and reading


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0  # ended, or a kernel thread
    return 0
