"""Features of ten million interactions on DuckDB, time and memory: ``python -m benchmarks.features``."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.measure import Row, peak_bytes, print_rows
from benchmarks.synthetic_lake import write_synthetic_lake
from recsys_assets.features.engine import FEATURES, end_of_log, write_features
from recsys_assets.lake import Lake

EVENTS, USERS, PRODUCTS, DAYS = 10_000_000, 200_000, 20_000, 90
BAR_SECONDS, BAR_GIB = 60.0, 4.0


def compute_all(root: str) -> dict[str, float]:
    """Compute every feature table of the lake at ``root`` in this process.

    Returns seconds and rows of each, the processor seconds of all, and the peak resident GiB.
    """
    lake = Lake(root)
    as_of = end_of_log(lake)
    figures: dict[str, float] = {}
    for table in FEATURES:
        began = time.perf_counter()
        written = write_features(lake, table, as_of)
        figures[table] = time.perf_counter() - began
        figures[f"{table}_rows"] = written.rows
    figures["cpu_seconds"] = time.process_time()
    figures["peak_gib"] = peak_bytes() / 1024**3
    return figures


def run() -> list[Row]:
    """Make the lake in a temporary folder, then measure in a process of its own that has seen nothing else."""
    with tempfile.TemporaryDirectory(prefix="recsys-benchmark-") as root:
        lake = write_synthetic_lake(root, EVENTS, USERS, PRODUCTS, DAYS)
        command = [sys.executable, "-m", "benchmarks.features", "--lake", root]
        home = Path(__file__).resolve().parents[1]
        events = sum(_rows(path) for path in lake.files("interactions"))
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=home)
    figures = json.loads(done.stdout.splitlines()[-1])
    seconds = sum(figures[table] for table in FEATURES)
    what = f"features of {events / 1e6:.1f} M interactions"
    rows: list[Row] = [
        {
            "what": f"{what}, all three tables",
            "bar": f"under {BAR_SECONDS:.0f} s",
            "measured": f"{seconds:.1f} s ({figures['cpu_seconds']:.0f} s of processor time)",
            "met": seconds < BAR_SECONDS,
        },
        {
            "what": f"{what}, peak resident memory",
            "bar": f"under {BAR_GIB:.0f} GB",
            "measured": f"{figures['peak_gib']:.2f} GiB",
            "met": figures["peak_gib"] * 1024**3 < BAR_GIB * 1e9,
        },
    ]
    for table in FEATURES:
        measured = f"{figures[table]:.1f} s, {figures[f'{table}_rows']:,.0f} rows"
        rows.append({"what": f"- {table}", "bar": "", "measured": measured, "met": None})
    return rows


def _rows(path: str) -> int:
    return int(pq.read_metadata(path).num_rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--lake"]:
        print(json.dumps(compute_all(sys.argv[2])))
    else:
        print_rows("features", run())
