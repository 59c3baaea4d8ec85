"""The hybrid with a catalogue of a million products: fit, bundle and answers. ``python -m benchmarks.large_catalogue``.

The catalogue of the export of ``benchmarks.growth`` is filled up with copies of its products that nobody has touched.
"""

import argparse
import os

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.growth import export_shop
from benchmarks.measure import Row, alone, peak_bytes, print_rows
from lambda_api.recommender.bundle import BundleInfo, DataWindow, read_bundle, write_bundle
from lambda_api.recommender.histories import Histories
from recsys_assets.lake import midnight
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import make_trainer
from recsys_assets.schema import INTERACTIONS, PRODUCTS
from recsys_assets.training.training_window import TRAINING_COLUMNS, known_catalogue

ASKED = 200
LENGTH = 12


def fit(export: Path, products: int, bundle: Path) -> tuple[Histories, float, float]:
    """Fit the hybrid on an export and write its bundle; histories of `ASKED` busy shoppers, CPU seconds, GB."""
    days = sorted((export / "interactions").glob("*.parquet"))
    log = pa.concat_tables([INTERACTIONS.conform(pq.read_table(one)).select(TRAINING_COLUMNS) for one in days])
    as_of = midnight(date.fromisoformat(days[-1].stem) + timedelta(days=1))
    catalogue = filled_up(PRODUCTS.conform(pq.read_table(export / "products.parquet")), products)
    catalogue = known_catalogue(catalogue, log, pa.chunked_array([], pa.string()))
    data = TrainingData.from_tables(log, catalogue, as_of)
    began = time.process_time()
    model = make_trainer("hybrid", {}).fit(data, lambda what, value: print(f"{what} {value:g}", flush=True))
    cpu_s = time.process_time() - began
    window = DataWindow(start=midnight(date.fromisoformat(days[0].stem)), end=as_of)
    info = BundleInfo(
        trainer="hybrid", hyper_parameters={}, data_window=window, metrics={}, git_revision="", created_at=as_of
    )
    write_bundle(model, bundle, info)
    busy = np.argsort(-np.bincount(data.user), kind="stable")[10 * ASKED : 11 * ASKED]
    return data.histories_of(np.sort(busy)), cpu_s, peak_bytes() / 1e9


def filled_up(catalogue: pa.Table, products: int) -> pa.Table:
    """``catalogue`` with copies of its rows under other ids, ``products`` rows in all."""
    at = catalogue.column_names.index("product_id")
    parts = [catalogue]
    while sum(map(len, parts)) < products:
        ids = pc.binary_join_element_wise(catalogue["product_id"], str(len(parts)), "-copy-")
        parts.append(catalogue.set_column(at, catalogue.schema.field(at), ids))
    return pa.concat_tables(parts).slice(0, products)


def answer(bundle: Path, histories: Histories) -> tuple[float, float, float]:
    """CPU milliseconds of an answer, median and 99th percentile, and GB, in a process that only answers."""
    model = read_bundle(bundle).recommender
    taken = []
    for row in range(len(histories)):
        began = time.process_time()
        model.recommend(histories.rows(row, row + 1), LENGTH)
        taken.append(1_000 * (time.process_time() - began))
    return float(np.median(taken)), float(np.quantile(taken, 0.99)), peak_bytes() / 1e9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_catalogue", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="Where the export is kept. Default: it is removed.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        export = (given.folder or Path(temporary)) / f"shop-{given.events}"
        export_shop(export, given.events, 500_000, 200_000, 180)
        histories, cpu_s, fit_gb = alone(fit, export, given.products, Path(temporary) / "bundle")
        median, worst, answer_gb = alone(answer, Path(temporary) / "bundle", histories)
    events = float(np.median(np.diff(histories.indptr)))
    rows: list[Row] = [
        {"what": "fit", "bar": "", "measured": f"{cpu_s:.0f} CPU s, {fit_gb:.1f} GB", "met": None},
        {
            "what": f"list of {LENGTH}, a history of {events:.0f} events",
            "bar": "",
            "measured": f"{median:.1f} CPU ms, p99 {worst:.1f}, {answer_gb:.2f} GB",
            "met": None,
        },
    ]
    print_rows(f"hybrid, {given.products:,} products, about {given.events:,} events", rows)


if __name__ == "__main__":
    main()
