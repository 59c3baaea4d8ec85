"""``recsys benchmark``: every model compared on a shop's files."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_assets.models.zoo import TRAINERS
from recsys_deploy import homes
from recsys_deploy.benchmark.options import BenchmarkOptions, ProtocolName, parse_moment
from recsys_deploy.console.terminal import terminal
from recsys_deploy.model_choice import parse_models

if TYPE_CHECKING:
    from recsys_assets.tuning.search import OnTrial

console = terminal()


def benchmark(
    interactions: Annotated[Path, typer.Option(help="Canonical interactions: CSV, Parquet, or a folder of them.")],
    products: Annotated[Path, typer.Option(help="Canonical products, likewise.")],
    out: Annotated[Path, typer.Option(help="Where to write user_id,product_id,rank,score.")],
    test_start: Annotated[str | None, typer.Option(help="Moment of the split, ISO 8601, UTC by default.")] = None,
    users: Annotated[Path | None, typer.Option(help="Canonical users; checked, but no model reads them.")] = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="Length of the lists.")] = 10,
    allow_repeats: Annotated[bool, typer.Option("--allow-repeats", help="Products bought before count too.")] = False,
    protocol: Annotated[ProtocolName, typer.Option(help="How the log is split.")] = ProtocolName.GLOBAL,
    mask_history: Annotated[bool, typer.Option(help="Leave-one-out: exclude a shopper's own products.")] = True,
    tune: Annotated[bool, typer.Option(help="Search parameters on what lies before the test.")] = True,
    trials: Annotated[int, typer.Option(min=1, help="Sets of parameters per model, the defaults among them.")] = 15,
    tuning_minutes: Annotated[float, typer.Option(min=0.01, help="For all models together.")] = 8.0,
    models: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of the intervals.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each model that draws at random.")] = 1,
    record: Annotated[bool, typer.Option("--record", help="Keep every trial in the registry.")] = False,
) -> None:
    """Tune, choose and judge every model on any shop's files; write the lists of the chosen one."""
    options = BenchmarkOptions(
        interactions=interactions,
        products=products,
        users=users,
        out=out,
        test_start=None if test_start is None else parse_moment(test_start),
        k=k,
        allow_repeats=allow_repeats,
        mask_history=mask_history,
        protocol=protocol,
        trials=trials if tune else 1,
        tuning_minutes=tuning_minutes,
        models=parse_models(models, tuple(TRAINERS)),
        seed=seed,
        seeds=seeds,
    )

    from recsys_deploy.benchmark.run import run_benchmark
    from recsys_deploy.benchmark.table import ConsoleDisplay, print_outcome

    with ConsoleDisplay(console).live() as display:
        outcome = run_benchmark(options, display, _recorder if record else None)
    print_outcome(console, outcome, options)


def _recorder(start: datetime, end: datetime) -> "OnTrial":
    """Keeps every trial on data from ``start`` to ``end`` in the registry, as an experiment run."""
    from lambda_api.recommender.bundle import DataWindow
    from recsys_assets.code_revision import git_revision
    from recsys_assets.tuning.experiment_runs import recorder

    registry = homes.open_registry(homes.settings_of_last_home())
    run_id = f"benchmark-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    return recorder(registry, run_id, DataWindow(start=start, end=end), git_revision())
