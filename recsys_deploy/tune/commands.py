"""``recsys tune``: hyper-parameters searched on the shop in the lake."""

from typing import Annotated

import typer

from recsys_deploy import homes
from recsys_deploy.console.terminal import terminal
from recsys_deploy.model_choice import parse_models
from recsys_deploy.tune.options import MINUTES, Place, TuneOptions, choose_place

console = terminal()


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
    """Search hyper-parameters on the shop of the last run; RECSYS_PARAMETERS=tuned makes trainings use them."""
    settings = homes.settings_of_last_home()
    place = choose_place(on, settings)

    from recsys_assets.training.assets import MODEL_NAMES
    from recsys_deploy.tune.command import run_in_terminal

    options = TuneOptions(
        models=parse_models(models, MODEL_NAMES),
        trials=trials,
        minutes=MINUTES[place] if minutes is None else minutes,
        seed=settings.seed if seed is None else seed,
        place=place,
        parallel=parallel,
    )
    stores = homes.open_stores(settings)
    run_in_terminal(options, MODEL_NAMES, settings, stores.lake, stores.registry, console)
