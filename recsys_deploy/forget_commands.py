"""``recsys forget``: a shopper removed from everything that this home keeps."""

from typing import Annotated

import typer

from recsys_deploy import homes
from recsys_deploy.console.terminal import terminal

console = terminal()


def forget(
    user_id: Annotated[str, typer.Argument(help="Id of the shopper.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a shopper: history, lists shown, feedback, rows of the lake. Says what only a training can remove."""
    from recsys_deploy.forget import forget as remove

    settings = homes.settings_of_last_home()
    if not yes:
        typer.confirm(f"Remove {user_id} from {settings.home}? This cannot be undone", abort=True)
    with homes.locked(settings.home), console.status("searching"):
        done = remove(settings, user_id)
    rows = ", ".join(f"{count} in {table}" for table, count in done.rows.items()) or "none"
    lines = [
        f"history       {done.history} records",
        f"events        {done.events} lines, {done.lists} lists",
        f"lake          {rows}",
        f"pages         {len(done.files)} files of reports and logs; the next run makes them anew",
    ]
    lines += [f"still named   {path}" for path in done.elsewhere]
    if done.bundles:
        lines += [f"model         {path}" for path in done.bundles]
        lines.append(
            "these models were trained with the shopper; `recsys run` trains without, then delete the old ones"
        )
    if settings.data:
        lines.append(f"the export    {settings.data} is yours: remove the shopper there too, or the rows come back")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
