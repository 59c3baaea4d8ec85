"""``recsys batch``: lists for every known shopper, without a run of Dagster.

Put option parsing here. Keep what is done in ``terminal.py``, and heavy imports in the function: the command line reads
this module at every start.
"""

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
        bool, typer.Option("--keep-questions", help="Answer the questions of the last batch again.")
    ] = False,
) -> None:
    """The champion's list for every known shopper, into the lake and the table that mails are made from."""
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
