"""A run whose process was killed does not stay unfinished for ever, and one whose process lives is left alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from recsys_assets.definitions import defs
from recsys_deploy import homes, serve_commands, up
from recsys_deploy.run import stale_runs
from recsys_deploy.run.stale_runs import fail_stale_runs
from tests.patience import wait_until

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import time
import dagster as dg
from rich.console import Console
from recsys_deploy.run import graph

@dg.op
def work():
    time.sleep(600)

@dg.job
def build_recommender_job():
    work()

graph._run(build_recommender_job, "recsys_assets", {}, Console())
"""


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = homes.prepare_dagster(homes.open_shop(None, {"RECSYS_HOME": str(tmp_path)}), {})
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


@pytest.fixture
def running(dagster_home: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "DAGSTER_HOME": str(dagster_home), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, cwd=dagster_home) as process:
        try:
            yield process
        finally:
            process.kill()


def runs() -> list[dg.DagsterRun]:
    with dg.DagsterInstance.get() as instance:
        return list(instance.get_runs())


def test_the_run_of_a_killed_process_fails_at_the_next_start(running: subprocess.Popen[bytes]) -> None:
    found = wait_until(
        lambda: [run for run in runs() if run.status is dg.DagsterRunStatus.STARTED], "the run began", running
    )
    assert fail_stale_runs() == [], "it is at work"
    running.kill()
    running.wait()
    assert runs()[0].status is dg.DagsterRunStatus.STARTED, "nobody recorded its end"
    assert fail_stale_runs() == [found[0].run_id]
    assert runs()[0].status is dg.DagsterRunStatus.FAILURE
    assert fail_stale_runs() == []


def test_the_ui_alone_fails_stale_runs_before_it_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.setenv("RECSYS_PAGES_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(stale_runs, "fail_stale_runs", lambda: done.append("failed"))
    monkeypatch.setattr(up, "check_ports", lambda options: None)
    monkeypatch.setattr(up, "serve", lambda *given: done.append("opened"))
    serve_commands.ui()
    assert done == ["failed", "opened"]


def test_a_run_in_our_process_is_found_under_its_job_like_one_that_the_ui_launched(
    running: subprocess.Popen[bytes],
) -> None:
    """The UI groups runs by this origin."""
    found = wait_until(runs, "there was a run", running)
    assert found[0].job_name == "build_recommender_job"
    origin = found[0].remote_job_origin
    assert origin is not None
    assert origin.repository_origin.get_label() == f"{defs.get_repository_def().name}@recsys_assets"
    entries = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert "recsys_assets" in [entry["python_module"]["location_name"] for entry in entries]
