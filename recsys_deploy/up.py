"""Preparing a home for serving, and running the API, the shop page and the Dagster UI on it (``recsys up``)."""

import contextlib
import json
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from lambda_api.atomic_files import replaced_file
from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from lambda_api.state.api_keys import ApiKeys, create
from lambda_api.state.open_table import open_table
from lambda_api.state.popular import PopularProducts
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Table
from recsys_assets.ingest.source import SourceError
from recsys_assets.publishing.catalogue_store import current_publication
from recsys_assets.publishing.storefront import CATALOGUE_JSON, SHOPPERS_JSON
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy.child_processes import ServerProcess, check_port_free
from recsys_deploy.homes import PAGES_PORT
from recsys_deploy.pages_server import READY

PAGE_FOLDER: Final = "storefront"
CONFIG_JSON: Final = "config.json"
PAGE_KEY_NAME: Final = "shop page of this machine"
LOGS: Final = "logs"
DEMO_CURRENCY: Final = "GBP"

READY_S: Final = 120.0
STOP_S: Final = 20.0
WORKSPACE: Final = Path(__file__).resolve().parents[1] / "workspace.yaml"


class NotReady(RecsysError):
    """The home cannot serve; the message says why and what to do."""


@dataclass(frozen=True)
class UpOptions:
    """What a person chose. ``port`` is ``None`` without the API, ``ui_port`` without the UI and its pages."""

    port: int | None
    ui_port: int | None
    workers: int
    pages_port: int = PAGES_PORT


def check_ports(options: UpOptions) -> None:
    """Raises `PortInUse` for a port that is taken, before minutes are spent on anything else."""
    named = {"--port": options.port, "--ui-port": options.ui_port}
    if options.ui_port is not None:
        named["--pages-port"] = options.pages_port
    chosen: dict[int, str] = {}
    for option, port in named.items():
        if port is None:
            continue
        if port in chosen:
            raise NotReady(f"{chosen[port]} and {option} are both {port}: choose two")
        chosen[port] = option
        check_port_free(port, option)


def missing_publications(settings: Settings) -> list[str]:
    """What serving needs and has not been published yet."""
    serving = open_table(settings, "serving")
    absent = {
        "catalogue": current_publication(serving) is None,
        "popular products": PopularProducts(serving).published_at() is None,
        "shop page data": missing_page_data(settings),
    }
    return [name for name, is_absent in absent.items() if is_absent]


def missing_page_data(settings: Settings) -> bool:
    """Whether the files that the shop page reads have not been published yet."""
    page = settings.home / PAGE_FOLDER
    return not all((page / name).is_file() for name in (CATALOGUE_JSON, SHOPPERS_JSON))


def needs_route(settings: Settings, registry: ModelRegistry) -> bool:
    """Whether there is no route yet, or it sends everybody to a version that is no longer champion."""
    record = read_routing(open_table(settings, "serving"))
    champion = registry.champion()
    if record is None or champion is None:
        return True
    # A second variant means that a rollout is in progress, which moves the route itself.
    return len(record.variants) == 1 and record.champion.target.version != str(champion.version)


def prepare(settings: Settings, registry: ModelRegistry, console: Console) -> None:
    """Publish and route what is missing, by the graph's own jobs.

    Raises:
        NotReady: a job failed.
    """
    from recsys_deploy.run.graph import publish, release

    if missing := missing_publications(settings):
        console.print(f"publishing: no {', no '.join(missing)} yet")
        published = publish(settings, console)
        if not published.success:
            raise NotReady(f"publishing failed: {_first_problem(published.problems)}")
    if needs_route(settings, registry):
        released = release(settings, console)
        if not released.success:
            raise NotReady(f"no shopper can be routed: {_first_problem(released.problems)}")
        console.print(f"[green]live[/] {released.outcome}")


def ensure_page_config(settings: Settings, now: float | None = None) -> str:
    """Write the shop page's ``config.json`` where it is missing or out of date, and return the page's API key.

    A key that is missing, revoked or expired is replaced. Only the owner may read the file; the local server gives it
    to pages of its own address.
    """
    keys = open_table(settings, "api_keys")
    file = settings.home / PAGE_FOLDER / CONFIG_JSON
    found = _read_config(file)
    key = found.get("key")
    if not _opens_the_shop(keys, key, time.time() if now is None else now):
        key = create(keys, PAGE_KEY_NAME, {"shop"})
    wanted = page_config(settings, str(key))
    if found != wanted:
        with replaced_file(file, mode=0o600) as partial:
            partial.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    return str(key)


def page_config(settings: Settings, key: str) -> dict[str, str]:
    """Content of the page's ``config.json``; ``key`` is empty where the page's requests get their key elsewhere."""
    return {"api": "", "key": key, "shop": shop_name(settings), "currency": currency(settings)}


