"""``python -m benchmarks.year``: every arm of every seed, each in a process of its own, then table and picture."""

import argparse
import multiprocessing
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from benchmarks.year.arm import so_far
from benchmarks.year.figures import draw, load, tables
from benchmarks.year.plan import ARMS, CANDIDATES, Arm, Schedule, YearPlan
from benchmarks.year.run import make_start, run_arm
from lambda_api.atomic_files import write_text

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """See the package."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.year", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".year"), help="Homes, checkpoints and results.")
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--seeds", type=int, default=1, help="How many, from --first-seed on.")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--shoppers", type=int, default=1_000)
    parser.add_argument("--products", type=int, default=300)
    parser.add_argument("--sessions", type=float, default=0.2, help="Per shopper and day.")
    parser.add_argument("--schedule", choices=get_args(Schedule), default="year")
    parser.add_argument("--models", default=YearPlan().models, help="That the graph trains; `all` takes hours.")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--candidates", default=YearPlan().candidates, help="Of the arm `rollouts`.")
    parser.add_argument("--experiment-days", type=int, default=28, help="Longest experiment of that arm.")
    parser.add_argument(
        "--floor-days", type=int, default=YearPlan().floor_days, help="Longest time without a training."
    )
    parser.add_argument("--burst-days", default=YearPlan().burst_days, help="Of an episode, on which trainings start.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--so-far", action="store_true", help="Run nothing; show what there is.")
    parser.add_argument("--picture", type=Path, default=None, help="SVG file to draw.")
    given = parser.parse_args()
    unknown = sorted(set(given.arms.split(",")) - set(ARMS))
    if unknown:
        parser.error(f"unknown arm {', '.join(unknown)}; known: {', '.join(ARMS)}")
    unknown = sorted(set(given.candidates.split(",")) - set(CANDIDATES) - {""})
    if unknown:
        parser.error(f"unknown candidate {', '.join(unknown)}; known: {', '.join(CANDIDATES)}")
    os.environ.update(dict.fromkeys(THREADS, "1"))
    given.folder.mkdir(parents=True, exist_ok=True)
    plans = [
        YearPlan(
            seed=seed,
            weeks=given.weeks,
            shoppers=given.shoppers,
            products=given.products,
            sessions=given.sessions,
            schedule=given.schedule,
            models=given.models,
            candidates=given.candidates,
            experiment_days=given.experiment_days,
            floor_days=given.floor_days,
            burst_days=given.burst_days,
        )
        for seed in range(given.first_seed, given.first_seed + given.seeds)
    ]
    tasks = [(plan, arm) for plan in plans for arm in ARMS if arm in given.arms.split(",")]
    if given.so_far:
        return _show(plans, tasks, given.folder, given.picture)
    left = [task for task in tasks if load(*task, given.folder) is None]
    with multiprocessing.get_context("spawn").Pool(given.workers, maxtasksperchild=1) as pool:
        # The start of a seed is made once, before its arms.
        pool.starmap(make_start, [(plan, given.folder) for plan in plans if any(one[0] == plan for one in left)], 1)
        pool.starmap(run_arm, [(*task, given.folder) for task in left], 1)
    _show(plans, tasks, given.folder, given.picture)


def _show(plans: list[YearPlan], tasks: list[tuple[YearPlan, Arm]], folder: Path, picture: Path | None) -> None:
    """Tables and picture of what there is, over the weeks that every arm has."""
    results = {(plan.seed, arm): load(plan, arm, folder) or so_far(plan, arm, folder) for plan, arm in tasks}
    found: dict[tuple[int, str], dict[str, Any]] = {key: dict(one) for key, one in results.items() if one is not None}
    weeks = min((len(one["days"]) // 7 for one in found.values()), default=0)
    for one in found.values():
        one["days"] = one["days"][: 7 * weeks]
    console = Console(width=150)
    for table in tables(plans, found, weeks):
        console.print(table)
    console.print(asdict(plans[0]))
    if picture is not None and weeks:
        own = {arm: one for (seed, arm), one in found.items() if seed == plans[0].seed}
        write_text(picture, draw(plans[0], own))


if __name__ == "__main__":
    main()
