"""From a evaluation to a registered version, and to a champion if the gate says so.

Put the reading of a evaluation here: which bundle, against whom, on which figures. Keep the decision itself in ``gate``
and the safe order of storing, registering and promoting in ``registration``.
"""

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
    """What became of a challenger."""

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
    """Register the judged challenger, and promote it or record why not. May be run twice.

    Raises:
        RegistryError: the challenger was fitted again since it was judged.
        ChampionMoved: another champion was promoted since; judge against that one.
    """
    name = evaluation.report.challenger
    folder = candidate_folder(settings, name)
    if read_manifest(folder).checksum != evaluation.checksums[name]:
        raise RegistryError(
            f"the {name} bundle in {folder} was fitted again after it was judged; materialise evaluation_report first"
        )
    version = register_bundle(registry, bundles, folder, run_id=run_id, metrics=_test_metrics(evaluation))
    decision = decide(promotion_input(evaluation, version), rules)
    expected = Version.parse(evaluation.champion_version) if evaluation.champion_version else None
    return Registration(settle(registry, version.version, expected, decision), decision)


def promotion_input(evaluation: Evaluation, challenger: ModelVersion) -> PromotionInput:
    """The gate's question: the challenger against the judged champion, or against the baseline before there is one."""
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
