"""The hybrid beside plain library models on cuts of real shops: ``python -m benchmarks.library_models --data FOLDER``.

FOLDER holds ``online_retail/`` (daily drops; UCI Machine Learning Repository, DOI 10.24432/C5BW33) and
``retailrocket_buyers/`` (``interactions.csv``, ``products.csv``; the RetailRocket data set as cut in HKUDS/SSLRec).
Each cut is a shop of another age, size or kind: a young one, a small one without prices, one of views and carts without
names. Global split in time, full ranking, NDCG@10.

The library's side is the best of `LIBRARY` on the test window itself, so that it is tuned better than anybody could.
The hybrid has its defaults, and is one fit.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.measure import Row, print_rows
from lambda_api.interactions import InteractionType
from lambda_api.recommender.topk import top_k
from recsys_assets.measurement.bootstrap import paired_comparison
from recsys_assets.measurement.metrics import ranking_metrics
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task, evaluate
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid import Hybrid
from recsys_deploy.benchmark.files import read_shop
from tests.models.online_retail import purchases, tables
from tests.models.peers import numpy_ease

K = 10
BAR = 1.5
MOST_DENSE = 6_000
"""Products up to which EASE is solved: its memory grows with their square."""

Scores = NDArray[np.floating]
Plain = Callable[[sparse.csr_matrix, NDArray[np.int64]], Scores]
"""From shoppers x products of ones and the rows to judge to scores ``[rows, n_products]``."""


@dataclass(frozen=True)
class Cut:
    """A shop, the moment up to which everything is learned, and the days to foretell.

    Attributes:
        read: interactions up to the end of the window, and the catalogue as it is known at its start.
    """

    name: str
    read: Callable[[datetime, datetime], tuple[pa.Table, pa.Table]]
    start: datetime
    days: int
    allow_repeats: bool = False


def cuts(folder: Path) -> tuple[Cut, ...]:
    """The shops to compare on."""
    retail, rocket = folder / "online_retail", folder / "retailrocket_buyers"

    def whole(start: datetime, stop: datetime) -> tuple[pa.Table, pa.Table]:
        frame = purchases(retail)
        return tables(frame, stop)[0], tables(frame, start)[1]

    def half(start: datetime, stop: datetime) -> tuple[pa.Table, pa.Table]:
        frame = purchases(retail)
        frame = frame[frame["user_id"].astype(int) % 2 == 0]
        return tables(frame, stop)[0], tables(frame, start)[1].drop_columns("price")

    def buyers(start: datetime, stop: datetime) -> tuple[pa.Table, pa.Table]:
        shop = read_shop(rocket / "interactions.csv", rocket / "products.csv")
        return shop.interactions.filter(pc.less(shop.interactions["timestamp"], stop)), shop.products

    def on(month: int, day: int, year: int = 2011) -> datetime:
        return datetime(year, month, day, tzinfo=UTC)

    return (
        Cut("Online Retail, 12 weeks old", whole, on(2, 20), 20),
        Cut("Online Retail, half a year old", whole, on(6, 1), 20),
        Cut("Online Retail, half a year old, repeats allowed", whole, on(6, 1), 20, True),
        Cut("Online Retail, a year old", whole, on(11, 20), 30),
        Cut("half of Online Retail's shoppers, no prices", half, on(9, 10), 20),
        Cut("half of Online Retail's shoppers, no prices, repeats allowed", half, on(9, 10), 20, True),
        Cut("RetailRocket, 10 weeks old: views, carts, no names", buyers, on(7, 10, 2015), 30),
        Cut("RetailRocket, 14 weeks old: views, carts, no names", buyers, on(8, 10, 2015), 40),
    )


def _neighbours(name: str, k: int) -> Plain:
    def scores(ones: sparse.csr_matrix, rows: NDArray[np.int64]) -> Scores:
        from implicit import nearest_neighbours

        model = getattr(nearest_neighbours, name)(K=k, num_threads=1)
        model.fit(ones, show_progress=False)
        return np.asarray((ones[rows] @ model.similarity).toarray())

    return scores


def _als(factors: int, regularisation: float, alpha: float) -> Plain:
    def scores(ones: sparse.csr_matrix, rows: NDArray[np.int64]) -> Scores:
        from implicit.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(
            factors=factors, regularization=regularisation, alpha=alpha, random_state=0, num_threads=1
        )
        model.fit(ones, show_progress=False)
        return np.asarray(model.user_factors[rows] @ model.item_factors.T)

    return scores


def _ease(l2: float) -> Plain:
    def scores(ones: sparse.csr_matrix, rows: NDArray[np.int64]) -> Scores:
        found = np.zeros((len(rows), ones.shape[1]), dtype=np.float32)
        used = np.flatnonzero(np.asarray(ones.sum(axis=0)).ravel())
        if len(used) <= MOST_DENSE:
            found[:, used] = ones[rows][:, used] @ numpy_ease(ones[:, used], l2)
        return found

    return scores


def _rp3beta(beta: float) -> Plain:
    def scores(ones: sparse.csr_matrix, rows: NDArray[np.int64]) -> Scores:
        from irspack.recommenders import RP3betaRecommender

        model = RP3betaRecommender(ones.astype(np.float64), alpha=1.0, beta=beta, top_k=300, n_threads=1).learn()
        return np.asarray((ones[rows] @ sparse.csr_matrix(model.W)).toarray())

    return scores


def _popular(ones: sparse.csr_matrix, rows: NDArray[np.int64]) -> Scores:
    return np.tile(np.asarray(ones.sum(axis=0)).ravel(), (len(rows), 1))


LIBRARY: Mapping[str, Plain] = {
    "popularity": _popular,
    "BM25 kNN, K 50": _neighbours("BM25Recommender", 50),
    "BM25 kNN, K 500": _neighbours("BM25Recommender", 500),
    "cosine kNN": _neighbours("CosineRecommender", 100),
    "iALS, alpha 2": _als(64, 0.05, 2.0),
    "iALS, alpha 10": _als(64, 0.05, 10.0),
    "iALS, 32 factors": _als(32, 1.0, 10.0),
    "iALS, 128 factors": _als(128, 0.1, 5.0),
    "EASE, l2 60": _ease(60.0),
    "EASE, l2 200": _ease(200.0),
    "EASE, l2 600": _ease(600.0),
    "RP3beta .3": _rp3beta(0.3),
    "RP3beta .6": _rp3beta(0.6),
}
"""Models of ``implicit`` and ``irspack``, and EASE as in its paper, over ones: no time, no kinds of events."""


def compare(cut: Cut) -> Row:
    """One row: the best plain model, the hybrid, and their paired difference."""
    stop = cut.start + timedelta(days=cut.days)
    log, products = cut.read(cut.start, stop)
    task = build_task(log, products, EvaluationWindow(cut.start, stop, allow_repeats=cut.allow_repeats))
    past = log.filter(pc.less(log["timestamp"], cut.start))
    data = TrainingData.from_tables(past, products, as_of=cut.start)
    began = time.perf_counter()
    fitted = Hybrid(allow_repeats=cut.allow_repeats).fit(data)
    seconds = time.perf_counter() - began
    ours = evaluate("hybrid", fitted, task, K).metrics["ndcg"]
    best, theirs = max(_plain(task, past, products), key=lambda found: float(found[1].mean()))
    gain, ratio = paired_comparison(ours, theirs), ours.mean() / theirs.mean()
    shown = f"{ours.mean():.4f} beside {theirs.mean():.4f} ({best}): {ratio - 1:+.0%}"
    return {
        "what": f"{cut.name}; {len(task):,} shoppers judged",
        "bar": f"{BAR - 1:+.0%}, paired interval above zero",
        "measured": f"{shown}, {gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]; fit {seconds:.0f} s",
        "met": bool(ratio >= BAR and gain.low > 0),
    }


def _plain(task: EvaluationTask, past: pa.Table, products: pa.Table) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """NDCG of each plain model on the relevant events and, where the shop has others, on all of them."""
    data = TrainingData.from_tables(past, products, task.window.start, product_map=task.products)
    relevant = task.window.relevant_types or frozenset()
    rows = data.users.indices(list(task.user_ids)).astype(np.int64)
    views = {"relevant events": relevant}
    if not np.isin(data.kind, [int(kind) for kind in relevant]).all():
        views["all events"] = frozenset(InteractionType)
    for view, kinds in views.items():
        ones = data.matrix(dict.fromkeys(kinds, 1.0), binary=True)
        for name, model in LIBRARY.items():
            lists = _best(model(ones, rows), task)
            yield f"{name}, {view}", ranking_metrics(lists, task.truth, K)["ndcg"]


def _best(scores: Scores, task: EvaluationTask) -> NDArray[np.int32]:
    """The best `K` by score of what may be listed, padded with -1."""
    allowed = np.array(scores, dtype=np.float32)
    allowed[:, ~task.statistics.candidates] = -np.inf
    allowed[task.exclude.row_of_value, task.exclude.values] = -np.inf
    return top_k(allowed, K)[0]


def run(folder: Path | None) -> list[Row]:
    """Rows of the table, printed as they come; without ``folder`` one row that says what is missing."""
    if folder is None:
        what = "the hybrid beside plain library models"
        return [{"what": what, "bar": "", "measured": "skipped: give --data with the shops", "met": None}]
    rows = []
    for cut in cuts(folder):
        rows.append(compare(cut))
        print(f"{rows[-1]['what']}: {rows[-1]['measured']}", flush=True)
    return rows


def main() -> None:
    """Parse arguments and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.library_models", description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of online_retail/ and retailrocket_buyers/")
    print_rows("the hybrid beside plain library models", run(parser.parse_args().data))


if __name__ == "__main__":
    main()
