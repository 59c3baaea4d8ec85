"""``recsys run`` (also called ``recsys demo``): from raw events to a model that is live."""

import os
from typing import Annotated

import typer

from lambda_api.settings import Settings
from recsys_deploy import homes
from recsys_deploy.check_command import require_usable_data, save_mapping
from recsys_deploy.console.terminal import terminal

console = terminal()


def run(
    data: Annotated[
        str | None, typer.Option(help="Folder, file or s3:// prefix of your data; default: a synthetic shop.")
    ] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="A column of yours, such as user_id=customer_id; repeat it.")
    ] = None,
    shoppers: Annotated[int, typer.Option(min=0, help="Print recommendations for so many shoppers.")] = 2,
    register_only: Annotated[bool, typer.Option("--register-only", help="Do not change what is live.")] = False,
    name: Annotated[
        str | None,
        typer.Option(
            help="Keep the outcome in the registry under this name, for a state machine that reads it; a finished name "
            "is not run again. Exit code 0: the outcome is kept, even if the graph failed."
        ),
    ] = None,
    daily: Annotated[
        bool,
        typer.Option(
            "--daily",
            help="On AWS without Dagster's daemon: ingest new days, make yesterday's reports, and start the training "
            "machine if they ask for it.",
        ),
    ] = False,
) -> None:
    """Run the whole graph: raw events to a registered model, then put it live and print what it recommends."""
    from recsys_deploy.run.graph import hide_dagster_notices

    hide_dagster_notices()
    if daily:
        _run_daily()
        return
    if name is not None:
        _run_named(name)
        return
    if map_:
        if data is None:
            raise typer.BadParameter("--map is about the columns of --data")
        save_mapping(data, map_)
    settings = open_shop(data)
    run_shop(settings, shoppers, register_only=register_only)


def open_shop(data: str | None) -> Settings:
    """The settings of the shop in ``data`` (``None``: the synthetic one), its home ready for Dagster."""
    location = data or os.environ.get("RECSYS_DATA")
    windows: dict[str, str] = {}
    if location:
        windows = require_usable_data(
            location, os.environ.get("RECSYS_MAPPING"), os.environ.get("RECSYS_SOURCE", "auto")
        )
    root = homes.default_root()
    home = homes.choose_home(root, data, os.environ)
    if not (home / "recsys.toml").is_file():
        # A small shop's first run is judged on longer windows, or nothing would ever go live. They are kept with it.
        os.environ.update({name: value for name, value in windows.items() if name not in os.environ})
    settings = homes.open_shop(data, os.environ)
    homes.note_last_home(root, home)
    homes.prepare_dagster(settings, os.environ)
    return settings


def run_shop(settings: Settings, shoppers: int, *, register_only: bool = False) -> None:
    """Run the graph of an opened shop and print its outcome. Raises ``typer.Exit(1)`` where the graph stopped."""
    from recsys_assets.ingest.registry import source_of
    from recsys_deploy.console import summary
    from recsys_deploy.run.graph import release, run_graph

    with homes.locked(settings.home):
        source = source_of(settings)
        days = homes.complete_days(source, settings)
        console.print(
            f"shop: {settings.data or 'synthetic'} ({source.name}), {len(days)} days from {days[0]} to {days[-1]}; "
            f"everything is kept in {settings.home}",
            markup=False,
        )
        done = run_graph(settings, days, console)
        if not done.success:
            summary.print_problems(console, done.problems)
            console.print(
                f"[red]stopped[/] after {done.seconds:.0f} s; nothing downstream was changed. "
                f"`recsys ui` shows run {done.run_id}."
            )
            raise typer.Exit(1)
        console.print(f"[green]built[/] in {done.seconds:.0f} s")
        if not register_only and homes.open_registry(settings).champion() is not None:
            released = release(settings, console)
            summary.print_problems(console, released.problems)
            console.print(f"[green]live[/] {released.outcome}" if released.success else f"[red]{released.outcome}[/]")
        console.print()
        _print_outcome(settings, shoppers)


def _run_named(name: str) -> None:
    from recsys_deploy.run.named import run_named

    kept = run_named(name, homes.settings_of_last_home(), console)
    version = f" {kept.version} ({kept.model})" if kept.version else ""
    console.print(f"{kept.outcome.value}{version}: {kept.reason}", markup=False)


def _run_daily() -> None:
    from recsys_deploy.run.daily import run_daily

    if not run_daily(console):
        console.print("[red]yesterday's reports were not made[/]")
        raise typer.Exit(1)


def _print_outcome(settings: Settings, shoppers: int) -> None:
    from recsys_assets.evaluation.evaluate_models import load_evaluation
    from recsys_deploy.answers import answer, busiest_shoppers, load_champion
    from recsys_deploy.console import summary

    stores = homes.open_stores(settings)
    champion = stores.registry.champion()
    summary.print_report(console, load_evaluation(settings.home / "reports").report)
    newest = max(stores.registry.list_versions(), key=lambda version: version.created_at)
    summary.print_registration(console, newest, champion)
    chosen = busiest_shoppers(stores.lake, max(shoppers, 1))
    if champion is not None and shoppers:
        bundle = load_champion(stores.registry, stores.bundles, settings.home / "bundles")
        answers = answer(bundle, stores.lake, chosen, settings.k, settings)
        summary.print_answers(console, answers)
    summary.print_next_steps(console, settings.home, chosen[0], str(newest.version), is_live=champion is not None)
