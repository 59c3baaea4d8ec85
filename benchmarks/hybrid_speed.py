"""How fast the hybrid answers: ``python -m benchmarks.hybrid_speed [--data FOLDER] [--keep FOLDER]``.

One shopper at a time with and without confirmed reasons, and batches, at 3,600 products (Online Retail where ``--data``
has its daily drops, a synthetic shop otherwise) and at 50,000 (a synthetic shop of a million events). Training the
larger one takes minutes: ``--keep`` holds trained bundles and histories for the next time.

How well it ranks is measured in ``hybrid``, the HTTP API around it in ``serving``. Wall-clock time and CPU time stand
side by side: on a machine with other work the first says little.
"""

import os

# Before numpy is loaded: its own threads would add to those of the batches.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import Row, print_rows
from benchmarks.synthetic_lake import shop_config
from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.bundle import BundleInfo, read_bundle, write_bundle
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.histories import Histories
from lambda_api.serving.engine import Engine
from lambda_api.serving.question import Question
from recsys_assets.ingest.synthetic import SyntheticShop
from recsys_assets.lake import midnight
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid import Hybrid
from recsys_assets.schema import INTERACTIONS, PRODUCTS
from tests.models.online_retail import TEST_START, purchases, tables

NEWEST_EVENTS = 200
"""Of a shopper, as serving reads them."""

SHOPPERS, ASKED, SETTLE = 2_000, 300, 20
DAYS = 90
SMALL = (200_000, 5_000, 2_570)
LARGE = (1_000_000, 20_000, 35_660)
"""Events, shoppers and products at the start; a synthetic shop takes on two products for every five it has."""

RATES = {"small": 1_000, "large": 500}
MIDDLE_MS, SLOW_MS = 3.0, 8.0


def run(data: Path | None, keep: Path | None = None) -> list[Row]:
    """Rows of the table."""
    with tempfile.TemporaryDirectory(prefix="recsys-hybrid-") as scratch:
        folder = keep or Path(scratch)
        rows: list[Row] = []
        small = folder / ("small-retail" if data else "small")
        for name, home, make in (
            ("small", small, lambda: _retail(data) if data else _synthetic(*SMALL)),
            ("large", folder / "large", lambda: _synthetic(*LARGE)),
        ):
            model, histories = _trained(home, make)
            rows += speed_rows(model, histories, RATES[name])
        return rows


def speed_rows(model: Recommender, histories: Histories, rate: float) -> list[Row]:
    """Times of one shopper and the rate of a batch, of which ``rate`` a second is the bar."""
    products = f"{len(model.products):,} products"
    events = f"{np.median(histories.lengths):.0f} events of each shopper in the middle"
    engine = Engine(model, None)
    bare = _times(lambda row: model.recommend(histories.rows(row, row + 1), 10), len(histories))
    questions = [_question(model, histories, row) for row in range(min(ASKED, len(histories)))]
    reasoned = _times(lambda row: engine.answer(questions[row]), len(questions))
    wall, cpu = _batch(model, histories)
    bar = f"p50 < {MIDDLE_MS:g} ms, p99 < {SLOW_MS:g} ms"
    return [
        _row(f"one shopper, {products}, {events}", bar, *_shown(bare)),
        _row(f"one shopper with reasons, {products}", bar, *_shown(reasoned)),
        _row(
            f"batch, {products}, blocks on every core",
            f"> {rate:,.0f} shoppers/s",
            f"{wall:,.0f} shoppers/s ({cpu:,.0f} per CPU second)",
            wall > rate,
        ),
    ]


def newest(histories: Histories, count: int) -> Histories:
    """Each shopper's newest ``count`` events."""
    kept = np.arange(len(histories.products)) >= np.repeat(histories.indptr[1:] - count, histories.lengths)
    lengths = np.minimum(histories.lengths, count)
    return Histories(
        user_ids=histories.user_ids,
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        products=histories.products[kept],
        types=histories.types[kept],
        timestamps=histories.timestamps[kept],
        now=histories.now,
    )


