"""Figures of serving: ``python -m benchmarks.serving [--skip-package]``, two minutes, no data and no training needed.

Each figure is the median of several runs, so that a neighbour on the machine costs one run and not the result.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.measure import Row, print_rows
from tests.load_driver import wait_until_healthy
from tests.serving_home import Kind, ServedHome, make_home

ROOT: Final = Path(__file__).resolve().parents[1]
PRODUCTS, MANY_PRODUCTS = 50_000, 1_000_000
RUNS, CALLS = 3, 300
LOAD_SECONDS, LOAD_THREADS, WORKERS = 10.0, 8, 2

GIGABYTE = 1e9
MEGABYTE = 1e6


def run(package: bool = True) -> list[Row]:
    """Rows of the table."""
    with tempfile.TemporaryDirectory(prefix="recsys-serving-") as scratch:
        folder = Path(scratch)
        homes: dict[Kind, ServedHome] = {
            kind: make_home(folder / kind, PRODUCTS, shoppers=200, kind=kind) for kind in ("item_to_item", "factors")
        }
        rows = [warm_row(home, kind, PRODUCTS, 4.0, 12.0) for kind, home in homes.items()]
        many = make_home(folder / "many", MANY_PRODUCTS, shoppers=60, kind="factors")
        rows += many_rows(many)
        shutil.rmtree(many.settings.home)
        rows += cold_rows(homes["item_to_item"])
        rows.append(load_row(homes["item_to_item"], folder))
        if package:
            rows.append(package_row(folder / "package"))
    return rows


def probe(home: ServedHome, calls: int) -> dict[str, Any]:
    """What one process of its own reports, and ``wall_s``, its whole life."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.serving_probe", str(home.settings.home), str(calls)]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the probe failed: {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**report, "wall_s": time.perf_counter() - began}


def warm_row(home: ServedHome, kind: str, products: int, p50_bar: float, p99_bar: float) -> Row:
    """Handler calls with a history of 50 events on SQLite."""
    reports = [probe(home, CALLS) for _ in range(RUNS)]
    middle = median(_quantile(report["times_ms"], 0.5) for report in reports)
    slow = median(_quantile(report["times_ms"], 0.99) for report in reports)
    return {
        "what": f"handler, warm, 50 events, {products:,} products, {kind}",
        "bar": f"p50 < {p50_bar:g} ms, p99 < {p99_bar:g} ms",
        "measured": f"p50 {middle:.2f} ms, p99 {slow:.2f} ms{_fallbacks(reports)}",
        "met": bool(middle < p50_bar and slow < p99_bar and not _fallbacks(reports)),
    }


def many_rows(home: ServedHome) -> list[Row]:
    """The same over a million products, and the process's memory."""
    reports = [probe(home, CALLS) for _ in range(RUNS)]
    middle = median(_quantile(report["times_ms"], 0.5) for report in reports)
    slow = median(_quantile(report["times_ms"], 0.99) for report in reports)
    memory = max(report["peak_bytes"] for report in reports)
    first = median(report["import_ms"] + report["first_ms"] for report in reports)
    return [
        {
            "what": f"handler, warm, 50 events, {MANY_PRODUCTS:,} products, factors",
            "bar": "p99 < 25 ms",
            "measured": f"p50 {middle:.2f} ms, p99 {slow:.2f} ms{_fallbacks(reports)}",
            "met": bool(slow < 25 and not _fallbacks(reports)),
        },
        {
            "what": f"memory of that process, {MANY_PRODUCTS:,} products",
            "bar": "< 3 GB",
            "measured": f"{memory / GIGABYTE:.2f} GB at its peak (first answer after {first:.0f} ms)",
            "met": memory < 3 * GIGABYTE,
        },
    ]


