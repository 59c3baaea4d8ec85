"""The evaluation report as a Dagster asset."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from lambda_api.recommender.bundle import DataWindow, LoadedBundle, read_bundle
from lambda_api.settings import Settings
from recsys_assets.asset_metadata import wide_table
from recsys_assets.evaluation.champion import CHAMPION, champion_in
from recsys_assets.evaluation.evaluate_models import evaluate_models, load_candidates, save_evaluation
from recsys_assets.evaluation.plots import plots
from recsys_assets.evaluation.report import EvaluationReport
from recsys_assets.evaluation.tables import tables
from recsys_assets.ingest.source import Source
from recsys_assets.lake import Lake
from recsys_assets.models.trainer import Trainer
from recsys_assets.page_links import page_link
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.splits.assets import load_split
from recsys_assets.tags import OWNERS
from recsys_assets.training.assets import MODEL_ASSETS, models_of
from recsys_assets.training.candidate import candidate_folder, fit_bundle
from recsys_assets.training.fitting import Launcher, fit_model_of

ALL_EVALUATED, AT_LEAST_BASELINE = "all_models_evaluated", "challenger_at_least_baseline"


@dg.asset(
    group_name="evaluation",
    owners=OWNERS,
    deps=list(MODEL_ASSETS),
    kinds={"matplotlib", "html"},
    check_specs=[
        dg.AssetCheckSpec(ALL_EVALUATED, asset="evaluation_report", description="The report has every model."),
        dg.AssetCheckSpec(
            AT_LEAST_BASELINE,
            asset="evaluation_report",
            description="The challenger's NDCG on the test window is not below that of the first baseline.",
        ),
    ],
)
def evaluation_report(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    bundles: dg.ResourceParam[BundleStore],
    source: dg.ResourceParam[Source],
    training: dg.ResourceParam[Launcher],
) -> Iterator[dg.MaterializeResult[None]]:
    """Every recipe, and the champion's, on the same later days: metrics with intervals, groups, fairness."""
    split, version = load_split(lake), registry.champion()
    candidates = load_candidates(settings, models_of(settings))
    champion = None
    if version is not None:

        def fit(trainer: Trainer) -> LoadedBundle:
            folder = candidate_folder(settings, CHAMPION)
            window = DataWindow(start=split.train_start, end=split.test_start)
            fit_bundle(
                trainer, lake, window, folder, {}, context.log.info, fit_model_of(trainer.name, training, context)
            )
            return read_bundle(folder)

        served = read_bundle(bundles.fetch(version, settings.home / "bundles"), verify=False)
        champion = champion_in(version, served, candidates, split.test_start, fit, context.log.info)
    evaluation = evaluate_models(candidates, champion, lake, split, settings, context.log.info, source)
    page = save_evaluation(evaluation, settings.home / "reports")
    yield dg.MaterializeResult(
        metadata=_metadata(evaluation.report, page, settings),
        check_results=_check_results(evaluation.report, models_of(settings)),
    )


def _check_results(report: EvaluationReport, names: Sequence[str]) -> list[dg.AssetCheckResult]:
    missing = sorted(set(names) - {model.name for model in report.models})
    challenger, baseline = (report.model(name) for name in (report.challenger, report.reference_baseline))
    ndcg, reference = challenger.metrics["ndcg"].mean, baseline.metrics["ndcg"].mean
    return [
        dg.AssetCheckResult(
            passed=not missing,
            check_name=ALL_EVALUATED,
            description=f"missing: {', '.join(missing)}" if missing else None,
        ),
        dg.AssetCheckResult(
            passed=ndcg >= reference,
            check_name=AT_LEAST_BASELINE,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={challenger.name: ndcg, baseline.name: reference},
        ),
    ]


def _metadata(report: EvaluationReport, page: Path, settings: Settings) -> dict[str, dg.MetadataValue[Any]]:
    """The headline figures, then every table and picture of the report, in its reading order."""
    challenger = report.model(report.challenger)
    metadata: dict[str, dg.MetadataValue[Any]] = {
        "report": page_link(settings, page),
        "challenger": dg.MetadataValue.text(report.challenger),
        "challenger_ndcg": dg.MetadataValue.float(challenger.metrics["ndcg"].mean),
        "shoppers": dg.MetadataValue.int(report.setting.users),
    }
    if report.business is not None:
        metadata["business_figures_from"] = dg.MetadataValue.text(f"{report.business.origin}: {report.business.note}")
    for table in tables(report):
        metadata[_slug(table.title)] = wide_table(table.to_markdown())
    for plot in plots(report):
        metadata[_slug(plot.title)] = dg.MetadataValue.md(plot.to_markdown())
    return metadata


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
