"""``recsys recommend``, ``models`` and ``runs``: what the registry holds and what its champion recommends."""

from typing import Annotated

import typer

from recsys_deploy import homes
from recsys_deploy.console.terminal import terminal

console = terminal()


def recommend(
    user_id: Annotated[str, typer.Argument(help="Id of a shopper; an unknown one gets popular products.")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Length of the list.")] = 10,
) -> None:
    """What the champion recommends to a shopper now."""
    from recsys_deploy.answers import answer, load_champion
    from recsys_deploy.console.summary import print_answers

    settings = homes.settings_of_last_home()
    stores = homes.open_stores(settings)
    bundle = load_champion(stores.registry, stores.bundles, settings.home / "bundles")
    print_answers(console, answer(bundle, stores.lake, [user_id], k, settings))


def models() -> None:
    """The registered versions, newest first."""
    from recsys_deploy.console.registry_tables import print_versions

    print_versions(console, homes.open_registry(homes.settings_of_last_home()).list_versions())


def runs(model: Annotated[str | None, typer.Option(help="Only runs of this model.")] = None) -> None:
    """Every training, newest first, whether or not it led to a version."""
    from recsys_deploy.console.registry_tables import print_runs

    print_runs(console, homes.open_registry(homes.settings_of_last_home()).list_runs(model))
