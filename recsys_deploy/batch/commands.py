"""``recsys batch``."""

from typing import Annotated

import typer

from recsys_deploy.console.terminal import terminal
from recsys_deploy.homes import settings_of_last_home

console = terminal()


def batch(
    keep_questions: Annotated[
        bool, typer.Option("--keep-questions", help="Reuse the questions of the last batch.")
    ] = False,
) -> None:
    """Store the champion's list for every known shopper, in the lake and in the table for mails."""
    from recsys_deploy.batch.terminal import run_in_terminal

    run_in_terminal(settings_of_last_home(), console, keep_questions)
