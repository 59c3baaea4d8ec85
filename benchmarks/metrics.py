"""How long seven ranking metrics take for 100,000 users x 10 on one core: ``python -m benchmarks.metrics``."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time

import numpy as np

from benchmarks.measure import Row, print_rows
from lambda_api.recommender.histories import Ragged
from recsys_assets.measurement.bootstrap import bootstrap_means
from recsys_assets.measurement.metrics import RANKING_METRICS, ranking_metrics

USERS, PRODUCTS, K, RELEVANT_PER_USER = 100_000, 20_000, 10, 5
BAR_SECONDS = 2.0


def synthetic_lists(seed: int = 0) -> tuple[np.ndarray, Ragged]:
    """Lists int32 ``[USERS, K]`` and truths (1 to 9 products each), distinct within a row by construction."""
    rng = np.random.default_rng(seed)
    # Distinct strides from a random start: no product twice in a row, without sorting 20,000 scores per user.
    start = rng.integers(PRODUCTS, size=(USERS, 1))
    recommended = ((start + np.arange(K) * rng.integers(1, PRODUCTS // K, size=(USERS, 1))) % PRODUCTS).astype(np.int32)
    lengths = rng.integers(1, 2 * RELEVANT_PER_USER, size=USERS)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.repeat(np.arange(USERS), lengths)
    place = np.arange(indptr[-1]) - indptr[rows]
    values = ((start[rows, 0] + place * 37) % PRODUCTS).astype(np.int32)
    return recommended, Ragged(indptr, values)


def measure() -> dict[str, float]:
    """Best of five, in seconds: the seven metrics, and 1,000 bootstrap resamples of all of them together."""
    recommended, truth = synthetic_lists()
    seconds: dict[str, float] = {}
    metrics_runs = []
    for _ in range(5):
        started = time.perf_counter()
        metrics = ranking_metrics(recommended, truth, K)
        metrics_runs.append(time.perf_counter() - started)
    seconds[f"{len(RANKING_METRICS)} metrics, {USERS:,} users x {K}"] = min(metrics_runs)
    values = np.stack([metrics[name] for name in RANKING_METRICS], axis=1)
    started = time.perf_counter()
    bootstrap_means(values, resamples=1000, seed=0)
    seconds["1,000 bootstrap resamples of the seven means"] = time.perf_counter() - started
    return seconds


def run() -> list[Row]:
    """One row per measurement."""
    rows: list[Row] = []
    for what, seconds in measure().items():
        judged = what.startswith(f"{len(RANKING_METRICS)} metrics")
        bar, met = (f"< {BAR_SECONDS:.0f} s", seconds < BAR_SECONDS) if judged else ("", None)
        rows.append({"what": what, "bar": bar, "measured": f"{seconds:.3f} s", "met": met})
    return rows


if __name__ == "__main__":
    print_rows("metrics", run())
