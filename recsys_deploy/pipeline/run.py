"""The asset graph as one run with a name and an outcome.

Put here what a run under a name is. Keep running the graph itself in ``recsys_deploy.demo``, the record in
``outcome.py`` and printing in ``commands.py``.
"""

import os
import re
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
from recsys_deploy.demo import DemoRun, run_graph
from recsys_deploy.pipeline.outcome import FINAL, Outcome, RunOutcome, keep_outcome, read_outcome

RUN_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""Names that Step Functions gives and takes, without those a shell or a path would read otherwise."""

Graph = Callable[[Console], DemoRun]


class RunNameRefused(RecsysError, ValueError):
    """A name no run may have; says which may."""


def run_pipeline(run_name: str, settings: Settings, console: Console, graph: Graph | None = None) -> RunOutcome:
    """Run the graph and keep what became of it under ``run_name``; a name that has a final outcome is not run again.

    Args:
        graph: by default `whole_graph`.

    Returns:
        What is kept. A graph that failed is an outcome, not an exception, so that whoever asked can read why.

    Raises:
        RunNameRefused: the name.
        TableUnavailable: the outcome could not be read or kept.
    """
    if RUN_NAME.fullmatch(run_name) is None:
        raise RunNameRefused(f"{run_name!r} names no run; 1 to 80 letters, digits, hyphens and underscores do")
    table = open_table(settings, "registry")
    found = read_outcome(table, run_name)
    if found is not None and found.outcome in FINAL:
        return found
    try:
        run = (graph or whole_graph)(console)
    except Exception as error:  # noqa: BLE001 - whatever it was, whoever asked for the run has to learn it
        console.print_exception()
        return keep_outcome(table, RunOutcome(run_name, Outcome.FAILED, reason=f"{type(error).__name__}: {error}"))
    return keep_outcome(table, outcome_of(run_name, run, table))


def whole_graph(console: Console) -> DemoRun:
    """Every complete day of the shop this process's settings describe through the whole graph, publication included.

    Raises as `recsys_deploy.homes.open_shop` and `recsys_deploy.homes.complete_days` do.
    """
    settings = homes.open_shop(None, os.environ)
    homes.prepare_dagster(settings, os.environ)
    source = source_of(settings)
    return run_graph(settings, homes.complete_days(source, settings), console)


def outcome_of(run_name: str, run: DemoRun, table: Table) -> RunOutcome:
    """What became of ``run``, by what it registered and by its problems."""
    said = _registered(run.run_id)
    if said is None:
        reason = _problems(run) or "the graph ended without a registered model"
        return RunOutcome(run_name, Outcome.FAILED, reason=reason, run_id=run.run_id)
    version = ModelRegistry(table).get(Version.parse(said["version"]))
    outcome = RunOutcome(
        run_name,
        Outcome.REGISTERED if said["promoted"] == "True" else Outcome.NOT_BETTER,
        version=said["version"],
        model=version.model,
        metrics=dict(version.metrics),
        reason=" ".join(line.removeprefix("- ") for line in said["reasons"].splitlines()),
        run_id=run.run_id,
    )
    if run.success:
        return outcome
    done = f"{said['version']} was registered ({outcome.outcome.value}), but a later step failed."
    return replace(outcome, outcome=Outcome.FAILED, reason=f"{done} {_problems(run)}")


def _registered(run_id: str) -> dict[str, str] | None:
    """What the run said when it registered a model; ``None`` if it did not come so far."""
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("registered_model"))
    if event is None or event.run_id != run_id or event.asset_materialization is None:
        return None
    return {name: str(value.value) for name, value in event.asset_materialization.metadata.items()}


def _problems(run: DemoRun) -> str:
    return "; ".join(f"{problem.where}: {problem.message}" for problem in run.problems)
