"""A batch in the terminal, without a run of Dagster."""

import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from rich.console import Console

from lambda_api.settings import Settings
from lambda_api.state.open_table import open_table
from lambda_api.state.table import Table
from recsys_assets.batch.questions import QuestionSet, summary
from recsys_assets.sagemaker.client import open_jobs
from recsys_assets.sagemaker.job import JobIdentity, JobPlan
from recsys_assets.sagemaker.jobs import Level, Log
from recsys_deploy.batch.answering import answerer_of
from recsys_deploy.batch.run import BatchOutcome, make_questions, questions_place, recommend_to_all
from recsys_deploy.homes import Stores, open_stores, prepare_dagster
from recsys_deploy.subject import subject_of


def batch_of(
    settings: Settings,
    serving: Table,
    stores: Stores,
    log: Log,
    made: Callable[[QuestionSet], None] | None,
    label: str = "batch-questions",
) -> BatchOutcome:
    """Write the questions and answer them.

    Args:
        made: gets the questions when they are written; ``None``: those of the last batch are kept.
        label: in the name of the job that writes them.

    Raises:
        BatchError: as `recommend_to_all`.
    """

    def run_job(plan: JobPlan) -> Any:
        # A new identity each time: the lake may have changed since the last job.
        return open_jobs().run(plan, JobIdentity(uuid.uuid4().hex, "batch", label), log)

    # Checked first: without a champion or a catalogue no questions are needed.
    subject = subject_of(stores.registry, stores.bundles, serving, settings.home, catalogues=settings.catalogue_uri)
    if made is not None:
        made(make_questions(settings, stores.lake, run_job))
    return recommend_to_all(settings, stores.lake, serving, subject, answerer_of(settings, open_jobs), log)


def run_in_terminal(settings: Settings, console: Console, keep_questions: bool) -> None:
    """Write the questions unless they are kept, answer them and print the result. Raises as `recommend_to_all`."""
    serving, stores = open_table(settings, "serving"), open_stores(settings)

    def log(level: Level, line: str) -> None:
        console.print(line if level is Level.INFO else f"[yellow]{line}[/]")

    def made(questions: QuestionSet) -> None:
        console.print(f"{questions.shoppers} shoppers in {len(questions.parts)} parts")
        _report(settings, "batch_questions", {**summary(questions), "dagster/uri": questions_place(settings)})

    outcome = batch_of(settings, serving, stores, log, None if keep_questions else made)
    _report(settings, "batch_recommendations", outcome.figures)
    console.print(
        f"[green]stored[/] {outcome.records} lists of {outcome.version} in {outcome.table} and the table serving; "
        f"{outcome.parts_answered} parts were answered by this run"
    )
    if outcome.tally.bad:
        said = "; ".join(outcome.tally.problems)
        console.print(f"[yellow]{outcome.tally.bad} lines could not be used[/]: {said}")


def _report(settings: Settings, asset: str, metadata: Mapping[str, Any]) -> None:
    """Record a materialisation in the shop's Dagster, so that its UI shows what was computed without a run."""
    home = os.environ.get("DAGSTER_HOME") or str(prepare_dagster(settings, {}))
    with dg.DagsterInstance.from_config(home) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, metadata=metadata))
