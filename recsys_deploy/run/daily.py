"""One night without Dagster's daemon: its daily schedules and ``drift_sensor``, evaluated in this process.

New days are ingested, lists shown are collected, yesterday's reports are made, and the reports decide whether the
training machine starts. On AWS a schedule of EventBridge runs this as a task (``terraform/stack/daily.tf``). What the
sensor keeps in Dagster's storage is kept in the lake here, because the disk of a task ends with it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os import environ
from typing import Any

import dagster as dg
from rich.console import Console

from lambda_api.errors import RecsysError
from lambda_api.settings import Settings
from recsys_assets.aws_clients import open_clients
from recsys_assets.aws_errors import AwsCallFailed, translate_aws_errors
from recsys_assets.lake import Lake
from recsys_assets.monitoring.alerts import Alert, AlertError, open_alerts
from recsys_assets.monitoring.drift import stored_evidence
from recsys_assets.monitoring.retraining import Decision, decide_training
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy import homes
from recsys_deploy.console import summary
from recsys_deploy.monitoring.daily_metrics import figures_of, put_figures
from recsys_deploy.run.graph import JobRun, run_job


class MachineNotNamed(RecsysError):
    """There is no training machine to start."""


@dataclass(frozen=True, slots=True)
class TrainingMachine:
    """State machine ``arn`` that trains; ``client`` is of Step Functions. Methods raise `AwsCallFailed`."""

    client: Any
    arn: str

    def is_running(self) -> bool:
        """Whether an execution of any name has not ended."""
        with translate_aws_errors("states:ListExecutions", AwsCallFailed):
            found = self.client.list_executions(stateMachineArn=self.arn, statusFilter="RUNNING", maxResults=1)
        return bool(found["executions"])

    def start(self, name: str) -> bool:
        """Start the execution ``name``; ``False`` where one of this name was started before, running or ended."""
        with translate_aws_errors("states:StartExecution", AwsCallFailed):
            try:
                self.client.start_execution(stateMachineArn=self.arn, name=name, input="{}")
            except self.client.exceptions.ExecutionAlreadyExists:
                return False
        return True


def run_daily(console: Console) -> bool:
    """The night of yesterday (UTC); whether its reports were made. May be repeated.

    Raises:
        MachineNotNamed: the setting ``training_machine_arn`` is empty.
        AwsCallFailed: Step Functions or CloudWatch refuses a call.
    """
    settings = homes.open_shop(None, environ)
    if not settings.training_machine_arn:
        raise MachineNotNamed(
            "--daily starts the training machine, and RECSYS_TRAINING_MACHINE_ARN is not set",
            remedy="set `daily` in terraform.tfvars; on a laptop Dagster's daemon does the same (`recsys ui`)",
        )
    homes.prepare_dagster(settings, environ)
    stores = homes.open_stores(settings)
    states, cloudwatch = open_clients("stepfunctions", "cloudwatch")
    now = datetime.now(UTC)
    reported = _run_schedules(settings, now, console)
    decision = decide_and_start(
        stores.lake, stores.registry, TrainingMachine(states, settings.training_machine_arn), now
    )
    console.print(decision.reason, markup=False)
    if decision.start:
        _tell(settings, decision, console)
    figures = figures_of(stores.lake, (now - timedelta(days=1)).date())
    put_figures(cloudwatch, {**figures, "ReportsMade": float(reported)})
    console.print(", ".join(f"{name} {value:g}" for name, value in figures.items()), markup=False)
    return reported


def decide_and_start(lake: Lake, registry: ModelRegistry, machine: TrainingMachine, now: datetime) -> Decision:
    """The decision of ``drift_sensor`` for today, carried out and recorded as the sensor does.

    The execution has the decision's run key as its name, so that two looks at once start one training. It is recorded
    after the start: a look that ends in between is repeated under the same name.
    """
    # Imported here: their jobs fix the calendar of the definitions at import, after the shop's first day is known.
    from recsys_assets.sensors import history_of, record, recorded_cursor

    today = now.date()
    history = history_of(registry, recorded_cursor(lake), machine.is_running())
    decision = decide_training(today, stored_evidence(lake, today), history)
    if decision.start:
        machine.start(decision.run_key)
    record(lake, decision)
    return decision


def _run_schedules(settings: Settings, now: datetime, console: Console) -> bool:
    """Everything that the daily schedules ask for at ``now``; whether the reports were made."""
    from recsys_assets import schedules
    from recsys_assets.resources import resources_for

    resources = resources_for(settings)
    needed = {name: resources[name] for name in ("settings", "lake", "source")}

    def runs_of(schedule: Any) -> list[JobRun]:
        asked: Any = schedule(dg.build_schedule_context(scheduled_execution_time=now, resources=needed))
        runs: list[JobRun] = []
        for request in asked if isinstance(asked, list) else [asked]:
            if isinstance(request, dg.SkipReason):
                console.print(f"{schedule.job_name}: {request.skip_message}", markup=False)
                continue
            tags = {**request.tags, "dagster/partition": request.partition_key}
            run = run_job(settings, schedule.job_name, tags, console)
            summary.print_problems(console, run.problems)
            runs.append(run)
        return runs

    runs_of(schedules.daily_ingest_schedule)
    runs_of(schedules.daily_served_lists_schedule)
    reports = runs_of(schedules.nightly_monitor_schedule)
    return bool(reports) and all(run.success for run in reports)


def _tell(settings: Settings, decision: Decision, console: Console) -> None:
    alert = Alert(
        f"Training {decision.run_key} was started",
        decision.episode or decision.day,
        decision.reason,
        "Nothing has to be done: the training machine tells how it ended.",
    )
    try:
        open_alerts(settings.alerts).send(alert)
    except AlertError as error:
        # The training runs whether or not somebody could be told.
        console.print(f"{error}: {alert.text}", markup=False)
