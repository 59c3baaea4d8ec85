"""Resources by role: lake, source, registry, bundle store, tables and launchers.

Everything that touches disk or network is built when a run starts, so that loading the definitions touches neither.
"""

import dagster as dg

from lambda_api.settings import Settings
from lambda_api.state.history import HistoryStore
from lambda_api.state.open_table import open_table
from recsys_assets.features.launching import FeatureLauncher, LocalFeatures
from recsys_assets.ingest.registry import source_of
from recsys_assets.lake import Lake
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.training.fitting import Launcher
from recsys_assets.training.local_launcher import SubprocessLauncher


def resources_for(settings: Settings) -> dict[str, object]:
    """Resources by role for one deployment.

    Returns:
        ``settings``, ``lake`` (`Lake`), ``source`` (`Source`), ``registry`` (`ModelRegistry`), ``bundles``
        (`BundleStore`), ``serving`` (the table of what all requests read, such as the route), ``histories``
        (`HistoryStore`), ``features`` (the `FeatureLauncher` that computes feature tables) and ``training`` (the
        `Launcher` that runs the train program).
    """
    return {
        "settings": settings,
        "lake": Lake(settings.lake_uri),
        "source": dg.ResourceDefinition(lambda _: source_of(settings)),
        "registry": dg.ResourceDefinition(lambda _: ModelRegistry(open_table(settings, "registry"))),
        "bundles": dg.ResourceDefinition(lambda _: BundleStore(settings.models_uri)),
        "serving": dg.ResourceDefinition(lambda _: open_table(settings, "serving")),
        "histories": dg.ResourceDefinition(lambda _: HistoryStore(open_table(settings, "history"))),
        "features": dg.ResourceDefinition(lambda _: open_feature_launcher(settings)),
        "training": dg.ResourceDefinition(lambda _: open_launcher(settings)),
    }


def open_launcher(settings: Settings) -> Launcher:
    """SageMaker training jobs where the shop runs on AWS and names an image for them, processes otherwise."""
    if settings.target == "aws" and settings.training_image:
        # boto3 takes a tenth of a second to import; a laptop never needs it.
        from recsys_assets.training.sagemaker_launcher import open_sagemaker_launcher

        return open_sagemaker_launcher(settings)
    return SubprocessLauncher(settings.home / "training")


def open_feature_launcher(settings: Settings) -> FeatureLauncher:
    """The Glue job where the shop runs on AWS and names one, DuckDB in the step otherwise."""
    if settings.target == "aws" and settings.features_glue_job:
        # boto3 takes a tenth of a second to import; a laptop never needs it.
        from recsys_assets.features.glue_launcher import open_glue_features

        return open_glue_features(settings)
    return LocalFeatures()
