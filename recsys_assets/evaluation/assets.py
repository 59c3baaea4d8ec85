"""The evaluation report as an asset.

Put only the adapting to Dagster here: what is judged stands in ``judgement.py``, how it looks in ``tables`` and
``plots``.
"""

import dagster as dg

from lambda_api.recommender.bundle import read_bundle
from lambda_api.settings import Settings
from recsys_assets.evaluation.judgement import judge, load_candidates, save_judgement
from recsys_assets.evaluation.plots import metric_plot, segment_plot
from recsys_assets.evaluation.tables import comparison_table, metric_table
from recsys_assets.lake import Lake
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.splits.assets import load_split
from recsys_assets.tags import OWNERS
from recsys_assets.training.assets import MODEL_ASSETS, MODEL_NAMES


@dg.asset(group_name="evaluation", owners=OWNERS, deps=list(MODEL_ASSETS), kinds={"python"})
def evaluation_report(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
    registry: dg.ResourceParam[ModelRegistry],
    bundles: dg.ResourceParam[BundleStore],
) -> dg.MaterializeResult:
    """Every model and the current champion on the same later weeks: metrics with intervals, groups, fairness."""
    champion = registry.champion()
    judgement = judge(
        load_candidates(settings, MODEL_NAMES),
        read_bundle(bundles.fetch(champion, settings.home / "bundles"), verify=False) if champion else None,
        lake,
        load_split(lake),
        settings,
        context.log.info,
    )
    page = save_judgement(judgement, settings.home / "reports")
    report = judgement.report
    return dg.MaterializeResult(
        metadata={
            "challenger": report.challenger,
            f"ndcg@{report.setting.k}": report.model(report.challenger).metrics["ndcg"].mean,
            "shoppers": report.setting.users,
            "models": dg.MetadataValue.md(metric_table(report)),
            "comparisons": dg.MetadataValue.md(comparison_table(report)),
            "ranking_quality": dg.MetadataValue.md(f"![NDCG with intervals]({metric_plot(report)})"),
            "groups": dg.MetadataValue.md(f"![Quality by group of shoppers]({segment_plot(report)})"),
            "report": dg.MetadataValue.url(page.as_uri()),
        }
    )
