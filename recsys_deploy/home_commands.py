"""``recsys home``: where a shop is kept, its backup and its restore."""

import os
from pathlib import Path
from typing import Annotated

import typer

from recsys_deploy import home_backup, homes
from recsys_deploy.console.terminal import terminal

home = typer.Typer(no_args_is_help=True, help="The folder that holds a shop: show, backup, restore.")
console = terminal()


@home.command()
def show() -> None:
    """The home that commands work on."""
    console.print(str(homes.settings_of_last_home().home), markup=False, soft_wrap=True)


@home.command()
def backup(file: Annotated[Path, typer.Argument(help="The .tar.gz file to write; it must not exist.")]) -> None:
    """Write everything of the home into one file. Servers may keep running; a running `recsys run` must end first."""
    settings = homes.settings_of_last_home()
    with homes.locked(settings.home), console.status("writing"):
        size = home_backup.backup(settings.home, file)
    console.print(f"wrote {file}, {size / 1e6:.1f} MB", markup=False, soft_wrap=True)


@home.command()
def restore(file: Annotated[Path, typer.Argument(help="A file that `recsys home backup` wrote.")]) -> None:
    """Unpack a backup into RECSYS_HOME, or into the folder of the last run; it must be empty."""
    target = homes.use_last_home(homes.default_root(), os.environ)
    with console.status("unpacking"):
        home_backup.restore(file, target)
    console.print(f"restored {target}", markup=False, soft_wrap=True)
