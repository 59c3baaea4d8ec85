"""``recsys benchmark``: every model compared on a shop's files."""

from pathlib import Path
from typing import Annotated

import typer

from recsys_deploy import homes
from recsys_deploy.benchmark.options import BenchmarkOptions, ProtocolName, parse_models, parse_moment
from recsys_deploy.console.terminal import terminal

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
        models=parse_models(models),
        seed=seed,
        seeds=seeds,
    )

    from recsys_deploy.benchmark.command import run_in_terminal

    run_in_terminal(options, console, homes.open_registry(homes.settings_of_last_home()) if record else None)
