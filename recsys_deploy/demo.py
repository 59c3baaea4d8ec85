"""The main job from a terminal: one run of the whole graph with visible progress, and what came of it.

Put running and its outcome here. Keep what is printed in ``recsys_deploy.console`` and what is run in the definitions.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg
from rich.console import Console

from lambda_api.settings import Settings
from recsys_deploy.console.progress import RunProgress

JOB = "build_recommender_job"


@dataclass(frozen=True)
class Problem:
    """Something that stopped the run: the step or check, and its own words."""

    where: str
    message: str


@dataclass(frozen=True)
class DemoRun:
    """How the run ended."""

    run_id: str
    success: bool
    seconds: float
    problems: tuple[Problem, ...]


def run_graph(settings: Settings, days: Sequence[date], console: Console) -> DemoRun:
    """Run ``build_recommender_job`` over ``days`` (first to last, one run) on the instance of ``DAGSTER_HOME``."""
    # Imported here: the calendar of the definitions is fixed at import, after the shop's first day is known.
    from recsys_assets.definitions import build_defs
    from recsys_assets.tags import RANGE_END_TAG, RANGE_START_TAG, TRIGGER_TAG

    definitions = build_defs(settings)
    job = definitions.resolve_job_def(JOB)
    began = time.perf_counter()
    with dg.DagsterInstance.get() as instance:
        run_id = str(uuid.uuid4())
        progress = RunProgress(instance, run_id, len(list(job.nodes)), console)
        with progress.live():
            result = job.execute_in_process(
                run_id=run_id,
                instance=instance,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                tags={
                    RANGE_START_TAG: days[0].isoformat(),
                    RANGE_END_TAG: days[-1].isoformat(),
                    TRIGGER_TAG: "demo",
                },
            )
        return DemoRun(run_id, result.success, time.perf_counter() - began, tuple(_problems(result)))


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
