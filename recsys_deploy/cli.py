"""The ``recsys`` command.

Put a command here when a person would type it: parse, call, print, exit code. Keep what it does in other modules.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import dagster as dg
import typer
from rich.console import Console

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from lambda_api.state.open_table import open_table
from recsys_assets.ingest.registry import source_of
from recsys_assets.lake import Lake
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy import homes, key_commands
from recsys_deploy import up as serving_up
from recsys_deploy.answers import NoChampion, answer, busiest_shoppers, load_champion
from recsys_deploy.batch import commands as batch_commands
from recsys_deploy.benchmark.options import BenchmarkOptions, ProtocolName, parse_models, parse_moment
from recsys_deploy.console import summary
from recsys_deploy.console.terminal import terminal
from recsys_deploy.deploy import commands as deploy_commands
from recsys_deploy.endpoints import commands as endpoint_commands
from recsys_deploy.monitoring import commands as monitoring_commands
from recsys_deploy.packaging.targets import Platform, Target
from recsys_deploy.pipeline import commands as pipeline_commands
from recsys_deploy.release import commands as release_commands
from recsys_deploy.tune.options import MINUTES, Place, TuneOptions, choose_place
from recsys_deploy.tune.options import parse_models as parse_tuned_models

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A shop recommender, run from here.",
)
app.add_typer(key_commands.keys, name="keys")
app.add_typer(endpoint_commands.endpoints, name="endpoints")
app.add_typer(release_commands.release, name="release")
app.command()(monitoring_commands.monitor)
app.command()(batch_commands.batch)
app.command()(pipeline_commands.pipeline)
app.command()(deploy_commands.deploy)
app.command()(deploy_commands.destroy)
app.command()(deploy_commands.cost)
console = terminal()


def main() -> None:
    """Entry point: expected errors become one sentence and exit code 2."""
    # Beta and preview are Dagster's words to us, not to somebody who wants recommendations; the tests still see them.
    for name in ("Beta", "Preview", "Supersession"):
        warnings.filterwarnings("ignore", message=".*", category=getattr(dg, f"{name}Warning"))
    try:
        app()
    except RecsysError as error:
        Console(stderr=True).print(f"[red]error[/] {error}", highlight=False)
        sys.exit(2)


@app.command()
def demo(
    data: Annotated[
        str | None, typer.Option(help="Folder, file or s3:// prefix of your data; default: synthetic shop.")
    ] = None,
    shoppers: Annotated[int, typer.Option(min=0, help="For how many shoppers to print recommendations.")] = 2,
    register_only: Annotated[bool, typer.Option("--register-only", help="Leave what is live as it is.")] = False,
) -> None:
    """Run the whole graph: raw events to a registered model, then print what it recommends."""
    root = homes.default_root()
    home = homes.choose_home(root, data, os.environ)
    settings = homes.open_shop(data, os.environ)
    homes.note_last_home(root, home)
    homes.prepare_dagster(settings, os.environ)
    source = source_of(settings)
    days = homes.complete_days(source, settings)
    console.print(
        f"shop: {settings.data or 'synthetic'} ({source.name}), {len(days)} days from {days[0]} to {days[-1]}; "
        f"everything is kept in {home}"
    )

    from recsys_deploy.demo import release, run_graph

    run = run_graph(settings, days, console)
    if not run.success:
        summary.print_problems(console, run.problems)
        console.print(
            f"[red]stopped[/] after {run.seconds:.0f} s; nothing downstream was touched. "
            f"`make ui` shows run {run.run_id}."
        )
        raise typer.Exit(1)
    console.print(f"[green]built[/] in {run.seconds:.0f} s")
    if not register_only and _stores(settings)[0].champion() is not None:
        released = release(settings, console)
        summary.print_problems(console, released.problems)
        console.print(f"[green]live[/] {released.outcome}" if released.success else f"[red]{released.outcome}[/]")
    console.print()
    _print_outcome(settings, shoppers)


def _print_outcome(settings: Settings, shoppers: int) -> None:
    from recsys_assets.evaluation.evaluate_models import load_judgement

    registry, bundles, lake = _stores(settings)
    summary.print_report(console, load_judgement(settings.home / "reports").report)
    summary.print_registration(console, max(registry.list_versions(), key=lambda v: v.created_at), registry.champion())
    chosen = busiest_shoppers(lake, max(shoppers, 1))
    if registry.champion() is not None and shoppers:
        bundle = load_champion(registry, bundles, settings.home / "bundles")
        summary.print_answers(console, answer(bundle, lake, chosen, settings.k, allow_repeats=settings.allow_repeats))
    summary.print_next_steps(console, settings.home, chosen[0])


@app.command()
def recommend(
    user_id: Annotated[str, typer.Argument(help="A shopper of the lake; a stranger gets what is popular.")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Length of the list.")] = 10,
) -> None:
    """What the champion would show a shopper now."""
    settings = homes.settings_of_last_home()
    registry, bundles, lake = _stores(settings)
    bundle = load_champion(registry, bundles, settings.home / "bundles")
    summary.print_answers(console, answer(bundle, lake, [user_id], k, allow_repeats=settings.allow_repeats))


@app.command()
def models() -> None:
    """The registered versions."""
    registry, _, _ = _stores(homes.settings_of_last_home())
    summary.print_versions(console, registry.list_versions())


@app.command()
def runs(
    model: Annotated[str | None, typer.Option(help="Only runs of this model.")] = None,
) -> None:
    """Every training, newest first, whether or not a version came of it."""
    registry, _, _ = _stores(homes.settings_of_last_home())
    summary.print_runs(console, registry.list_runs(model))


@app.command()
def benchmark(
    interactions: Annotated[Path, typer.Option(help="Canonical interactions: CSV, Parquet, or a folder of them.")],
    products: Annotated[Path, typer.Option(help="Canonical products, likewise.")],
    out: Annotated[Path, typer.Option(help="Where to write user_id,product_id,rank,score.")],
    test_start: Annotated[str | None, typer.Option(help="Moment of the split, ISO 8601, UTC unless it says.")] = None,
    users: Annotated[Path | None, typer.Option(help="Canonical users; checked, but no model reads them.")] = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="Length of the lists.")] = 10,
    allow_repeats: Annotated[bool, typer.Option("--allow-repeats", help="Products bought before count too.")] = False,
    protocol: Annotated[ProtocolName, typer.Option(help="How the log is split.")] = ProtocolName.GLOBAL,
    mask_history: Annotated[bool, typer.Option(help="Leave-one-out: keep a shopper's own products out.")] = True,
    tune: Annotated[bool, typer.Option(help="Search parameters on what lies before the test.")] = True,
    trials: Annotated[int, typer.Option(min=1, help="Sets of parameters per model, the defaults among them.")] = 15,
    tuning_minutes: Annotated[float, typer.Option(min=0.01, help="For all models together.")] = 8.0,
    models: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of the intervals.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each model that draws at random.")] = 1,
    record: Annotated[bool, typer.Option("--record", help="Keep every trial in the registry.")] = False,
) -> None:
    """Tune, choose and judge every model on any shop's files; write the lists of the one chosen."""
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

    run_in_terminal(options, console, _stores(homes.settings_of_last_home())[0] if record else None)


