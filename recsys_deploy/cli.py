"""The ``recsys`` command: which commands there are, and what every one of them does about errors.

A command's module is imported when the command is called, so that ``recsys --help`` and light commands start at once.
"""

import importlib
import sys
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from lambda_api.errors import RecsysError
from recsys_deploy.console.system_errors import sentence_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: where its function or group is (``module:name``), and what the list of commands says about it."""

    target: str
    help: str


START, ASK, OPERATE, COMPARE, AWS, BUILD = (
    "Start here",
    "Ask a shop",
    "Look after a shop",
    "Compare and tune models",
    "On AWS",
    "Build",
)

COMMANDS: Final[dict[str, dict[str, Entry]]] = {
    START: {
        "check": Entry("recsys_deploy.check_command:check", "Say what your data were taken for and what is wrong."),
        "run": Entry("recsys_deploy.run.commands:run", "Raw events to a live model, on your data or a demo shop."),
        "demo": Entry("recsys_deploy.run.commands:run", "The same as `run`."),
        "up": Entry("recsys_deploy.serve_commands:up", "API, shop page and Dagster; builds first what is missing."),
        "serve": Entry("recsys_deploy.serve_commands:serve", "The API and the shop page alone."),
        "ui": Entry("recsys_deploy.serve_commands:ui", "Dagster alone."),
    },
    ASK: {
        "recommend": Entry("recsys_deploy.model_commands:recommend", "What the champion recommends to a shopper."),
        "models": Entry("recsys_deploy.model_commands:models", "The registered versions."),
        "runs": Entry("recsys_deploy.model_commands:runs", "Every training, newest first."),
        "batch": Entry("recsys_deploy.batch.commands:batch", "A list for every known shopper, into the lake."),
    },
    OPERATE: {
        "keys": Entry("recsys_deploy.key_commands:keys", "API keys: create, list, revoke."),
        "release": Entry("recsys_deploy.release.commands:release", "Releases: start, share, promote, rollback."),
        "rollout": Entry(
            "recsys_deploy.rollout.commands:rollout", "Rollouts that decide by themselves: start, status."
        ),
        "experiment": Entry(
            "recsys_deploy.rollout.experiment_commands:experiment", "Experiments: how long, what they show, a page."
        ),
        "home": Entry("recsys_deploy.home_commands:home", "The folder that holds a shop: show, backup, restore."),
        "forget": Entry("recsys_deploy.forget_commands:forget", "Remove a shopper from everything that is kept."),
        "monitor": Entry("recsys_deploy.monitoring.commands:monitor", "Check API, route, champion, data and alarms."),
    },
    COMPARE: {
        "benchmark": Entry("recsys_deploy.benchmark.commands:benchmark", "Compare every model on a shop's files."),
        "tune": Entry("recsys_deploy.tune.commands:tune", "Search hyper-parameters on the shop in the lake."),
    },
    AWS: {
        "deploy": Entry("recsys_deploy.deploy.commands:deploy", "Bring an environment up to this checkout and shop."),
        "destroy": Entry("recsys_deploy.deploy.commands:destroy", "Remove a disposable environment."),
        "account-test": Entry("recsys_deploy.deploy.commands:account_test", "A scripted hour in a real AWS account."),
        "images": Entry("recsys_deploy.deploy.commands:images", "Container images: build, push, scan, roll out."),
        "cost": Entry("recsys_deploy.deploy.commands:cost", "What a month of an environment costs."),
        "endpoints": Entry("recsys_deploy.endpoints.commands:endpoints", "SageMaker endpoints, one per model version."),
    },
    BUILD: {
        "package": Entry("recsys_deploy.build_commands:package", "Zips for Lambda."),
        "graph": Entry("recsys_deploy.build_commands:graph", "Draw the asset graph from the definitions."),
    },
}
"""Panel of the help -> command -> entry, in the order shown."""


class LazyCommand(TyperCommand):
    """A command whose module is imported when it is called, not when it is listed."""

    def __init__(self, name: str, panel: str, entry: Entry) -> None:
        super().__init__(name, help=entry.help, rich_help_panel=panel)
        self._entry = entry

    def loaded(self) -> Any:
        """The real command."""
        module, _, attribute = self._entry.target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False)
            found.command(self.name)(function)
        return typer.main.get_command(found)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """A context of the real command, which parses its own arguments."""
        return self.loaded().make_context(info_name, args, parent, **extra)


class LazyGroup(TyperGroup):
    """The group of `COMMANDS`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for panel, entries in COMMANDS.items():
            self.commands.update({name: LazyCommand(name, panel, entry) for name, entry in entries.items()})


app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recsys {installed_version('recsys')}")
        raise typer.Exit


@app.callback()
def recsys(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A shop recommender: from an event log to a live API. `recsys run`, then `recsys up`."""


def main() -> None:
    """Entry point. Expected errors become one sentence and exit code 2; see `RecsysError`."""
    for stream in (sys.stdout, sys.stderr):
        # A product's name may hold characters that the terminal's code page lacks; a replacement is better than an end.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    try:
        app()
    except RecsysError as error:
        _end(str(error))
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        _end(sentence)


def _end(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[red]error[/] {escape(sentence)}", highlight=False)
    sys.exit(2)


if __name__ == "__main__":
    main()
