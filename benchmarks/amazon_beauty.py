"""The public leave-one-out yardstick Amazon Beauty: ``python -m benchmarks.amazon_beauty --data FOLDER [--choose]``.

FOLDER holds ``sequences.txt`` (one line per shopper: ``user item item ...`` in time order; 22,363 shoppers, 12,101
products, 198,502 events) and ``item_attributes.json`` (product -> numbers of its categories and brand): UCSD Amazon
reviews 2014 (McAuley et al.) as cut for S3-Rec (RUCAIBox/CIKM2020-S3Rec). Last item of every shopper, full ranking over
all products, NDCG@10 over all shoppers, nothing learned from the last two items. Best published figure known: .0531
(SASRec with sampled softmax).

Parameters were picked on the second-last item; ``--choose`` shows that choice being made (the penalties and the decays
while fitting are those of the published recipe). The test item is looked at once per row of the table.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measure import Row, print_rows
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import DenseWeights, ItemWeights
from recsys_assets.measurement.leave_one_out import LeaveOneOut, evaluate_leave_one_out, leave_one_out
from recsys_assets.models.attributes import attribute_vectors
from recsys_assets.models.ease import Ease
from recsys_assets.models.popularity import Popularity
from recsys_assets.models.temporal_linear import TemporalLinear, add_cosines
from recsys_assets.schema import INTERACTIONS, PRODUCTS

NAME = "Amazon Beauty, leave-one-out, NDCG@10"
START = datetime(2014, 1, 1, tzinfo=UTC)
PLAIN: dict[str, Any] = {"trend_power": 0.0, "popularity_half_life_days": None}
EASE = Ease(l2=100.0, half_life_days=None, **PLAIN)
TEMPORAL = TemporalLinear(clock="steps", delta_past=1.0, delta_future=3.0, delta_serving=3.0, l2=60.0, **PLAIN)
COMBINED = replace(TEMPORAL, delta_serving=2.0, ease_weight=0.3, ease_l2=100.0, content_weight=0.02)

GRID: dict[str, tuple[float, ...]] = {
    "content_weight": (0.0, 0.01, 0.02, 0.04),
    "ease_weight": (0.0, 0.1, 0.3, 0.6),
    "delta_serving": (1.0, 2.0, 3.0, 5.0),
}


def beauty_tables(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Canonical interactions and products of the two files. The files hold an order and no clock: a shopper's events
    are given one minute each from `START` on, so that steps are right and days mean nothing."""
    lines = [line.split() for line in (folder / "sequences.txt").read_text().splitlines()]
    users = [line[0] for line in lines for _ in line[1:]]
    interactions = pa.table(
        {
            "interaction_id": [str(row) for row in range(len(users))],
            "user_id": users,
            "product_id": [item for line in lines for item in line[1:]],
            "interaction_type": ["purchase"] * len(users),
            "timestamp": pa.array(
                [START + timedelta(minutes=step) for line in lines for step in range(len(line) - 1)],
                pa.timestamp("us", tz="UTC"),
            ),
        }
    )
    attributes: dict[str, list[int]] = json.loads((folder / "item_attributes.json").read_text())
    products = {"product_id": list(attributes), "category": ["|".join(map(str, held)) for held in attributes.values()]}
    return INTERACTIONS.conform(interactions), PRODUCTS.conform(pa.table(products))


def run(data: Path | None) -> list[Row]:
    """Rows of the table; without ``data`` one row that says what is missing."""
    if data is None:
        return [{"what": NAME, "bar": "", "measured": "skipped: give --data with the two files", "met": None}]
    tables = beauty_tables(data)
    test = leave_one_out(*tables, "test")
    rows = [_row("popularity", Popularity(half_life_days=None).fit(test.training), test, None)]
    ease = EASE.fit(test.training)
    rows.append(_row("EASE", ease, test, 0.0374))
    rows.append(_row("EASE, decayed", _reweighted(ease, ease.weights, math.exp(-1.0 / 2.0)), test, 0.0457))
    del ease
    rows.append(_row("temporal linear", TEMPORAL.fit(test.training), test, 0.0528))
    combined = COMBINED.fit(test.training)
    what = "temporal linear + 0.3 EASE + 0.02 attributes"
    rows.append(_row(what, combined, test, 0.0615))
    rows.append(_row(f"{what}, history not masked", combined, leave_one_out(*tables, mask_history=False), 0.0560))
    del combined
    everything = leave_one_out(*tables, learn_validation=True)
    rows.append(_row(f"{what}, second-last items learned from", COMBINED.fit(everything.training), everything, None))
    return rows


def choose(data: Path, say: Callable[[str], None] = print) -> dict[str, float]:
    """The best of `GRID` on the second-last item, one parameter after the other; nothing of the test item is read.

    The terms are fitted once and mixed for every trial. What ties to four decimals is no gain: the smaller value stays.
    """
    validation = leave_one_out(*beauty_tables(data), "validation")
    temporal, ease = TEMPORAL.fit(validation.training), EASE.fit(validation.training)
    vectors = attribute_vectors(validation.training.catalogue)
    best: dict[str, float] = {name: getattr(TEMPORAL, name) for name in GRID}
    reached = -1.0
    for name, values in GRID.items():
        for value in values:
            tried = {**best, name: value}
            weights = tried["ease_weight"] * _dense(ease) + _dense(temporal)
            add_cosines(weights, vectors, tried["content_weight"])
            model = _reweighted(temporal, DenseWeights(weights), math.exp(-1.0 / tried["delta_serving"]))
            score = round(_ndcg(model, validation), 4)
            say(f"validation NDCG@10 {score:.4f}  {tried}")
            if score > reached:
                best, reached = tried, score
    return best


def _row(what: str, model: Recommender, task: LeaveOneOut, bar: float | None) -> Row:
    score = _ndcg(model, task)
    return {
        "what": f"{NAME}: {what}",
        "bar": "" if bar is None else f">= {bar:.4f}",
        "measured": f"{score:.4f}",
        "met": None if bar is None else round(score, 4) >= bar,
    }


def _ndcg(model: Recommender, task: LeaveOneOut) -> float:
    return evaluate_leave_one_out("", model, task).table((10,))["NDCG@10"]


def _reweighted(model: ItemToItemRecommender, weights: ItemWeights, step_decay: float) -> ItemToItemRecommender:
    weighting = replace(model.weighting, step_decay=step_decay)
    return ItemToItemRecommender(model.products, model.popularity, weights, weighting)


def _dense(model: ItemToItemRecommender) -> NDArray[np.float32]:
    return model.weights.rows(np.arange(len(model.products), dtype=np.int32))


def main(arguments: list[str] | None = None, show: Callable[..., None] = print_rows) -> None:
    """Parse ``--data`` and ``--choose`` and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.amazon_beauty", description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of sequences.txt and item_attributes.json")
    parser.add_argument("--choose", action="store_true", help="pick the mixing weights on the second-last item first")
    chosen = parser.parse_args(arguments)
    if chosen.choose and chosen.data is not None:
        print("chosen on the validation item:", choose(chosen.data))
    show("the Amazon Beauty yardstick", run(chosen.data))


if __name__ == "__main__":
    main()