def cold_rows(home: ServedHome) -> list[Row]:
    """A new process, from its start to its first answer, on a home nothing has served from."""
    reports = []
    for _ in range(RUNS):
        for name in ("bundles", "catalogues"):
            shutil.rmtree(home.settings.home / name, ignore_errors=True)
        reports.append(probe(home, 0))
    wall = median(report["wall_s"] for report in reports)
    parts = median(report["import_ms"] for report in reports), median(report["first_ms"] for report in reports)
    heavy = sorted({name for report in reports for name in report["heavy"]})
    answered = all(report["items"] == 10 and report["fallback"] is None for report in reports)
    return [
        {
            "what": f"cold start, {PRODUCTS:,} products: whole life of a process that answers once",
            "bar": "< 1.2 s",
            "measured": f"{wall:.2f} s (import {parts[0]:.0f} ms, bundle and first answer {parts[1]:.0f} ms)",
            "met": bool(wall < 1.2 and answered),
        },
        {
            "what": "heavy modules imported by then",
            "bar": "none",
            "measured": ", ".join(heavy) or "none",
            "met": not heavy,
        },
    ]


def load_row(home: ServedHome, folder: Path, seconds: float = LOAD_SECONDS) -> Row:
    """The local server under a mix of requests from another process."""
    ids = folder / "ids.json"
    ids.write_text(json.dumps({"shoppers": home.shoppers, "product_ids": home.product_ids[:2_000]}))
    with local_server(home) as port:
        command = [sys.executable, "-m", "tests.load_driver", "--port", str(port), "--key", home.key]
        command += ["--ids", str(ids), "--seconds", str(seconds), "--threads", str(LOAD_THREADS)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the driver failed: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    rate, slow, errors = found["per_second"], found["p99_ms"], found["errors"]
    fallbacks = f", fallbacks {found['fallbacks']}" if found["fallbacks"] else ""
    return {
        "what": f"local server, {WORKERS} workers, {LOAD_THREADS} connections, mixed routes",
        "bar": "> 300 requests/s, p99 < 60 ms, no error",
        "measured": f"{rate:,.0f} requests/s, p50 {found['p50_ms']:.1f} ms, p99 {slow:.1f} ms, {errors} errors"
        + fallbacks,
        "met": bool(rate > 300 and slow < 60 and errors == 0),
    }


@contextmanager
def local_server(home: ServedHome, workers: int = WORKERS) -> Iterator[int]:
    """The server's port, once it answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    command = [sys.executable, "-m", "lambda_api.local_server", "--port", str(port), "--workers", str(workers)]
    environment = {**_environment(), "RECSYS_HOME": str(home.settings.home)}
    with (home.settings.home / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, "--no-static"], cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            wait_until_healthy(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def package_row(target: Path) -> Row:
    """What Lambda would unpack: the ``lambda`` extra, the base dependencies it imports, and the package.

    Nothing that Lambda's runtime provides (boto3) is left out. As for Lambda: wheels only, no compiled bytecode.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "--no-compile"]
    command += ["--only-binary=:all:", "-c", str(ROOT / "constraints.txt"), *lambda_requirements()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row: Row = {
        "what": "Lambda package with its dependencies, unpacked",
        "bar": "< 200 MB",
        "measured": "",
        "met": None,
    }
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        return {**row, "measured": f"not measured: {reason[:120]}"}
    shutil.copytree(ROOT / "lambda_api", target / "lambda_api", ignore=shutil.ignore_patterns("__pycache__"))
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    largest = sorted(((_size(path), path.name) for path in target.iterdir()), reverse=True)[:3]
    shown = ", ".join(f"{name} {bytes_ / MEGABYTE:.0f}" for bytes_, name in largest)
    return {**row, "measured": f"{size / MEGABYTE:.0f} MB (of them {shown})", "met": size < 200 * MEGABYTE}


def lambda_requirements() -> list[str]:
    """What ``pyproject.toml`` says that ``lambda_api`` needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["lambda"]]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def _environment() -> dict[str, str]:
    """One thread of arithmetic per process, as on a Lambda function with one core; every list is scored."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "RECSYS_PREDICTION_CACHE_S": "0"}


def _quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _fallbacks(reports: list[dict[str, Any]]) -> str:
    count = sum(report["fallbacks"] for report in reports)
    return f", {count} answers fell back" if count else ""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=__doc__)
    parser.add_argument("--skip-package", action="store_true", help="do not install the Lambda package to weigh it")
    print_rows("serving", run(package=not parser.parse_args().skip_package))


if __name__ == "__main__":
    main()
