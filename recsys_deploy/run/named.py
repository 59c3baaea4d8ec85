"""The asset graph as one run with a name, whose outcome is kept under that name."""

import os
import re
import traceback
from collections.abc import Callable
from dataclasses import replace

import dagster as dg
from rich.console import Console

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from lambda_api.state.open_table import open_table
from lambda_api.state.table import Table
from recsys_assets.ingest.registry import source_of
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.versions import Version
from recsys_deploy import homes
from recsys_deploy.run.graph import JobRun, run_graph
from recsys_deploy.run.outcome import FINAL, Outcome, RunOutcome, keep_outcome, read_outcome

RUN_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""Names that Step Functions allows, without characters that mean something to a shell or a path."""

Graph = Callable[[Console], JobRun]


class RunNameRefused(RecsysError, ValueError):
    """The name of a run is not allowed; the message says which are."""


def run_named(run_name: str, settings: Settings, console: Console, graph: Graph | None = None) -> RunOutcome:
    """Run the graph and keep its outcome under ``run_name``; a name with a final outcome is not run again.

    Args:
        graph: by default `whole_graph`.

    Returns:
        What is kept. A failed graph is an outcome, not an exception, so that the caller can read why.

    Raises:
        RunNameRefused: the name.
        TableUnavailable: the outcome could not be read or kept.
    """
    if RUN_NAME.fullmatch(run_name) is None:
        raise RunNameRefused(
            f"{run_name!r} is not allowed as the name of a run: use 1 to 80 letters, digits, hyphens and underscores"
        )
    table = open_table(settings, "registry")
    found = read_outcome(table, run_name)
    if found is not None and found.outcome in FINAL:
        return found
    try:
        run = (graph or whole_graph)(console)
    except Exception as error:  # noqa: BLE001 - the caller reads the outcome, whatever the error was
        # Not rich's own: it never ends on errors that are each other's cause, as Dagster raises them.
        console.print("".join(traceback.format_exception(error)), markup=False)
        return keep_outcome(table, RunOutcome(run_name, Outcome.FAILED, reason=f"{type(error).__name__}: {error}"))
    return keep_outcome(table, outcome_of(run_name, run, table))


def whole_graph(console: Console) -> JobRun:
    """Every complete day of the shop this process's settings describe through the whole graph, publication included.

    Raises as `recsys_deploy.homes.open_shop` and `recsys_deploy.homes.complete_days` do.
    """
    settings = homes.open_shop(None, os.environ)
    homes.prepare_dagster(settings, os.environ)
    source = source_of(settings)
    return run_graph(settings, homes.complete_days(source, settings), console)


def outcome_of(run_name: str, run: JobRun, table: Table) -> RunOutcome:
    """The outcome of ``run``: what it registered, or its problems."""
    registered = _registered(run.run_id)
    if registered is None:
        reason = _problems(run) or "the graph ended without a registered model"
        return RunOutcome(run_name, Outcome.FAILED, reason=reason, run_id=run.run_id)
    version = ModelRegistry(table).get(Version.parse(registered["version"]))
    outcome = RunOutcome(
        run_name,
        Outcome.NOT_BETTER if registered["decision"] == "refused" else Outcome.REGISTERED,
        version=registered["version"],
        model=version.model,
        metrics=dict(version.metrics),
        reason=" ".join(line.removeprefix("- ") for line in registered["reasons"].splitlines()),
        run_id=run.run_id,
    )
    if run.success:
        return outcome
    done = f"{registered['version']} was registered ({outcome.outcome.value}), but a later step failed."
    return replace(outcome, outcome=Outcome.FAILED, reason=f"{done} {_problems(run)}")


def _registered(run_id: str) -> dict[str, str] | None:
    """Metadata of the model that the run registered; ``None`` if it registered none."""
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("registered_model"))
    if event is None or event.run_id != run_id or event.asset_materialization is None:
        return None
    return {name: str(value.value) for name, value in event.asset_materialization.metadata.items()}


def _problems(run: JobRun) -> str:
    return "; ".join(f"{problem.where}: {problem.message}" for problem in run.problems)
