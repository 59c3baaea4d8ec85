"""``recsys keys``: who may call the API."""

import time
from enum import StrEnum
from typing import Annotated

import typer

from lambda_api.state import api_keys
from lambda_api.state.open_table import open_table
from recsys_deploy import homes
from recsys_deploy.console.registry_tables import print_keys
from recsys_deploy.console.terminal import terminal

keys = typer.Typer(no_args_is_help=True, help="API keys: who may call the API.")
console = terminal()


class KeyScope(StrEnum):
    """What a key may open."""

    SHOP = "shop"
    OPERATIONS = "operations"


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scope: Annotated[KeyScope, typer.Option(help="shop: what a shop calls. operations: that, and /metrics.")] = (
        KeyScope.SHOP
    ),
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Expires after so many days.")] = None,
    requests_per_day: Annotated[
        int | None, typer.Option(min=1, help="Quota of requests a day (UTC); default: no limit.")
    ] = None,
) -> None:
    """Make a key. It is printed this once; only its hash is kept."""
    expires = None if days is None else int(time.time()) + days * 86_400
    table = open_table(homes.settings_of_last_home(), "api_keys")
    print(api_keys.create(table, name, {scope.value}, expires, requests_per_day=requests_per_day))


@keys.command("list")
def keys_list() -> None:
    """Every key ever made, without its secret."""
    print_keys(console, api_keys.list_keys(open_table(homes.settings_of_last_home(), "api_keys")), time.time())


@keys.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `recsys keys list` shows it.")],
) -> None:
    """Refuse a key from now on; servers follow within a minute."""
    if not api_keys.revoke(open_table(homes.settings_of_last_home(), "api_keys"), key_id):
        raise typer.BadParameter(f"there is no key {key_id!r}; `recsys keys list` shows them", param_hint="ID")
    console.print(f"{key_id} is revoked; servers refuse it within a minute")
