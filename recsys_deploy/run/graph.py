"""Runs the graph's jobs in this process, with visible progress, and tells how they ended."""

import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import dagster as dg
from rich.console import Console

from lambda_api.settings import Settings
from recsys_deploy.console.problem import Problem
from recsys_deploy.console.progress import RunProgress
from recsys_deploy.run.stale_runs import IN_PROCESS, fail_stale_runs, marked_as_alive

JOB = "build_recommender_job"
PUBLISH_JOB = "publish_serving_data_job"
RELEASE_JOB = "set_live_route_job"


@dataclass(frozen=True)
class JobRun:
    """How a run ended."""

    run_id: str
    success: bool
    seconds: float
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class ReleaseRun(JobRun):
    """How a release ended: the version that answers shoppers now (``None``: none yet), and what was done, in words."""

    version: str | None
    outcome: str


def hide_dagster_notices() -> None:
    """Hide Dagster's beta and preview warnings from people who run commands; the tests still see them."""
    for name in ("Beta", "Preview", "Supersession"):
        warnings.filterwarnings("ignore", message=".*", category=getattr(dg, f"{name}Warning"))


def run_graph(settings: Settings, days: Sequence[date], console: Console) -> JobRun:
    """Run ``build_recommender_job`` over ``days`` (first to last, one run) on the instance of ``DAGSTER_HOME``."""
    from recsys_assets.tags import RANGE_END_TAG, RANGE_START_TAG

    return run_job(settings, JOB, {RANGE_START_TAG: days[0].isoformat(), RANGE_END_TAG: days[-1].isoformat()}, console)


def publish(settings: Settings, console: Console) -> JobRun:
    """Run ``publish_serving_data_job``: bring what serving reads up to the lake as it is."""
    return run_job(settings, PUBLISH_JOB, {}, console)


def run_job(settings: Settings, name: str, tags: Mapping[str, str], console: Console) -> JobRun:
    """Run the job ``name`` of ``recsys_assets``; ``tags`` may name its partition."""
    # Imported here: the calendar of the definitions is fixed at import, after the shop's first day is known.
    from recsys_assets.definitions import build_defs

    run, _ = _run(build_defs(settings).resolve_job_def(name), "recsys_assets", tags, console)
    return run


def release(settings: Settings, console: Console) -> ReleaseRun:
    """Run ``set_live_route_job``: check the champion's bundle and route shoppers to it. May be repeated.

    Without a champion, or with a rollout in progress, the run does not succeed and ``problems`` say so; the route
    stays as it is.
    """
    from recsys_deploy.definitions import build_defs

    run, result = _run(build_defs(settings).resolve_job_def(RELEASE_JOB), "recsys_deploy", {}, console)
    routed = [
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None and event.asset_key.to_user_string() == "live_route"
    ]
    said = {name: str(value.value) for name, value in routed[-1].items()} if routed else {}
    outcome = said.get("reason", "the route was not touched")
    return ReleaseRun(run.run_id, run.success, run.seconds, run.problems, said.get("champion"), outcome)


def _run(
    job: dg.JobDefinition, location: str, tags: Mapping[str, str], console: Console
) -> tuple[JobRun, dg.ExecuteInProcessResult]:
    from recsys_assets.tags import TRIGGER_TAG

    began = time.perf_counter()
    fail_stale_runs()
    run_id = str(uuid.uuid4())
    with dg.DagsterInstance.get() as instance, marked_as_alive(run_id):
        _create_runs_under(instance, location, job.name)
        progress = RunProgress(instance, run_id, len(list(job.nodes)), console)
        with progress.live():
            result = job.execute_in_process(
                run_id=run_id,
                instance=instance,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                tags={**tags, TRIGGER_TAG: IN_PROCESS},
            )
        return JobRun(run_id, result.success, time.perf_counter() - began, tuple(_problems(result))), result


def _create_runs_under(instance: dg.DagsterInstance, location: str, job: str) -> None:
    """Let runs that ``instance`` creates belong to the job of a code location of ``workspace.yaml``.

    `execute_in_process` creates runs without an origin, which Dagster's UI leaves out of its timeline.
    """
    from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    create = partial(instance.create_run_for_job, remote_job_origin=RemoteJobOrigin(repository, job))
    instance.create_run_for_job = create  # type: ignore[method-assign]


def _problems(result: dg.ExecuteInProcessResult) -> list[Problem]:
    problems = [
        Problem(
            f"check {evaluation.check_name} on {evaluation.asset_key.to_user_string()}",
            evaluation.description or "failed",
        )
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
    ]
    for event in result.filter_events(lambda event: event.is_step_failure):
        error = event.step_failure_data.error
        cause = error.cause if error and error.cause else error
        message = event.step_failure_data.user_failure_data
        text = (
            message.description if message and message.description else (cause.message.strip() if cause else "failed")
        )
        if not (problems and "AssetCheckFailed" in (error.cls_name or "" if error else "")):
            problems.append(Problem(event.step_key or "run", text))
    return problems
