"""A run under a name: what it keeps, what a repetition does, and what the command says by its exit code."""

import dataclasses
import io
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lambda_api.settings import Settings, make_settings
from lambda_api.state.open_table import open_table
from lambda_api.state.table import Table
from recsys_assets.promotion import assets as promotion_assets
from recsys_assets.promotion.decision import Decision
from recsys_assets.promotion.refit import Refit
from recsys_assets.promotion.registration import settle
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion
from recsys_deploy import homes
from recsys_deploy.cli import app
from recsys_deploy.console.problem import Problem
from recsys_deploy.run import named
from recsys_deploy.run.graph import JobRun
from recsys_deploy.run.named import RunNameRefused, run_named
from recsys_deploy.run.outcome import LONGEST_REASON, Outcome, RunOutcome, keep_outcome, read_outcome
from tests.registry.samples import candidate

BETTER = Decision(promote=True, reasons=("NDCG rose.",), comparison=None)
WORSE = Decision(promote=False, reasons=("NDCG fell.", "Coverage fell."), comparison=None)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    found = make_settings({"home": tmp_path / "home"})
    variables: dict[str, str] = {}
    homes.prepare_dagster(found, variables)
    monkeypatch.setenv("DAGSTER_HOME", variables["DAGSTER_HOME"])
    yield found


@pytest.fixture
def table(settings: Settings) -> Table:
    return open_table(settings, "registry")


@dataclasses.dataclass
class Graph:
    """A graph whose last asset is the real one: it registers what the gate is made to decide."""

    settings: Settings
    monkeypatch: pytest.MonkeyPatch
    decision: Decision | None = BETTER
    problems: tuple[Problem, ...] = ()
    runs: int = 0

    def __call__(self, console: Console) -> JobRun:
        self.runs += 1
        run_id = str(uuid.uuid4())
        if self.decision is not None:
            self._register(run_id, self.decision)
        return JobRun(run_id, not self.problems, 1.0, self.problems)

    def _register(self, run_id: str, decision: Decision) -> None:
        def register(refit: Any, evaluation: Any, registry: ModelRegistry, *_: Any) -> ModelVersion:
            champion = registry.champion()
            version = registry.register(candidate(f"{self.runs}", run_id=run_id))
            expected = None if champion is None else champion.version
            return settle(registry, version.version, expected, decision)

        refit = Refit("ease", "first", decision.promote, decision.reasons, "1", datetime(2024, 1, 1, tzinfo=UTC))
        self.monkeypatch.setattr(
            promotion_assets, "load_evaluation", lambda _: SimpleNamespace(champion=None, report=None)
        )
        self.monkeypatch.setattr(promotion_assets, "write_html", lambda *_: None)
        self.monkeypatch.setattr(promotion_assets, "load_refit", lambda _: refit)
        self.monkeypatch.setattr(promotion_assets, "register_refit", register)
        with dg.DagsterInstance.get() as instance:
            job = dg.Definitions(
                assets=[promotion_assets.registered_model],
                jobs=[dg.define_asset_job("register", selection="registered_model")],
                resources={
                    "settings": self.settings,
                    "registry": ModelRegistry(open_table(self.settings, "registry")),
                    "bundles": dg.ResourceDefinition.none_resource(),
                },
            ).resolve_job_def("register")
            assert job.execute_in_process(run_id=run_id, instance=instance).success


def run(settings: Settings, graph: Graph, name: str = "weekly-1") -> RunOutcome:
    return run_named(name, settings, Console(quiet=True), graph)


