"""From a judgement to a registered version, and to a champion if the gate says so.

Put the reading of a judgement here: which bundle, against whom, on which figures. Keep the decision itself in ``gate``
and the safe order of storing, registering and promoting in ``registration``.
"""

from dataclasses import dataclass

from lambda_api.recommender.bundle import read_manifest
from lambda_api.settings import Settings
from recsys_assets.evaluation.evaluate_models import CHAMPION, Judgement
from recsys_assets.promotion.decision import Decision, GateInput, GateRules, decide
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
    judgement: Judgement,
    registry: ModelRegistry,
    bundles: BundleStore,
    settings: Settings,
    run_id: str,
    rules: GateRules | None = None,
) -> Registration:
    """Register the judged challenger, and promote it or record why not. May be run twice.

    Raises:
        RegistryError: the challenger was fitted again since it was judged.
        ChampionMoved: another champion was promoted since; judge against that one.
    """
    name = judgement.report.challenger
    folder = candidate_folder(settings, name)
    if read_manifest(folder).checksum != judgement.checksums[name]:
        raise RegistryError(
            f"the {name} bundle in {folder} was fitted again after it was judged; materialise evaluation_report first"
        )
    version = register_bundle(registry, bundles, folder, run_id=run_id, metrics=_test_metrics(judgement))
    decision = decide(gate_input(judgement, version), rules)
    expected = Version.parse(judgement.champion_version) if judgement.champion_version else None
    return Registration(settle(registry, version.version, expected, decision), decision)


def gate_input(judgement: Judgement, challenger: ModelVersion) -> GateInput:
    """The gate's question: the challenger against the judged champion, or against the baseline before there is one."""
    first = judgement.champion_version is None
    against = judgement.report.reference_baseline if first else CHAMPION
    new, old = judgement.figures[challenger.model], judgement.figures[against]
    window = f"{judgement.report.setting.start.isoformat()}/{judgement.report.setting.end.isoformat()}"
    return GateInput(
        champion=against if first else str(judgement.champion_version),
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


def _test_metrics(judgement: Judgement) -> dict[str, float]:
    report = judgement.report.model(judgement.report.challenger)
    k = judgement.report.setting.k
    metrics = {f"{metric}@{k}": interval.mean for metric, interval in report.metrics.items()}
    if report.validation_ndcg is not None:
        metrics["validation_ndcg"] = report.validation_ndcg
    return {**metrics, "coverage": report.coverage}
