"""Processor time of one look at an experiment on a large event stream: from the stream alone, and with its days stored.

    python -m benchmarks.look --lists 200000

The stream has ten days of lists with ten products each, half of them of either version, and a purchase for every fourth
list. The look is the real one, at the end of the last day. Every figure is of a process of its own.
"""

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import alone, peak_bytes
from lambda_api.serving.routing import bucket
from lambda_api.state.exposures import Exposure, ShownItem
from lambda_api.state.routing_record import WHOLE, RouteTarget
from recsys_assets.lake import Lake, midnight
from recsys_deploy.experiments.stream_tables import StreamTables
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.evidence import LocalAlarms, StreamEvidence
from recsys_deploy.rollout.judge import Evidence
from recsys_deploy.rollout.plan import DAY_S, StageKind, plan_of
from recsys_deploy.rollout.record import RolloutRecord

DAYS = 10
NAME = "rollout"
LISTS_A_SHOPPER = 20


def write_stream(root: Path, lists: int, start: float) -> None:
    """Lists and purchases of ten days, evenly, as files of a megabyte or so."""
    rng = np.random.default_rng(0)
    for day in range(DAYS):
        at = start + day * DAY_S + np.sort(rng.random(lists // DAYS)) * DAY_S
        shown, done = [], []
        for number, moment in enumerate(at.tolist()):
            user = f"user-{rng.integers(lists // LISTS_A_SHOPPER)}"
            variant = "challenger" if bucket(NAME, user) < WHOLE // 2 else "champion"
            products = rng.choice(5_000, 10, replace=False).tolist()
            items = tuple(
                ShownItem(f"product-{one}", 0.5, rank, None, "for_you") for rank, one in enumerate(products, 1)
            )
            request = f"{day:08d}-0000-4000-8000-{number:012d}"
            version = "v1.1.0" if variant == "challenger" else "v1.0.0"
            one = Exposure(
                request, user, int(moment * 1000), NAME, variant, 0.5, version, "ranked", None, items,
                {"page": "homepage", "device": "mobile", "k": 10}, 4.2, 7,
            )  # fmt: skip
            shown.append(json.dumps(one.to_json()))
            if number % 4 == 0:
                event = {
                    "event_id": f"event-{request}", "user_id": user, "product_id": f"product-{products[0]}",
                    "interaction_type": "purchase", "timestamp": int(moment) + 60, "price": 9.5, "quantity": 1,
                    "request_id": request,
                }  # fmt: skip
                done.append(json.dumps(event))
        for kind, lines in (("exposure", shown), ("feedback", done)):
            folder = root / kind / f"date={datetime.fromtimestamp(start + day * DAY_S, UTC).date()}"
            folder.mkdir(parents=True)
            (folder / "part.jsonl").write_text("\n".join(lines) + "\n")


def look(root: str, lake: str | None, start: float) -> tuple[float, float, Evidence]:
    """Seconds of processor time of a look, peak memory of its process in MB, and what it found."""
    plan = plan_of(Strategy.CANARY)
    half = next(place for place, stage in enumerate(plan.stages) if stage.kind is StageKind.EXPERIMENT)
    target, former = (RouteTarget(version, f"/bundles/{version}", version) for version in ("v1.1.0", "v1.0.0"))
    record = RolloutRecord(NAME, "v1.1.0", target, former, plan, half, start, start)
    evidence = StreamEvidence(StreamTables(root, None if lake is None else Lake(lake)), LocalAlarms())
    began = time.process_time()
    found = evidence.collect(record, start + DAYS * DAY_S)
    seconds = time.process_time() - began
    return seconds, peak_bytes() / 1024**2, found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lists", type=int, default=200_000)
    lists = parser.parse_args().lists
    start = midnight(datetime.now(UTC).date() - timedelta(days=DAYS + 1)).timestamp()
    table = Table("look", "processor seconds", "microseconds a list", "peak memory, MB", title=f"{lists:,} lists")
    with tempfile.TemporaryDirectory() as folder:
        root, lake = f"{folder}/events", f"{folder}/lake"
        write_stream(Path(root), lists, start)
        found = []
        for name, where in (("from the stream alone", None), ("the first, which stores", lake), ("the others", lake)):
            seconds, memory, evidence = alone(look, root, where, start)
            found.append(evidence)
            table.add_row(name, f"{seconds:.2f}", f"{1e6 * seconds / lists:.1f}", f"{memory:.0f}")
        assert found[0] == found[1] == found[2], "a look finds the same, however it reads"
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
