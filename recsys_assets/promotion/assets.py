"""The registered model as a Dagster asset, with the check that says whether it became champion."""

from collections.abc import Iterator

import dagster as dg

from lambda_api.settings import Settings
from recsys_assets.evaluation.assets import evaluation_report
from recsys_assets.evaluation.evaluate_models import load_evaluation
from recsys_assets.promotion.challenger import register_challenger
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.tags import OWNERS

CHALLENGER_WAS_BETTER = "challenger_was_better"

TO_BE_ROLLED_OUT = "to be rolled out"
"""Decision on a challenger that is good enough and meets shoppers step by step (setting ``rollout``)."""


@dg.asset(
    group_name="registry",
    owners=OWNERS,
    deps=[evaluation_report],
    kinds={"python"},
    check_specs=[
        dg.AssetCheckSpec(
            CHALLENGER_WAS_BETTER,
            asset="registered_model",
            description="The challenger beat the champion beyond chance and no guardrail fell. A refusal is a warning: "
            "the champion stays.",
        )
    ],
)
def registered_model(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    bundles: dg.ResourceParam[BundleStore],
) -> Iterator[dg.MaterializeResult[None]]:
    """The challenger with its version and lineage: champion, or refused with the reasons."""
    evaluation = load_evaluation(settings.home / "reports")
    result = register_challenger(evaluation, registry, bundles, settings, context.run.run_id)
    reasons = "\n".join(f"- {reason}" for reason in result.decision.reasons)
    champion = registry.champion()
    is_champion = champion is not None and champion.version == result.version.version
    decision = "refused" if not result.decision.promote else "promoted" if is_champion else TO_BE_ROLLED_OUT
    context.log.info("%s: %s", decision, " ".join(result.decision.reasons))
    yield dg.MaterializeResult(
        metadata={
            "version": str(result.version.version),
            "model": result.version.model,
            "promoted": is_champion,
            "decision": decision,
            "judged_against": evaluation.champion_version or evaluation.report.reference_baseline,
            "reasons": dg.MetadataValue.md(reasons),
            "champion": str(champion.version) if champion else "none",
            "bundle": result.version.bundle_uri,
            "bundle_checksum": result.version.bundle_checksum,
            "data_window_end": result.version.data_window.end.isoformat(),
            "git_revision": result.version.git_revision,
        },
        data_version=dg.DataVersion(result.version.bundle_checksum),
        check_results=[
            dg.AssetCheckResult(
                passed=result.decision.promote,
                check_name=CHALLENGER_WAS_BETTER,
                severity=dg.AssetCheckSeverity.WARN,
                description=" ".join(result.decision.reasons),
            )
        ],
    )
