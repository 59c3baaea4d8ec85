"""``recsys up``, ``serve`` and ``ui``: the servers of a shop, in the foreground."""

import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from recsys_deploy import homes
from recsys_deploy.console.terminal import terminal

console = terminal()


def up(
    data: Annotated[
        str | None, typer.Option(help="Your data, as for `run`; default: the shop of the last run.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of API and shop page on 127.0.0.1.")] = 8000,
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI on 127.0.0.1.")] = 3000,
    pages_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of reports and data docs on 127.0.0.1.")
    ] = homes.PAGES_PORT,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 2,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Without the Dagster UI.")] = False,
) -> None:
    """API, shop page and Dagster UI; builds and publishes first what is missing."""
    from recsys_deploy import up as serving
    from recsys_deploy.answers import require_champion
    from recsys_deploy.run import commands as run_commands
    from recsys_deploy.run.graph import hide_dagster_notices
    from recsys_deploy.run.stale_runs import fail_stale_runs

    hide_dagster_notices()
    options = serving.UpOptions(port, None if no_ui else ui_port, workers, pages_port)
    serving.check_ports(options)
    os.environ["RECSYS_PAGES_URL"] = f"http://127.0.0.1:{pages_port}"
    root = homes.default_root()
    if data:
        homes.choose_home(root, data, os.environ)
    else:
        homes.use_last_home(root, os.environ)
    settings = run_commands.open_shop(data)
    registry = homes.open_registry(settings)
    if registry.champion() is None and not registry.list_versions():
        run_commands.run_shop(settings, shoppers=1)
        registry = homes.open_registry(settings)
    require_champion(registry)
    fail_stale_runs()
    serving.prepare(settings, registry, console)
    serving.serve(settings, options, serving.ensure_page_config(settings), console)


def serve(
    host: Annotated[str, typer.Option(help="Address to bind to; the default is reached from this machine only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 2,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of each.")] = 8,
    cors_origin: Annotated[list[str] | None, typer.Option(help="Origin whose pages may call; repeatable.")] = None,
    static: Annotated[bool, typer.Option(help="The shop page too.")] = True,
) -> None:
    """The API and the shop page, in the foreground, on the shop of the last run."""
    from recsys_deploy import up as serving

    settings = homes.settings_of_last_home()
    stderr = Console(stderr=True, highlight=False)
    if static and not serving.missing_page_data(settings):
        serving.ensure_page_config(settings)
    elif static:
        stderr.print(
            "[yellow]note[/] this shop has no page yet: `recsys run` builds it, `recsys up` publishes what is missing"
        )
    arguments = ["-m", "lambda_api.local_server", "--host", host, "--port", str(port)]
    arguments += ["--workers", str(workers), "--threads", str(threads)]
    arguments += [part for origin in cors_origin or () for part in ("--cors-origin", origin)]
    arguments += [] if static else ["--no-static"]
    stderr.print(f"API on http://{host}:{port} for {settings.home} (Ctrl-C stops it)", markup=False)
    # A new program instead of a fork: its workers do not inherit what this command imported.
    os.execv(sys.executable, [sys.executable, *arguments])


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 3000,
    pages_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of reports and data docs on 127.0.0.1.")
    ] = homes.PAGES_PORT,
) -> None:
    """The Dagster UI, with both code locations, on the shop of the last run."""
    from recsys_deploy import up as serving
    from recsys_deploy.run.stale_runs import fail_stale_runs

    options = serving.UpOptions(None, port, 0, pages_port)
    serving.check_ports(options)
    os.environ["RECSYS_PAGES_URL"] = f"http://127.0.0.1:{pages_port}"
    settings = homes.settings_of_last_home()
    homes.prepare_dagster(settings, os.environ)
    fail_stale_runs()  # a killed one would hold the only place of the queue
    serving.serve(settings, options, None, console)
