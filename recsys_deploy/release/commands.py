"""``recsys release``: put a version in front of shoppers, watch it, promote it or take it back."""

from typing import Annotated

import typer
from rich.table import Table as Grid

from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import RoutingRecord, read_routing
from recsys_assets.registry.versions import Version
from recsys_deploy.console.terminal import terminal
from recsys_deploy.homes import open_registry, open_stores, settings_of_last_home
from recsys_deploy.release.moves import Releases
from recsys_deploy.release.strategies import Strategy

release = typer.Typer(no_args_is_help=True, help="Which version meets which shoppers: start, share, promote, rollback.")
console = terminal()


@release.command()
def start(
    version: Annotated[str | None, typer.Argument(help="A registered version; by default the champion.")] = None,
    strategy: Annotated[Strategy, typer.Option(help="How it meets its first shoppers.")] = Strategy.CANARY,
    share: Annotated[float, typer.Option(min=0.01, max=99.99, help="Of shoppers in a canary, per cent.")] = 10.0,
    endpoint: Annotated[str | None, typer.Option(help="Its SageMaker endpoint; without: scored in the API.")] = None,
    even_if_refused: Annotated[
        bool, typer.Option("--even-if-refused", help="Also a version that the promotion rules refused.")
    ] = False,
) -> None:
    """Check a version and put it in front of shoppers."""
    try:
        chosen = None if version is None else Version.parse(version)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="VERSION") from error
    done = _releases().start(chosen, strategy, share / 100, endpoint, even_if_refused=even_if_refused)
    console.print(done, markup=False)


@release.command()
def share(percent: Annotated[float, typer.Argument(min=0.01, max=100.0, help="Of shoppers.")]) -> None:
    """Change the share of shoppers who meet the challenger."""
    console.print(_releases().share(percent / 100))


@release.command()
def promote() -> None:
    """Send everybody to the version that is being tried, and make it champion."""
    console.print(_releases().promote())


@release.command()
def rollback(reason: Annotated[str, typer.Option(help="Kept in the registry.")] = "") -> None:
    """Withdraw the version that is being tried; without one, return to the champion before."""
    console.print(_releases().rollback(reason))


@release.command()
def status() -> None:
    """Which version answers which shoppers."""
    settings = settings_of_last_home()
    champion = open_registry(settings).champion()
    console.print(f"champion of the registry: {champion.version if champion else 'none yet'}")
    record = read_routing(open_table(settings, "serving"))
    console.print("nothing is live: shoppers get what is popular" if record is None else _grid(record))


def _grid(record: RoutingRecord) -> Grid:
    grid = Grid("variant", "version", "shoppers", "scored by", title=f"route, revision {record.revision}")
    for variant in (*record.variants, *record.held):
        grid.add_row(
            variant.name, variant.target.version, f"{variant.weight / 100:g} %", variant.target.endpoint or "the API"
        )
    if record.shadow is not None:
        grid.add_row(
            "shadow", record.shadow.version, "after the reply", record.shadow.endpoint or "the shadow function"
        )
    return grid


def _releases() -> Releases:
    settings = settings_of_last_home()
    stores = open_stores(settings)
    return Releases(stores.registry, stores.bundles, open_table(settings, "serving"), settings.home / "bundles")