@app.command()
def tune(
    models: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Sets of parameters per model, the defaults among them.")] = 15,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="For all models together; by default 8 here, 240 on SageMaker.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the search; by default the shop's.")] = None,
    on: Annotated[Place | None, typer.Option(help="Where trials run; by default where trainings run.")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Trials at a time, on SageMaker.")] = 1,
) -> None:
    """Search hyper-parameters on the shop of the last demo; RECSYS_PARAMETERS=tuned makes trainings use them."""
    settings = homes.settings_of_last_home()
    place = choose_place(on, settings)
    registry, _, lake = _stores(settings)

    from recsys_assets.training.assets import MODEL_NAMES
    from recsys_deploy.tune.command import run_in_terminal

    options = TuneOptions(
        models=parse_tuned_models(models, MODEL_NAMES),
        trials=trials,
        minutes=MINUTES[place] if minutes is None else minutes,
        seed=settings.seed if seed is None else seed,
        place=place,
        parallel=parallel,
    )
    run_in_terminal(options, MODEL_NAMES, settings, lake, registry, console)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """The Dagster UI, with both code locations, on the state of the last demo."""
    homes.use_last_home(homes.default_root(), os.environ)
    settings = homes.settings_of_last_home()
    homes.prepare_dagster(settings, os.environ)
    console.print(f"Dagster on http://127.0.0.1:{port} for {settings.home} (Ctrl-C ends it)")
    os.execv(sys.executable, [sys.executable, *serving_up.ui_arguments(port)])


@app.command()
def up(
    data: Annotated[
        str | None, typer.Option(help="Your data, as for `demo`; default: the shop of the last demo.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of API and shop page on 127.0.0.1.")] = 8000,
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI on 127.0.0.1.")] = 3000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 2,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Without the Dagster UI.")] = False,
) -> None:
    """API, shop page and Dagster UI; builds and publishes first what is not there yet."""
    options = serving_up.UpOptions(port, None if no_ui else ui_port, workers)
    serving_up.check_ports(options)
    root = homes.default_root()
    if data:
        homes.choose_home(root, data, os.environ)
    else:
        homes.use_last_home(root, os.environ)
    if _stores(homes.settings_of_last_home())[0].champion() is None:
        demo(data=data, shoppers=1)
    settings = homes.open_shop(data, os.environ)
    homes.note_last_home(root, settings.home)
    homes.prepare_dagster(settings, os.environ)
    registry = _stores(settings)[0]
    if registry.champion() is None:
        raise NoChampion("no model was good enough to be promoted, so there is nothing to serve: see the report above")
    serving_up.prepare(settings, registry, console)
    serving_up.serve(settings, options, serving_up.ensure_page_key(settings), console)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to bind to; the default is reached from this machine only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 2,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of each.")] = 4,
    cors_origin: Annotated[list[str] | None, typer.Option(help="Origin whose pages may call; repeatable.")] = None,
    static: Annotated[bool, typer.Option(help="The shop page too.")] = True,
) -> None:
    """The API alone, in the foreground, on the state of the last demo."""
    settings = homes.settings_of_last_home()
    arguments = ["-m", "lambda_api.local_server", "--host", host, "--port", str(port)]
    arguments += ["--workers", str(workers), "--threads", str(threads)]
    arguments += [part for origin in cors_origin or () for part in ("--cors-origin", origin)]
    arguments += [] if static else ["--no-static"]
    Console(stderr=True).print(f"API on http://{host}:{port} for {settings.home} (Ctrl-C ends it)", highlight=False)
    # A process of its own: workers are forked from it, and should not inherit what this command imported.
    os.execv(sys.executable, [sys.executable, *arguments])


