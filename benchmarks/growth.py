"""How time and memory grow with the log, raw files to registered model: ``python -m benchmarks.growth``.

Every size is the synthetic shop with the same shoppers, products and days, exported as one Parquet file per day, and
the whole graph on it in a fresh home. Making the export is not counted.
"""

import argparse
import math
import os
import resource
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from benchmarks.measure import Row, print_rows, run_measured
from benchmarks.synthetic_lake import shop_config
from recsys_assets.ingest.synthetic import SyntheticShop

BAR_S: Final = 45 * 60
BAR_GB: Final = 12.0
"""Of ten million events."""

BAR_SLOPE: Final = 1.1
"""Exponent of CPU time from the smallest size on: 1 is time in proportion to events."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall and CPU seconds of a run and all its processes, and the most memory they held together."""

    seconds: float
    cpu_s: float
    gigabytes: float


def export_shop(folder: Path, events: int, shoppers: int, products: int, days: int) -> int:
    """Write an export of about ``events`` interactions, unless it is there; returns how many it holds."""
    done = folder / "events.txt"
    if not done.exists():
        shop = SyntheticShop(shop_config(events, shoppers, products, days))
        (folder / "interactions").mkdir(parents=True, exist_ok=True)
        rows = 0
        for number in track(range(days), f"export of {events:,} events", console=Console(stderr=True)):
            day = shop.config.start + timedelta(days=number)
            table = shop.day_events(day)
            pq.write_table(table, folder / "interactions" / f"{day}.parquet")
            rows += table.num_rows
        pq.write_table(shop.products(), folder / "products.parquet")
        pq.write_table(shop.users(), folder / "users.parquet")
        done.write_text(str(rows))
    return int(done.read_text())


def measure(export: Path, models: str) -> Cost:
    """What ``recsys run`` on an export costs; its output goes to standard output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory(dir=export.parent) as home:
        command = [sys.executable, "-m", "recsys_deploy.cli", "run", "--data", str(export)]
        environment = {**os.environ, "RECSYS_HOME": str(Path(home) / "shop"), "RECSYS_MODELS": models}
        measured = run_measured(command, {**environment, "OPENBLAS_NUM_THREADS": "1"}, sample_s=2.0)
    print(measured.output, flush=True)
    if measured.returncode != 0:
        raise SystemExit(f"recsys run failed after {measured.seconds:.0f} s with {measured.peak_bytes / 1e9:.1f} GB")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(measured.seconds, cpu_s, measured.peak_bytes / 1e9)


def rows_of(found: dict[int, Cost]) -> list[Row]:
    """A row per size, by events: time, memory, and the exponent of CPU time since the smallest."""
    first = min(found)
    rows: list[Row] = []
    for events, cost in sorted(found.items()):
        largest = events >= 9_000_000
        slope = math.log(cost.cpu_s / found[first].cpu_s) / math.log(events / first) if events != first else None
        met = [cost.seconds <= BAR_S and cost.gigabytes <= BAR_GB] if largest else []
        met += [slope <= BAR_SLOPE] if slope is not None else []
        rows.append(
            {
                "what": f"{events:,} events, raw to registered model",
                "bar": f"<= {BAR_S / 60:.0f} min, {BAR_GB:.0f} GB, slope {BAR_SLOPE}" if largest else "",
                "measured": f"{cost.seconds / 60:.1f} min, {cost.cpu_s / 60:.1f} CPU min, {cost.gigabytes:.1f} GB"
                + (f", slope {slope:.2f}" if slope else ""),
                "met": all(met) if met else None,
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--shoppers", type=int, default=500_000)
    parser.add_argument("--products", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--models", default="hybrid", help="Besides popularity and item_knn.")
    parser.add_argument("--folder", type=Path, default=None, help="Where exports are kept. Default: they are removed.")
    parser.add_argument("--export-only", action="store_true", help="Run nothing.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = {}
        for events in given.events:
            export = (given.folder or Path(temporary)) / f"shop-{events}"
            held = export_shop(export, events, given.shoppers, given.products, given.days)
            if not given.export_only:
                found[held] = measure(export, given.models)
    if found:
        print_rows(f"{given.shoppers:,} shoppers, {given.products:,} products", rows_of(found))


if __name__ == "__main__":
    main()
