"""Next clicks of a public click log: ``python -m benchmarks.next_click --data FOLDER [--models NAMES]``.

FOLDER holds ``train.txt`` and ``test.txt`` with the columns SessionId, ItemId and Time, tab-separated, Time in seconds
since 1970 (YooChoose, RecSys Challenge 2015, as session-rec prepares it). Every click of the test sessions whose answer
the training sessions know is judged, all products are ranked, and products clicked before in the session may be listed.

``--validation`` judges the last day of the training file instead, on which versions of a model are compared.
``--ablation`` judges that day too: the hybrid without each source and group of features of its stage within sessions.
"""

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.hybrid_ablation import Fitted, ablation
from benchmarks.measure import Row, print_rows
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from recsys_assets.measurement.next_click import NextClick, evaluate_next_click, next_click
from recsys_assets.models.zoo import make_trainer, parameters_of
from recsys_assets.schema import INTERACTIONS, PRODUCTS

K = 20
MODELS = ("hybrid", "session_knn", "item_knn", "temporal_linear", "popularity")
BARS = {"hybrid": (0.70, 0.365), "session_knn": (0.669, 0.347)}


def run(data: Path, models: tuple[str, ...], validation: bool) -> list[Row]:
    """Rows of the table."""
    task = clicks(data, validation)
    rows = [_row("positions judged", f"{len(task):,} of {task.sessions:,} sessions, {task.unknown:,} answers unknown")]
    for name in models:
        began, busy = time.perf_counter(), time.process_time()
        model = make_trainer(name, parameters_of(name, {"allow_repeats": True})).fit(task.training)
        seconds, cpu = time.perf_counter() - began, time.process_time() - busy
        found = evaluate_next_click(model, task, K)
        hit, reciprocal = float(found["hit_rate"].mean()), float(found["mrr"].mean())
        bar = BARS.get(name)
        rows.append(
            {
                "what": f"{name}: HR@{K} / MRR@{K}",
                "bar": "" if bar is None else f">= {bar[0]} / {bar[1]}",
                "measured": f"{hit:.4f} / {reciprocal:.4f}, fit {seconds:.0f} s ({cpu:.0f} s CPU)",
                "met": None if bar is None else hit >= bar[0] and reciprocal >= bar[1],
            }
        )
    return rows


def ablation_rows(data: Path) -> Iterator[Row]:
    """What each part of the stage within sessions is worth, judged on the last day of the training file."""
    task = clicks(data, validation=True)
    sessions = np.unique(np.array(task.histories.user_ids), return_inverse=True)[1]

    def judge(model: TwoStageRecommender) -> np.ndarray:
        """The mean reciprocal rank of each session."""
        found = evaluate_next_click(model, task, K)["mrr"]
        return np.bincount(sessions, weights=found) / np.bincount(sessions)

    fitted = Fitted.on_sessions(task.training, allow_repeats=True)
    for row in ablation(f"{task.sessions:,} sessions", fitted, judge, f"MRR@{K}"):
        print(f"{row['what']}: {row['measured']}", flush=True)
        yield row


def clicks(folder: Path, validation: bool = False) -> NextClick:
    """The positions to judge: of ``test.txt``, or of the last day of ``train.txt``."""
    frames = [_read(folder / "train.txt")]
    start = _moment(frames[0]["Time"].max() + 1)
    if validation:
        start -= timedelta(days=1)
    else:
        frames.append(_read(folder / "test.txt").assign(SessionId=lambda rows: "test-" + rows["SessionId"]))
    log = pd.concat(frames, ignore_index=True)
    events = pa.table(
        {
            "interaction_id": [str(row) for row in range(len(log))],
            "user_id": log["SessionId"].tolist(),
            "product_id": log["ItemId"].tolist(),
            "interaction_type": ["view"] * len(log),
            "timestamp": pa.array((log["Time"] * 1e6).round().astype("int64")).cast(pa.timestamp("us", tz="UTC")),
        }
    )
    products = pa.table({"product_id": sorted(set(frames[0]["ItemId"]))})
    return next_click(INTERACTIONS.conform(events), PRODUCTS.conform(products), start, allow_repeats=True)


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype={"SessionId": str, "ItemId": str, "Time": float})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _row(what: str, measured: str) -> Row:
    return {"what": what, "bar": "", "measured": measured, "met": None}


def main() -> None:
    """Parse arguments and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.next_click", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt and test.txt")
    parser.add_argument("--models", default=",".join(MODELS), help="names in the zoo, separated by commas")
    judged = parser.add_mutually_exclusive_group()
    judged.add_argument("--validation", action="store_true", help="judge the last day of train.txt")
    judged.add_argument("--ablation", action="store_true", help="only: the hybrid without each part, on that day")
    given = parser.parse_args()
    if given.ablation:
        rows = list(ablation_rows(given.data))
    else:
        rows = run(given.data, tuple(given.models.split(",")), given.validation)
    print_rows(f"next clicks, HR@{K} and MRR@{K}", rows)


if __name__ == "__main__":
    main()