@app.command()
def package(
    out: Annotated[Path, typer.Option(help="Folder of the zips and their manifests.")] = Path("build/lambda"),
    platform: Annotated[Platform, typer.Option(help="What the zips run on.")] = Platform.LINUX_ARM64,
    python: Annotated[str, typer.Option(help="The CPython they run on.")] = "3.13",
    function: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable.")] = None,
) -> None:
    """Zips for Lambda: the same code and pins give the same bytes."""
    from recsys_deploy.packaging.build import package as make_packages
    from recsys_deploy.packaging.functions import FUNCTIONS

    target = Target(platform, python)
    for made in make_packages(out, target, function or tuple(FUNCTIONS)):
        size = f"{made.zipped_bytes / 1e6:.1f} MB, {made.unzipped_bytes / 1e6:.1f} MB unzipped"
        console.print(
            f"{out / made.zip}  {size}, {target}\n  sha256 {made.sha256}, source_code_hash {made.source_code_hash}",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def graph(
    out: Annotated[Path, typer.Option(help="Where to write the picture.")] = Path("docs/asset_graph.svg"),
) -> None:
    """Draw the asset graph from the definitions."""
    from recsys_assets.definitions import defs as assets_defs
    from recsys_deploy.console.graph_picture import draw, nodes_of
    from recsys_deploy.definitions import defs as deploy_defs

    out.write_text(draw(nodes_of(deploy_defs, assets_defs)), encoding="utf-8")
    console.print(f"wrote {out}")


def _stores(settings: Settings) -> tuple[ModelRegistry, BundleStore, Lake]:
    registry = ModelRegistry(open_table(settings, "registry"))
    return registry, BundleStore(settings.models_uri), Lake(settings.lake_uri)


if __name__ == "__main__":
    main()
