"""The whole graph from a terminal, timed: the synthetic default, and a real shop where its folder is given."""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.measure import Row, print_rows, run_measured

SYNTHETIC_BAR: Final = (240.0, 4.0)
REAL_BAR: Final = (600.0, 6.0)
"""Seconds and GB."""


def run(data: Path | None = None) -> list[Row]:
    """Rows for the synthetic shop, and for the shop in ``data`` if given; each in a fresh home that is then removed."""
    rows = _demo("`make demo` after set-up, synthetic default", None, SYNTHETIC_BAR)
    if data is not None:
        rows += _demo(f"{data.name}, every day, raw to registered model", data, REAL_BAR)
    return rows


def _demo(what: str, data: Path | None, bar: tuple[float, float]) -> list[Row]:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "recsys_deploy.cli", "demo", *(["--data", str(data)] if data else [])]
        environment = {**os.environ, "RECSYS_HOME": str(Path(home) / "shop"), "OPENBLAS_NUM_THREADS": "1"}
        measured = run_measured(command, environment)
    if measured.returncode != 0:
        raise RuntimeError(f"{what} failed:\n{measured.output}")
    print(measured.output)
    gigabytes = measured.peak_bytes / 1e9
    return [
        {
            "what": what,
            "bar": f"< {bar[0]:.0f} s",
            "measured": f"{measured.seconds:.0f} s",
            "met": measured.seconds < bar[0],
        },
        {
            "what": "  peak memory of all its processes",
            "bar": f"< {bar[1]:.0f} GB",
            "measured": f"{gigabytes:.2f} GB",
            "met": gigabytes < bar[1],
        },
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=None)
    print_rows("whole graph", run(parser.parse_args().data))
