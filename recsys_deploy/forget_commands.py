"""``recsys forget``: a shopper removed from everything that this home keeps."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lambda_api.settings import Settings
from recsys_deploy import homes
from recsys_deploy.console.terminal import terminal

if TYPE_CHECKING:
    from recsys_deploy.forget import Forgotten

console = terminal()


def forget(
    user_id: Annotated[str | None, typer.Argument(help="Id of the shopper.")] = None,
    requested: Annotated[
        bool, typer.Option("--requested", help="Everybody whose removal was requested with POST /forget.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a shopper: history, lists shown, feedback, rows of the lake. Says what only a training can remove."""
    from recsys_deploy import forget as removal

    if (user_id is not None) == requested:
        raise typer.BadParameter("give the id of a shopper, or --requested")
    settings = homes.settings_of_last_home()
    shoppers = [user_id] if user_id is not None else removal.requested(settings)
    if not shoppers:
        console.print("nobody is to be removed")
        return
    if not yes:
        whom = shoppers[0] if len(shoppers) == 1 else f"{len(shoppers)} shoppers"
        typer.confirm(f"Remove {whom} from {settings.home}? This cannot be undone", abort=True)
    for shopper in shoppers:
        with homes.locked(settings.home), console.status("searching"):
            done = removal.forget(settings, shopper)
        if requested:
            console.print(shopper, style="bold", markup=False)
        for line in _lines(done, settings):
            console.print(line, markup=False, soft_wrap=True)


def _lines(done: "Forgotten", settings: Settings) -> Iterator[str]:
    rows = ", ".join(f"{count} in {table}" for table, count in done.rows.items()) or "none"
    yield f"history       {done.history} records"
    yield f"events        {done.events} lines, {done.lists} lists"
    yield f"lake          {rows}"
    yield f"pages         {len(done.files)} files of reports and logs; the next run makes them anew"
    for path in done.elsewhere:
        yield f"still named   {path}"
    if done.elsewhere:
        yield "these files are Dagster's and others' records; delete them where no trace may stay"
    for path in done.bundles:
        yield f"model         {path}"
    if done.bundles:
        yield "these models were trained with the shopper; `recsys run` trains without, then delete the old ones"
    if settings.data:
        yield f"the export    {settings.data} is yours: remove the shopper there too, or the rows come back"
