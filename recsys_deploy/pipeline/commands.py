"""``recsys pipeline``: what a container is started with.

Put parsing, printing and exit codes here. Keep what is done in ``run.py``.
"""

from typing import Annotated

import typer

from recsys_deploy import homes
from recsys_deploy.console.terminal import terminal

console = terminal()


def pipeline(
    run_name: Annotated[str, typer.Option(help="Name of the run; a repetition under it does no finished work twice.")],
) -> None:
    """Run the whole graph on the shop the settings describe, and keep the outcome in the registry under RUN_NAME.

    Exit code 0 says that the outcome is kept, also one that says the graph failed; 1 that this process stopped on an
    error of its own. Made for a state machine; on a laptop `recsys demo` does the same and shows what came of it.
    """
    from recsys_deploy.pipeline.run import run_pipeline

    kept = run_pipeline(run_name, homes.settings_of_last_home(), console)
    version = f" {kept.version} ({kept.model})" if kept.version else ""
    console.print(f"{kept.outcome.value}{version}: {kept.reason}", highlight=False, markup=False)
