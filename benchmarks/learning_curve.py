"""What more data would bring: ``python -m benchmarks.learning_curve [--by newest|users] [--plot FILE.svg]``.

Every model learns from a part of the synthetic shop's log before the window and answers all the same shoppers, whose
own histories arrive whole with the request, as in service. ``newest`` keeps the most recent share of the days of
training; ``users`` keeps a random share of shoppers, those of smaller shares among those of larger ones. What draws at
random (models with a seed, and which shoppers) is repeated, and the table shows mean and standard deviation.

Put curves over the amount of data here. Keep comparisons with the shop's truth in ``synthetic_truth``.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.synthetic_truth import K, Known, expected_ndcg, futures, is_random, known_shop
from lambda_api.recommender.histories import Ragged
from recsys_assets.ingest.synthetic import SyntheticShopConfig
from recsys_assets.measurement.protocol import evaluate
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.zoo import TRAINERS, make_trainer

SHARES: Final = (0.1, 0.25, 0.5, 1.0)
By = Literal["newest", "users"]
Curve = Mapping[str, Mapping[float, Sequence[float]]]
"""Model -> share -> expected NDCG, one per repetition."""


def newest(data: TrainingData, share: float) -> TrainingData:
    """The events of the last ``share`` of the time from the first event to ``as_of``; ids and catalogue stay."""
    span = data.as_of - int(data.timestamp.min())
    return _kept(data, data.timestamp >= data.as_of - round(share * span))


def of_users(data: TrainingData, share: float, seed: int) -> TrainingData:
    """The events of a random ``share`` of users; with one seed, a smaller share's users are among a larger one's."""
    order = np.random.default_rng(seed).permutation(len(data.users))
    chosen = np.zeros(len(data.users), dtype=bool)
    chosen[order[: max(1, round(share * len(order)))]] = True
    return _kept(data, chosen[data.user])


def curve(
    known: Known, models: Sequence[str], by: By, truths: Sequence[Ragged], seeds: int, shares: Sequence[float] = SHARES
) -> dict[str, dict[float, list[float]]]:
    """Expected NDCG of every model at every share. What needs no draw is measured once."""
    found: dict[str, dict[float, list[float]]] = {}
    for model in models:
        found[model] = {}
        for share in shares:
            drawn = is_random(model) or (by == "users" and share < 1)
            values = []
            for seed in range(seeds if drawn else 1):
                data = newest(known.data, share) if by == "newest" else of_users(known.data, share, seed)
                recommender = make_trainer(model, {"seed": seed} if is_random(model) else {}).fit(data)
                values.append(expected_ndcg(evaluate(model, recommender, known.task, K).recommended, truths))
            found[model][share] = values
        shown = ", ".join(f"{100 * share:.0f} % {np.mean(values):.4f}" for share, values in found[model].items())
        print(f"{model}: {shown}", flush=True)
    return found


def table(found: Curve, by: By) -> Table:
    """One row per model, one column per share: mean, and standard deviation where there are several."""
    shares = list(next(iter(found.values())))
    shown = Table("model", *(f"{100 * share:.0f} %" for share in shares), title=f"expected NDCG@{K} by share ({by})")
    for model, by_share in found.items():
        cells = []
        for values in by_share.values():
            spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        shown.add_row(model, *cells)
    return shown


def draw(found: Curve, by: By, path: Path) -> None:
    """The curves as SVG, shares on a logarithmic axis."""
    from matplotlib.figure import Figure

    from recsys_assets.evaluation.plots import MARKERS, PALETTE

    figure = Figure(figsize=(7.2, 4.2))
    axes = figure.add_subplot()
    for place, (model, by_share) in enumerate(found.items()):
        means = np.array([np.mean(values) for values in by_share.values()])
        spread = np.array([np.std(values) for values in by_share.values()])
        axes.errorbar(
            [100 * share for share in by_share],
            means,
            yerr=spread,
            label=model,
            color=PALETTE[place % len(PALETTE)],
            marker=MARKERS[place % len(MARKERS)],
            capsize=2,
        )
    axes.set_xscale("log")
    ticks = [100 * share for share in next(iter(found.values()))]
    axes.set_xticks(ticks, [f"{tick:.0f} %" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("newest part of the training time" if by == "newest" else "part of the shoppers")
    axes.set_ylabel(f"expected NDCG@{K}")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})


def _kept(data: TrainingData, kept: np.ndarray) -> TrainingData:
    columns = {name: getattr(data, name)[kept] for name in ("user", "product", "kind", "timestamp", "rating")}
    return replace(data, **columns)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, print the table, draw the picture."""
    parser = argparse.ArgumentParser(prog="benchmarks.learning_curve", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(TRAINERS), choices=list(TRAINERS))
    parser.add_argument("--by", choices=get_args(By), default="newest")
    parser.add_argument("--users", type=int, default=1_500)
    parser.add_argument("--products", type=int, default=900)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--window-days", type=int, default=14)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--futures", type=int, default=10)
    parser.add_argument("--plot", type=Path, default=None)
    given = parser.parse_args(arguments)
    config = SyntheticShopConfig(days=given.days, n_users=given.users, n_products=given.products)
    known = known_shop(config, given.window_days)
    found = curve(known, given.models, given.by, futures(known, given.futures), given.seeds)
    Console(width=140).print(table(found, given.by))
    if given.plot is not None:
        draw(found, given.by, given.plot)


if __name__ == "__main__":
    main()
