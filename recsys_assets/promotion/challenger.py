"""Registers the refitted winner, or the evaluated fit where nothing was refitted, and applies the decision."""

from pathlib import Path

from lambda_api.recommender.bundle import read_manifest
from lambda_api.settings import Settings
from recsys_assets.evaluation.evaluate_models import Evaluation
from recsys_assets.promotion.decision import Decision
from recsys_assets.promotion.refit import Refit, RefitError, refit_folder
from recsys_assets.promotion.registration import register_bundle, settle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import EvaluatedFit, ModelVersion
from recsys_assets.registry.versions import Version
from recsys_assets.training.candidate import candidate_folder


def register_refit(
    refit: Refit,
    evaluation: Evaluation,
    registry: ModelRegistry,
    bundles: BundleStore,
    settings: Settings,
    run_id: str,
) -> ModelVersion:
    """Register the refit with the evaluated fit in its lineage, and promote it, leave it to a rollout, or record why
    not. May be run twice.

    Raises:
        RefitError: the bundle was fitted again since.
        ChampionMoved: another champion was promoted since.
    """
    metrics, evaluated = evaluated_metrics(evaluation, refit.name), None
    folder, checksum = candidate_folder(settings, refit.name), refit.evaluated_checksum
    if refit.refit_checksum is not None and refit.overlap is not None:
        folder, checksum = refit_folder(settings), refit.refit_checksum
        evaluated = EvaluatedFit(
            checksum=refit.evaluated_checksum,
            data_end=refit.evaluated_end,
            rule=refit.rule,
            overlap=refit.overlap,
            shoppers=refit.shoppers,
        )
    _require_checksum(folder, checksum)
    version = register_bundle(registry, bundles, folder, run_id=run_id, metrics=metrics, evaluated=evaluated)
    decision = Decision(refit.promote, refit.reasons, None)
    expected = Version.parse(evaluation.champion.version) if evaluation.champion else None
    return settle(registry, version.version, expected, decision, by_rollout=settings.rollout != "off")


def evaluated_metrics(evaluation: Evaluation, name: str) -> dict[str, float]:
    """Test figures of one evaluated model, with its validation NDCG where it has one."""
    report, k = evaluation.report.model(name), evaluation.report.setting.k
    metrics = {f"{metric}@{k}": interval.mean for metric, interval in report.metrics.items()}
    if report.validation_ndcg is not None:
        metrics["validation_ndcg"] = report.validation_ndcg
    return {**metrics, "coverage": report.coverage}


def _require_checksum(folder: Path, checksum: str) -> None:
    found = read_manifest(folder).checksum
    if found != checksum:
        raise RefitError(f"the bundle in {folder} was fitted again since", remedy="materialise evaluation_report")
