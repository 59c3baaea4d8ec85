"""Batch recommendations as assets and a job: the questions, and the lists for every known shopper."""

from typing import Any

import dagster as dg

from lambda_api.settings import Settings
from lambda_api.state.table import Table
from recsys_assets.batch.questions import summary
from recsys_assets.lake import Lake
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.sagemaker.client import failing_step, open_client, open_jobs
from recsys_assets.sagemaker.job import JobPlan
from recsys_assets.sagemaker.jobs import Level
from recsys_assets.tags import OWNERS
from recsys_deploy.batch.answering import answerer_of
from recsys_deploy.batch.run import make_questions, questions_place, recommend_to_all
from recsys_deploy.release.assets import live_route
from recsys_deploy.subject import subject_of

GROUP = "batch"


@dg.asset(group_name=GROUP, owners=OWNERS, deps=[dg.AssetKey("interactions")], kinds={"json"})
def batch_questions(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult[None]:
    """One question per known shopper with the newest events, as JSON lines; by a SageMaker job where trainings are."""
    metadata: dict[str, Any] = {}

    def run_job(plan: JobPlan) -> None:
        finished = open_client(settings).run(context=context, plan=plan, label="batch-questions")
        metadata.update(finished.metadata)

    questions = make_questions(settings, lake, run_job)
    return dg.MaterializeResult(
        metadata={**metadata, **summary(questions), "dagster/uri": questions_place(settings)},
        data_version=dg.DataVersion(questions.checksum),
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    deps=[batch_questions, live_route],
    kinds={"parquet"},
    # No schedule knows when another version goes live.
    automation_condition=dg.AutomationCondition.eager(),
)
def batch_recommendations(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
    registry: dg.ResourceParam[ModelRegistry],
    bundles: dg.ResourceParam[BundleStore],
    serving: dg.ResourceParam[Table],
) -> dg.MaterializeResult[None]:
    """The champion's list for every known shopper, as a lake table and as one record each for sending mails."""

    def log(level: Level, line: str) -> None:
        getattr(context.log, level.value)(line)

    with failing_step():
        subject = subject_of(registry, bundles, serving, settings.home, catalogues=settings.catalogue_uri)
        answer = answerer_of(settings, open_jobs)
        outcome = recommend_to_all(settings, lake, serving, subject, answer, log)
    if outcome.tally.bad:
        context.log.warning(f"{outcome.tally.bad} lines could not be used: {'; '.join(outcome.tally.problems)}")
    return dg.MaterializeResult(metadata=outcome.figures)


batch_recommendations_job = dg.define_asset_job(
    "batch_recommendations_job",
    selection=[batch_questions, batch_recommendations],
    description="Compute and store the champion's list for every known shopper.",
)