def test_a_better_model(settings: Settings, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = run(settings, Graph(settings, monkeypatch))
    assert (kept.outcome, kept.version, kept.model, kept.reason) == (Outcome.REGISTERED, "v1.0.0", "ease", "NDCG rose.")
    assert kept.metrics == candidate("1").metrics
    assert read_outcome(table, "weekly-1") == kept
    champion = ModelRegistry(table).champion()
    assert champion is not None and str(champion.version) == kept.version


def test_a_model_that_is_not_better(settings: Settings, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(settings, Graph(settings, monkeypatch))
    second = run(settings, Graph(settings, monkeypatch, WORSE, runs=1), "weekly-2")
    assert (second.outcome, second.reason) == (Outcome.NOT_BETTER, "NDCG fell. Coverage fell.")
    assert second.version != first.version
    champion = ModelRegistry(table).champion()
    assert champion is not None and str(champion.version) == first.version


def test_a_graph_that_fails_says_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(settings, monkeypatch, None, (Problem("interactions", "the day is poisoned"),))
    kept = run(settings, graph)
    assert (kept.outcome, kept.version, kept.reason) == (Outcome.FAILED, "", "interactions: the day is poisoned")


def test_a_graph_that_fails_after_it_registered_says_both(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = run(settings, Graph(settings, monkeypatch, BETTER, (Problem("popular_products", "too few"),)))
    assert (kept.outcome, kept.version) == (Outcome.FAILED, "v1.0.0")
    assert kept.reason == "v1.0.0 was registered (registered), but a later step failed. popular_products: too few"


def test_an_older_registration_is_not_taken_for_this_runs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run(settings, Graph(settings, monkeypatch))
    kept = run(settings, Graph(settings, monkeypatch, None), "weekly-2")
    assert (kept.outcome, kept.reason) == (Outcome.FAILED, "the graph ended without a registered model")


def test_an_error_of_the_graph_is_kept_and_not_raised(settings: Settings, table: Table) -> None:
    def broken(console: Console) -> JobRun:
        raise RuntimeError("no disk " + "x" * 5000)

    kept = run_named("weekly-1", settings, Console(quiet=True), broken)
    assert kept.outcome is Outcome.FAILED
    stored = read_outcome(table, "weekly-1")
    assert stored is not None and stored.reason.startswith("RuntimeError: no disk xxx")
    assert len(stored.reason) == LONGEST_REASON


def test_an_error_that_is_its_own_cause_is_printed_and_kept(settings: Settings) -> None:
    """Dagster raises a step's error in the context of one whose cause is that error."""

    def broken(console: Console) -> JobRun:
        error, of_the_step = ValueError("no such column"), RuntimeError("the step failed")
        of_the_step.__cause__, error.__context__ = error, of_the_step
        raise error

    printed = io.StringIO()
    kept = run_named("weekly-1", settings, Console(file=printed), broken)
    assert (kept.outcome, kept.reason) == (Outcome.FAILED, "ValueError: no such column")
    assert "no such column" in printed.getvalue() and "the step failed" in printed.getvalue()


def test_a_finished_run_is_not_run_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(settings, monkeypatch)
    first = run(settings, graph)
    assert run(settings, graph) == first
    assert graph.runs == 1


def test_a_failed_run_is_run_again_and_replaced(
    settings: Settings, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, Graph(settings, monkeypatch, None))
    second = run(settings, Graph(settings, monkeypatch))
    assert second.outcome is Outcome.REGISTERED
    assert read_outcome(table, "weekly-1") == second


def test_of_two_that_end_at_once_the_final_outcome_stays(table: Table) -> None:
    registered = RunOutcome("weekly-1", Outcome.REGISTERED, version="v1.0.0", run_id="first")
    late = RunOutcome("weekly-1", Outcome.FAILED, reason="late", run_id="second")

    class Overtaken:
        """Between reading and writing, the other one writes."""

        def __init__(self) -> None:
            self.overtaken = False

        def get(self, key: Any) -> Any:
            return table.get(key)

        def write(self, writes: Any) -> None:
            if not self.overtaken:
                self.overtaken = True
                assert keep_outcome(table, registered) == registered
            table.write(writes)

        def query(self, *arguments: Any, **named: Any) -> Any:
            return table.query(*arguments, **named)

    assert keep_outcome(Overtaken(), late) == registered
    assert read_outcome(table, "weekly-1") == registered


@pytest.mark.parametrize("name", ["", "a b", "x" * 81, "../up", "week:1"])
def test_names_no_machine_gives_are_refused(settings: Settings, name: str) -> None:
    with pytest.raises(RunNameRefused, match="1 to 80"):
        run_named(name, settings, Console(quiet=True))


def test_the_command_ends_well_whenever_the_outcome_is_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph(settings, monkeypatch, None, (Problem("interactions", "the day is [poisoned]"),))
    monkeypatch.setattr(named, "whole_graph", graph)
    done = CliRunner().invoke(app, ["run", "--name", "weekly-1"])
    assert done.exit_code == 0
    assert "failed: interactions: the day is [poisoned]" in done.output
    refused = CliRunner().invoke(app, ["run", "--name", "a b"])
    assert isinstance(refused.exception, RunNameRefused)
