"""``python -m benchmarks.load.run``: a minute of shoppers on the local server, on a copy of the last demo's home."""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lambda_api.settings import read_settings
from recsys_deploy import homes
from recsys_deploy.child_processes import ServerProcess, check_port_free
from recsys_deploy.up import READY_S, STOP_S, ensure_page_config, missing_publications, server_arguments

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
LEFT_BEHIND = ("dagster", "lake", "candidates", "data_docs", "training", "logs", "reports")
"""What a home holds and serving never reads; it is not worth copying."""


@dataclass(frozen=True)
class LoadResult:
    """One line of the report. Latencies in milliseconds."""

    name: str
    requests: int
    failures: int
    requests_per_s: float
    p50: float
    p99: float


def main() -> int:
    """Run, print, and give 1 where a request failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.run", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--users", type=int, default=12, help="shoppers at once")
    parser.add_argument("--pacing", type=float, default=0.0, help="seconds between requests of one shopper, at least")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--port", type=int, default=8011)
    parser.add_argument("--out", type=Path, default=None, help="folder of the report (default: .recsys/load)")
    given = parser.parse_args()
    check_port_free(given.port, "--port")
    home = homes.use_last_home(homes.default_root(), os.environ)
    if missing := missing_publications(read_settings()):
        print(f"error: {home} has no {', no '.join(missing)}: run `make demo` first", file=sys.stderr)
        return 2
    out = given.out or homes.default_root() / "load"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="recsys-load-") as scratch:
        copy = Path(scratch) / "home"
        shutil.copytree(home, copy, ignore=lambda folder, names: LEFT_BEHIND if Path(folder) == home else ())
        os.environ["RECSYS_HOME"] = str(copy)
        ensure_page_config(read_settings())
        log = out / "server.log"
        address = f"http://127.0.0.1:{given.port}"
        server = ServerProcess.start("the API", server_arguments(given.port, given.workers), log, f"{address}/health")
        try:
            server.wait_until_ready(READY_S)
            stem = out / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
            run_locust(address, copy / "storefront", stem, given.users, given.seconds, given.pacing)
            server.check()
        finally:
            server.stop(STOP_S)
    results = read_results(stem.with_name(stem.name + "_stats.csv"))
    print_results(results, stem.with_suffix(".html"))
    return 1 if results[-1].failures or not results[-1].requests else 0


def run_locust(address: str, data: Path, stem: Path, users: int, seconds: int, pacing: float) -> None:
    """Locust in a process of its own, headless; leaves ``<stem>.html`` and ``<stem>_stats.csv``."""
    command = [
        sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", address,
        "--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s", "--stop-timeout", "10",
        "--html", str(stem.with_suffix(".html")), "--csv", str(stem), "--only-summary", "--exit-code-on-error", "0",
    ]  # fmt: skip
    environment = os.environ | {"LOAD_DATA": str(data), "LOAD_PACING_S": str(pacing)}
    with stem.with_suffix(".log").open("wb") as log:
        subprocess.run(command, env=environment, check=True, stdout=log, stderr=log, timeout=seconds + 60)


def read_results(file: Path) -> list[LoadResult]:
    """Locust's table; the last line is the sum of all."""
    with file.open(newline="", encoding="utf-8") as stream:
        return [
            LoadResult(
                f"{row['Type']} {row['Name']}".strip() if row["Name"] == "Aggregated" else row["Name"],
                int(row["Request Count"]),
                int(row["Failure Count"]),
                float(row["Requests/s"]),
                float(row["50%"]),
                float(row["99%"]),
            )
            for row in csv.DictReader(stream)
        ]


def print_results(results: list[LoadResult], report: Path) -> None:
    """The table, for a person."""
    print(f"{'':<28}{'requests':>10}{'failures':>10}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}")
    for one in results:
        counts = f"{one.requests:>10}{one.failures:>10}"
        print(f"{one.name:<28}{counts}{one.requests_per_s:>9.1f}{one.p50:>9.0f}{one.p99:>9.0f}")
    print(f"report: {report}")


if __name__ == "__main__":
    sys.exit(main())
