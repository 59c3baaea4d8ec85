"""Registers the challenger of an evaluation, and promotes it if the rules allow it."""

from dataclasses import dataclass

from lambda_api.recommender.bundle import read_manifest
from lambda_api.settings import Settings
from recsys_assets.evaluation.evaluate_models import CHAMPION, Evaluation
from recsys_assets.promotion.decision import Decision, PromotionInput, PromotionRules, decide
from recsys_assets.promotion.registration import register_bundle, settle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry, RegistryError
from recsys_assets.registry.records import ModelVersion
from recsys_assets.registry.versions import Version
from recsys_assets.training.candidate import candidate_folder


@dataclass(frozen=True)
class Registration:
    """The registered challenger and the decision on it."""

    version: ModelVersion
    decision: Decision


def register_challenger(
    evaluation: Evaluation,
    registry: ModelRegistry,
    bundles: BundleStore,
    settings: Settings,
    run_id: str,
    rules: PromotionRules | None = None,
) -> Registration:
    """Register the challenger, and promote it or record why not. May be run twice.

    Raises:
        RegistryError: the challenger was fitted again since it was evaluated.
        ChampionMoved: another champion was promoted since.
    """
    name = evaluation.report.challenger
    folder = candidate_folder(settings, name)
    if read_manifest(folder).checksum != evaluation.checksums[name]:
        raise RegistryError(
            f"the {name} bundle in {folder} was fitted again after it was evaluated",
            remedy="materialise evaluation_report first",
        )
    version = register_bundle(registry, bundles, folder, run_id=run_id, metrics=_test_metrics(evaluation))
    decision = decide(promotion_input(evaluation, version), rules)
    expected = Version.parse(evaluation.champion_version) if evaluation.champion_version else None
    return Registration(
        settle(registry, version.version, expected, decision, by_rollout=settings.rollout != "off"), decision
    )


def promotion_input(evaluation: Evaluation, challenger: ModelVersion) -> PromotionInput:
    """The challenger against the champion, or against the popularity baseline before there is a champion."""
    first = evaluation.champion_version is None
    against = evaluation.report.reference_baseline if first else CHAMPION
    new, old = evaluation.figures[challenger.model], evaluation.figures[against]
    window = f"{evaluation.report.setting.start.isoformat()}/{evaluation.report.setting.end.isoformat()}"
    return PromotionInput(
        champion=against if first else str(evaluation.champion_version),
        challenger=f"{challenger.version} ({challenger.model})",
        champion_window=window,
        challenger_window=window,
        ndcg_champion=old.ndcg,
        ndcg_challenger=new.ndcg,
        coverage_champion=old.coverage,
        coverage_challenger=new.coverage,
        worst_group_recall_champion=old.worst_group_recall,
        worst_group_recall_challenger=new.worst_group_recall,
        first=first,
    )


def _test_metrics(evaluation: Evaluation) -> dict[str, float]:
    report = evaluation.report.model(evaluation.report.challenger)
    k = evaluation.report.setting.k
    metrics = {f"{metric}@{k}": interval.mean for metric, interval in report.metrics.items()}
    if report.validation_ndcg is not None:
        metrics["validation_ndcg"] = report.validation_ndcg
    return {**metrics, "coverage": report.coverage}