def currency(settings: Settings) -> str:
    """Currency of the page's prices: the setting, else that of the data's mapping; empty where neither says."""
    if settings.currency or settings.data is None:
        return settings.currency or DEMO_CURRENCY
    from recsys_assets.ingest.registry import currency_of

    try:
        return currency_of(settings)
    except SourceError:  # the data are not here any more; the page works without a sign
        return ""


def shop_name(settings: Settings) -> str:
    """Name of the shop on the page: the setting, else the name of its data as words."""
    if settings.shop_name:
        return settings.shop_name
    if settings.data is None:
        return "Demo shop"
    name = settings.data.rstrip("/").split("/")[-1].partition(".")[0]
    return " ".join(re.split(r"[^0-9A-Za-z]+", name)).strip().capitalize() or "Shop"


def serve(settings: Settings, options: UpOptions, key: str | None, console: Console) -> None:
    """Start everything, print the addresses, and wait for Ctrl-C, SIGTERM or SIGHUP; then stop everything.

    Raises:
        ServerFailed: a server did not start, or ended by itself; the others are stopped.
    """
    servers: list[ServerProcess] = []
    # SIGHUP: the terminal was closed.
    before = {number: signal.signal(number, _as_ctrl_c) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with console.status("starting"):
            servers += _start(settings, options)
            for server in servers:
                server.wait_until_ready(READY_S)
        _print_addresses(settings, options, key, console)
        while True:
            for server in servers:
                server.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        # The terminal may be gone.
        with contextlib.suppress(OSError):
            console.print("\nstopping: requests in flight are finished")
    finally:
        for number in (signal.SIGINT, *before):
            signal.signal(number, signal.SIG_IGN)
        for server in servers:
            server.stop(STOP_S)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, handler in before.items():
            signal.signal(number, handler)


def server_arguments(port: int, workers: int) -> list[str]:
    """Command line of the API's process."""
    return ["-m", "lambda_api.local_server", "--port", str(port), "--workers", str(workers)]


def _start(settings: Settings, options: UpOptions) -> list[ServerProcess]:
    logs = settings.home / LOGS
    started = []

    def start(name: str, arguments: list[str], log: str, port: int, ready: str) -> None:
        started.append(ServerProcess.start(name, arguments, logs / log, f"http://127.0.0.1:{port}{ready}"))

    if options.port is not None:
        start("the API", server_arguments(options.port, options.workers), "api.log", options.port, "/health")
    if options.ui_port is not None:
        ui = ["-m", "dagster", "dev", "-w", str(WORKSPACE), "-h", "127.0.0.1", "-p", str(options.ui_port)]
        start("the Dagster UI", ui, "dagster.log", options.ui_port, "/server_info")
        pages = ["-m", "recsys_deploy.pages_server", "--port", str(options.pages_port)]
        start("the server of reports", pages, "pages.log", options.pages_port, READY)
    return started


def _print_addresses(settings: Settings, options: UpOptions, key: str | None, console: Console) -> None:
    base = f"http://127.0.0.1:{options.port}"
    report = settings.home / "reports" / "evaluation_report.html"
    console.print()
    if options.port is not None:
        console.print(f"[bold]shop page[/]   {base}/\n[bold]API[/]         {base}/docs")
    if options.ui_port is not None:
        console.print(f"[bold]Dagster[/]     http://127.0.0.1:{options.ui_port}/")
        if report.is_file():
            address = f"http://127.0.0.1:{options.pages_port}/reports/{report.name}"
            console.print(f"[bold]report[/]      {address}")
    console.print(f"[bold]logs[/]        {escape(str(settings.home / LOGS))}\n")
    if key is not None:
        # Not wrapped: a broken line could not be pasted.
        console.print(curl_line(base, key, _a_shopper(settings)), soft_wrap=True, markup=False)
    console.print("\nCtrl-C stops everything")


def curl_line(base: str, key: str, user_id: str) -> str:
    """A request to paste into a shell."""
    body = json.dumps({"user_id": user_id, "num_recommendations": 5, "context": {"page": "homepage"}})
    quoted = body.replace("'", "'\\''")
    return f"curl -X POST {base}/recommend -H 'X-API-Key: {key}' -H 'Content-Type: application/json' -d '{quoted}'"


def _a_shopper(settings: Settings) -> str:
    try:
        shoppers = json.loads((settings.home / PAGE_FOLDER / SHOPPERS_JSON).read_text(encoding="utf-8"))["shoppers"]
        return str(shoppers[0]["id"])
    except (OSError, ValueError, KeyError, IndexError):  # a shop without named shoppers; anybody gets a list
        return "somebody-new"


def _opens_the_shop(keys: Table, key: Any, now: float) -> bool:
    identity = ApiKeys(keys).verify(key, now)
    return identity is not None and "shop" in identity.scopes


def _read_config(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is written anew
        return {}
    return content if isinstance(content, dict) else {}


def _first_problem(problems: Sequence[Any]) -> str:
    return f"{problems[0].where}: {problems[0].message}" if problems else "see the run in `recsys ui`"


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
