"""The refit of the winning recipe and the registered model as Dagster assets, with the check on the decision."""

from collections.abc import Iterator, Sequence

import dagster as dg

from lambda_api.recommender.bundle import read_manifest
from lambda_api.settings import Settings
from recsys_assets.evaluation.assets import evaluation_report
from recsys_assets.evaluation.evaluate_models import REPORT_HTML, load_evaluation
from recsys_assets.evaluation.html import Outcome, write_html
from recsys_assets.lake import Lake
from recsys_assets.promotion.challenger import evaluated_metrics, register_refit
from recsys_assets.promotion.refit import Refit, load_refit, refit_winner, save_refit
from recsys_assets.promotion.winner import choose_winner
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion
from recsys_assets.splits.assets import load_split
from recsys_assets.tags import OWNERS
from recsys_assets.training.candidate import candidate_folder
from recsys_assets.training.fitting import Launcher, fit_model_of

CHALLENGER_WAS_BETTER = "challenger_was_better"

TO_BE_ROLLED_OUT = "to be rolled out"
"""Decision on a challenger that is good enough and meets shoppers step by step (setting ``rollout``)."""


@dg.asset(group_name="registry", owners=OWNERS, deps=[evaluation_report], kinds={"python"})
def refitted_model(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    training: dg.ResourceParam[Launcher],
) -> dg.MaterializeResult[None]:
    """The winning recipe fitted once more on everything up to now: what is registered and served."""
    evaluation = load_evaluation(settings.home / "reports")
    winner = choose_winner(evaluation)
    trainer = read_manifest(candidate_folder(settings, winner.name)).info.trainer
    refit = refit_winner(
        evaluation,
        winner,
        evaluated_metrics(evaluation, winner.name),
        lake,
        load_split(lake),
        settings,
        fit_model_of(trainer or winner.name, training, context),
        context.log.info,
    )
    save_refit(refit, settings.home / "reports")
    return dg.MaterializeResult(metadata=_refit_metadata(refit))


@dg.asset(
    group_name="registry",
    owners=OWNERS,
    deps=[refitted_model],
    kinds={"python"},
    check_specs=[
        dg.AssetCheckSpec(
            CHALLENGER_WAS_BETTER,
            asset="registered_model",
            description="A new recipe was better than the champion beyond chance, or the champion's recipe was "
            "refreshed without harm. A refusal is a warning: the champion stays.",
        )
    ],
)
def registered_model(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    bundles: dg.ResourceParam[BundleStore],
) -> Iterator[dg.MaterializeResult[None]]:
    """The refit with its version and lineage: champion, or refused with the reasons."""
    evaluation = load_evaluation(settings.home / "reports")
    refit = load_refit(settings.home / "reports")
    version = register_refit(refit, evaluation, registry, bundles, settings, context.run.run_id)
    champion = registry.champion()
    is_champion = champion is not None and champion.version == version.version
    decision = "refused" if not refit.promote else "promoted" if is_champion else TO_BE_ROLLED_OUT
    context.log.info("%s: %s", decision, " ".join(refit.reasons))
    outcome = Outcome(headline(decision, version, champion), refit.reasons)
    write_html(evaluation.report, settings.home / "reports" / REPORT_HTML, outcome)
    yield dg.MaterializeResult(
        metadata={
            "version": str(version.version),
            "model": version.model,
            "promoted": is_champion,
            "decision": decision,
            "judged_against": evaluation.champion.version if evaluation.champion else "the popularity baseline",
            "reasons": _bullets(refit.reasons),
            "champion": str(champion.version) if champion else "none",
            "bundle": version.bundle_uri,
            "bundle_checksum": version.bundle_checksum,
            "data_window_end": version.data_window.end.isoformat(),
            "git_revision": version.git_revision,
            **_refit_metadata(refit),
        },
        data_version=dg.DataVersion(version.bundle_checksum),
        check_results=[
            dg.AssetCheckResult(
                passed=refit.promote,
                check_name=CHALLENGER_WAS_BETTER,
                severity=dg.AssetCheckSeverity.WARN,
                description=" ".join(refit.reasons),
            )
        ],
    )


def headline(decision: str, version: ModelVersion, champion: ModelVersion | None) -> str:
    """The decision on ``version`` in one line; ``champion`` is who answers shoppers after it."""
    named = f"{version.version} ({version.model})"
    if decision == "promoted":
        return f"{named} is the new champion"
    if decision == TO_BE_ROLLED_OUT:
        return f"{named} is good enough, and meets shoppers step by step"
    stays = "; there is no champion" if champion is None else f"; {champion.version} ({champion.model}) stays"
    return f"{named} was refused{stays}"


def _refit_metadata(refit: Refit) -> dict[str, dg.MetadataValue[str | None] | str | float | int | bool]:
    metadata: dict[str, dg.MetadataValue[str | None] | str | float | int | bool] = {
        "winner": refit.name,
        "rule": refit.rule,
        "may_go_live": refit.promote,
        "evaluated_data_end": refit.evaluated_end.isoformat(),
        "refit_reasons": _bullets(refit.reasons),
    }
    if refit.overlap is not None:
        metadata |= {"list_overlap": round(refit.overlap, 4), "list_overlap_shoppers": refit.shoppers}
    return metadata


def _bullets(sentences: Sequence[str]) -> dg.MetadataValue[str | None]:
    return dg.MetadataValue.md("\n".join(f"- {sentence}" for sentence in sentences))
