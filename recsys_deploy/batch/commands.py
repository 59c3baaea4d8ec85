"""``recsys batch``. Heavy imports are in the function, because every start of the command line reads this module."""

from typing import Annotated

import typer
from rich.console import Console

from lambda_api.state.open_table import open_table
from recsys_assets.lake import Lake
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy.homes import settings_of_last_home


def batch(
    keep_questions: Annotated[
        bool, typer.Option("--keep-questions", help="Reuse the questions of the last batch.")
    ] = False,
) -> None:
    """Store the champion's list for every known shopper, in the lake and in the table for mails."""
    from recsys_deploy.batch.terminal import run_in_terminal

    settings = settings_of_last_home()
    run_in_terminal(
        settings,
        open_table(settings, "serving"),
        ModelRegistry(open_table(settings, "registry")),
        BundleStore(settings.models_uri),
        Lake(settings.lake_uri),
        Console(),
        keep_questions,
    )
