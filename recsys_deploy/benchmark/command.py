"""Runs a benchmark in a terminal: progress, the table, and the trials in the registry if wanted."""

from datetime import UTC, datetime

from rich.console import Console

from lambda_api.recommender.bundle import DataWindow
from recsys_assets.code_revision import git_revision
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.tuning.experiment_runs import recorder
from recsys_assets.tuning.search import OnTrial
from recsys_deploy.benchmark.options import BenchmarkOptions
from recsys_deploy.benchmark.run import BenchmarkOutcome, run_benchmark
from recsys_deploy.benchmark.table import ConsoleDisplay, print_outcome


def run_in_terminal(options: BenchmarkOptions, console: Console, registry: ModelRegistry | None) -> BenchmarkOutcome:
    """Run, show progress, print the table; with ``registry`` every trial is kept there as an experiment run."""

    def record(start: datetime, end: datetime) -> OnTrial:
        assert registry is not None
        run_id = f"benchmark-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        return recorder(registry, run_id, DataWindow(start=start, end=end), git_revision())

    with ConsoleDisplay(console).live() as display:
        outcome = run_benchmark(options, display, None if registry is None else record)
    print_outcome(console, outcome, options)
    return outcome
