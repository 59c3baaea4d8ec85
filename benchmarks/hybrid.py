"""The two-stage hybrid on a real shop: ``python -m benchmarks.hybrid --data FOLDER [--ablation]``.

FOLDER holds the daily drops of the Online Retail shop (UCI Machine Learning Repository, DOI 10.24432/C5BW33). Global
split in time at 2011-11-20, full ranking, NDCG@10 over shoppers with history and at least one relevant product. The
ablation is measured on the twenty days before, which no reported figure is.

The other models stand beside their peers in ``model_quality``; speed is measured in ``hybrid_speed``.
"""

import argparse
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.hybrid_ablation import Fitted, ablation
from benchmarks.measure import Row, print_rows
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from recsys_assets.measurement.bootstrap import mean_interval, paired_comparison
from recsys_assets.models.hybrid import Hybrid
from recsys_assets.models.zoo import make_trainer
from tests.models.online_retail import LAST_MOMENT, TEST_START, ShopSplit, ndcg, split

SINGLES: dict[str, tuple[str, dict[str, float]]] = {
    "popularity": ("popularity", {}),
    "own history by frequency": ("own_history", {"ease_weight": 0.0}),
    "own history + EASE": ("own_history", {}),
    **{name: (name, {}) for name in ("item_knn", "ease", "temporal_linear", "matrix_factorisation", "content")},
}
"""Label, name in the zoo and parameters of the models to beat."""

VALIDATION_START = TEST_START - timedelta(days=20)
BARS = {False: 0.140, True: 0.390}


def run(data: Path | None, only_ablation: bool = False) -> list[Row]:
    """Rows of the table; without ``data`` one row that says what is missing."""
    if data is None:
        return [_row("hybrid on Online Retail", "", "skipped: give --data with the daily drops")]
    if only_ablation:
        return list(_ablation(data, VALIDATION_START, TEST_START))
    rows: list[Row] = []
    for repeats in (False, True):
        shop = split(data, TEST_START, LAST_MOMENT, repeats=repeats)
        began = time.perf_counter()
        model = Hybrid(allow_repeats=repeats).fit(shop.data)
        seconds = time.perf_counter() - began
        rows += _quality(model, shop, repeats)
        rows.append(_row(f"fit, {_protocol(repeats)}", "", f"{seconds:.0f} s"))
        rows.append(_recall_row(model, shop, repeats))
    return rows


def union_recall(model: TwoStageRecommender, shop: ShopSplit) -> tuple[float, float]:
    """Share of what the shoppers took, among products known at the split, that is a candidate: of all, per shopper."""
    hits = np.zeros(len(shop.histories))
    for start in range(0, len(shop.histories), 64):
        stop = min(start + 64, len(shop.histories))
        found = model.generator.candidates(shop.histories.rows(start, stop)).products
        relevant = np.asarray(shop.relevant[start + found.row_of_value, found.values]).ravel()
        hits[start:stop] = np.bincount(found.row_of_value, weights=relevant, minlength=stop - start)
    known = np.asarray(shop.relevant.sum(axis=1)).ravel()
    some = known > 0
    return float(hits.sum() / known.sum()), float((hits[some] / known[some]).mean())


def _quality(model: TwoStageRecommender, shop: ShopSplit, repeats: bool) -> list[Row]:
    ours = _ndcg(model, shop, repeats)
    interval = mean_interval(ours)
    assert interval is not None, "the shop has more than one shopper"
    name, bar = f"NDCG@10, {_protocol(repeats)}", BARS[repeats]
    rows = [
        _row(
            f"{name}: hybrid",
            f">= {bar:.3f}",
            f"{ours.mean():.4f} [{interval.low:.4f}, {interval.high:.4f}]",
            bool(ours.mean() >= bar),
        )
    ]
    for single, (zoo_name, parameters) in SINGLES.items():
        if zoo_name == "own_history" and not repeats:
            continue
        theirs = _ndcg(make_trainer(zoo_name, parameters).fit(shop.data), shop, repeats)
        paired = paired_comparison(ours, theirs)
        shown = f"{theirs.mean():.4f}; hybrid {paired.difference:+.4f} [{paired.low:+.4f}, {paired.high:+.4f}]"
        rows.append(_row(f"{name}: {single}", "paired interval above zero", shown, paired.low > 0))
    return rows


def _recall_row(model: TwoStageRecommender, shop: ShopSplit, repeats: bool) -> Row:
    overall, each = union_recall(model, shop)
    return _row(
        f"recall of the union, {_protocol(repeats)}",
        "",
        f"{overall:.3f} of all, {each:.3f} per shopper, {model.generator.limit} candidates at most",
    )


def _ablation(data: Path, start: datetime, stop: datetime) -> Iterator[Row]:
    """What each source and each group of features is worth, fitted and judged before the test window."""
    for repeats in (False, True):
        shop = split(data, start, stop, repeats=repeats)
        fitted = Fitted.on(shop.data, allow_repeats=repeats)
        judge = partial(_ndcg, shop=shop, repeats=repeats)
        for row in ablation(f"{_protocol(repeats)}, before the test window", fitted, judge):
            print(f"{row['what']}: {row['measured']}", flush=True)
            yield row


def _ndcg(model: object, shop: ShopSplit, repeats: bool) -> np.ndarray:
    lists = model.recommend(shop.histories, 10, exclude=None if repeats else shop.seen)  # type: ignore[attr-defined]
    return np.asarray(ndcg(lists.products, shop))


def _protocol(repeats: bool) -> str:
    return "repeats allowed" if repeats else "new products"


def _row(what: str, bar: str, measured: str, met: bool | None = None) -> Row:
    return {"what": what, "bar": bar, "measured": measured, "met": met}


def main() -> None:
    """Parse arguments and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.hybrid", description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the shop's daily CSV drops")
    parser.add_argument(
        "--ablation", action="store_true", help="only: the hybrid without each source and group of features"
    )
    given = parser.parse_args()
    print_rows("hybrid on a real shop", run(given.data, given.ablation))


if __name__ == "__main__":
    main()