def _trained(home: Path, make: Callable[[], TrainingData]) -> tuple[Recommender, Histories]:
    """The model and some shoppers in ``home``, made first where they are not there."""
    if not (home / "shoppers.npz").exists():
        data = make()
        home.mkdir(parents=True, exist_ok=True)
        write_bundle(Hybrid().fit(data), home / "bundle", BundleInfo(name="shop", version="v1.0.0"))
        users = np.unique(data.user)
        drawn = np.random.default_rng(0).choice(users, min(SHOPPERS, len(users)), replace=False)
        some = newest(data.histories_of(np.sort(drawn)), NEWEST_EVENTS)
        arrays = {name: getattr(some, name) for name in ("indptr", "products", "types", "timestamps")}
        np.savez(home / "shoppers.npz", now=np.int64(some.now), **arrays)
    with np.load(home / "shoppers.npz") as held:
        names = tuple(f"user_{row}" for row in range(len(held["indptr"]) - 1))
        histories = Histories(
            names, held["indptr"], held["products"], held["types"], held["timestamps"], int(held["now"])
        )
    return read_bundle(home / "bundle").recommender, histories


def _retail(folder: Path) -> TrainingData:
    return TrainingData.from_tables(*tables(purchases(folder), TEST_START), as_of=TEST_START)


def _synthetic(events: int, shoppers: int, products: int) -> TrainingData:
    shop = SyntheticShop(shop_config(events, shoppers, products, DAYS))
    days = [shop.config.start + timedelta(days=offset) for offset in range(DAYS)]
    interactions = pa.concat_tables([INTERACTIONS.conform(shop.day_events(day)) for day in days])
    until = midnight(days[-1] + timedelta(days=1))
    return TrainingData.from_tables(interactions, PRODUCTS.conform(shop.products()), as_of=until)


def _question(model: Recommender, histories: Histories, row: int) -> Question:
    one = histories.rows(row, row + 1)
    events = tuple(
        Event(product, InteractionType(int(kind)), int(moment))
        for product, kind, moment in zip(model.products.external(one.products), one.types, one.timestamps, strict=True)
    )
    return Question(user_id=one.user_ids[0], k=10, now=one.now, events=events)


def _times(answer: Callable[[int], object], count: int) -> np.ndarray:
    """Milliseconds of wall-clock and of CPU time of `ASKED` answers after the first few, ``[2, answers]``."""
    taken = []
    for row in range(min(ASKED, count)):
        began, busy = time.perf_counter(), time.thread_time()
        answer(row)
        taken.append((time.perf_counter() - began, time.thread_time() - busy))
    return 1e3 * np.array(taken[SETTLE:]).T


def _batch(model: Recommender, histories: Histories) -> tuple[float, float]:
    """Shoppers a second by the clock and by CPU time; the better of two runs."""
    rates = []
    for _ in range(2):
        began, busy = time.perf_counter(), time.process_time()
        model.recommend(histories, 10)
        rates.append((time.perf_counter() - began, time.process_time() - busy))
    wall, cpu = np.min(rates, axis=0)
    return len(histories) / float(wall), len(histories) / float(cpu)


def _shown(taken: np.ndarray) -> tuple[str, bool]:
    (middle, slow), (middle_cpu, slow_cpu) = np.quantile(taken, [0.5, 0.99], axis=1).T
    shown = f"p50 {middle:.2f} ms, p99 {slow:.2f} ms (CPU {middle_cpu:.2f} and {slow_cpu:.2f} ms)"
    return shown, bool(middle < MIDDLE_MS and slow < SLOW_MS)


def _row(what: str, bar: str, measured: str, met: bool) -> Row:
    return {"what": what, "bar": bar, "measured": measured, "met": met}


def main() -> None:
    """Parse arguments and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.hybrid_speed", description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="Online Retail daily drops, for the smaller shop")
    parser.add_argument("--keep", type=Path, default=None, help="folder of trained bundles, made where it lacks them")
    given = parser.parse_args()
    print_rows("speed of the hybrid", run(given.data, given.keep))


if __name__ == "__main__":
    main()
